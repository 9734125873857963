"""`/api/util/sleep`: operations, sleeps that end by themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.describe.documents import OperationDocument, OperationList
from api.describe.openapi import BODY, takes
from api.describe.openapi import answers as describe
from api.door.bodies import SleepBody, body_of
from api.door.caller import CallerDep, PreferenceDep, ServicesDep
from api.publish import answers
from api.publish.sender import SenderDep
from api.routes.operations import find
from schemas.operation import OperationRecord
from schemas.values import milliseconds

router = APIRouter(prefix="/api/util/sleep", tags=["operations"])


@router.post(
    "",
    summary="Put the tenant to sleep for a while.",
    responses=describe(
        OperationDocument, "The operation.", *BODY, "ttl_out_of_range", "too_many_operations", may_wait=True
    ),
    openapi_extra=takes(SleepBody),
)
async def start(
    services: ServicesDep,
    sender: SenderDep,
    preference: PreferenceDep,
    body: Annotated[SleepBody, Depends(body_of(SleepBody))],
) -> Response:
    """Publish `sleep.operation.v1`."""
    caller = sender.caller
    decision_id = await caller.authorise("sleep", target_state=body.target_state, ttl_seconds=body.ttl_seconds)
    order = sender.order(
        "operation",
        decision_id,
        {"target": body.target_state, "ttl_ms": milliseconds(body.ttl_seconds)},
        target_state=body.target_state,
        reason=body.reason,
        trace_id=body.trace_id,
    )
    return await answers.command(services, caller, order, preference, async_mode=body.async_mode)


@router.get(
    "",
    summary="The operations that run now.",
    responses=describe(OperationList, "The live ones, oldest first."),
)
async def live(services: ServicesDep, caller: CallerDep) -> Response:
    """List the tenant's live operations."""
    await caller.authorise("read")
    return answers.document({"operations": await services.reads.live_operations(caller.tenant)})


@router.get(
    "/{operation_id}",
    summary="One operation.",
    responses=describe(OperationDocument, "The operation, live or not.", "unknown_operation"),
)
async def show(services: ServicesDep, caller: CallerDep, operation_id: str) -> Response:
    """Show one sleep; other commands of the tenant are unknown here."""
    await caller.authorise("read")
    found = await find(services, caller.tenant, operation_id, only="operation")
    return answers.document(services.reads.document(found))


@router.delete(
    "/{operation_id}",
    summary="End an operation before its time.",
    responses=describe(
        OperationDocument, "The operation, cancelled.", "unknown_operation", "not_running", may_wait=True
    ),
)
async def cancel(services: ServicesDep, sender: SenderDep, preference: PreferenceDep, operation_id: str) -> Response:
    """Publish `sleep.cancel.v1`, if the operation is known at all, and show what became of the operation.

    A 202 names the cancel, which is a command with an id of its own.
    """
    caller = sender.caller
    decision_id = await caller.authorise("sleep")
    await find(services, caller.tenant, operation_id, only="operation")
    order = sender.order("cancel", decision_id, {"cancels": operation_id})

    async def cancelled() -> OperationRecord | None:
        found = await services.reads.operation(caller.tenant, operation_id)
        # The log has cancelled it: a Redis that says otherwise went back, and the caller would take it for running.
        return found if isinstance(found, OperationRecord) and found.cancelled_at is not None else None

    return await answers.command(services, caller, order, preference, shown=cancelled)
