"""`/api/util/sleep`: operations, sleeps that end by themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.commands.sender import SenderDep
from api.http import responses
from api.http.bodies import SleepBody, body_of
from api.http.dependencies import CallerDep, PreferenceDep, ServicesDep
from api.http.direct_route import DirectRoute
from api.openapi.document import BODY, describe, takes
from api.routes.operations import find
from schemas.domain.values import milliseconds
from schemas.wire.documents import OperationDocument, OperationList
from schemas.wire.operation import OperationRecord

router = APIRouter(prefix="/api/util/sleep", tags=["operations"], route_class=DirectRoute)


@router.post(
    "",
    operation_id="startSleep",
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
    decision_id = await caller.permit("sleep", target_state=body.target_state, ttl_seconds=body.ttl_seconds)
    order = sender.order(
        "operation",
        decision_id,
        {"target": body.target_state, "ttl_ms": milliseconds(body.ttl_seconds)},
        target_state=body.target_state,
        reason=body.reason,
        trace_id=body.trace_id,
    )
    return await responses.command(services, caller, order, preference, budget="sleep", async_mode=body.async_mode)


@router.get(
    "",
    operation_id="listSleeps",
    summary="The operations that run now.",
    responses=describe(OperationList, "The live ones, oldest first."),
)
async def live(services: ServicesDep, caller: CallerDep) -> Response:
    """List the tenant's live operations."""
    await caller.authorise("read")
    return responses.document({"operations": await services.reads.live_operations(caller.tenant)})


@router.get(
    "/{operation_id}",
    operation_id="getSleep",
    summary="One operation.",
    responses=describe(OperationDocument, "The operation, live or not.", "unknown_operation"),
)
async def show(services: ServicesDep, caller: CallerDep, operation_id: str) -> Response:
    """Show one sleep; other commands of the tenant are unknown here."""
    await caller.authorise("read")
    operation = await find(services, caller.tenant, operation_id, only="operation")
    return responses.document(services.reads.document(operation))


@router.delete(
    "/{operation_id}",
    operation_id="cancelSleep",
    summary="End an operation before its time.",
    responses=describe(
        OperationDocument, "The operation, cancelled.", "unknown_operation", "not_running", may_wait=True
    ),
)
async def cancel(services: ServicesDep, sender: SenderDep, preference: PreferenceDep, operation_id: str) -> Response:
    """Publish `sleep.cancel.v1` if the operation is known, and show the operation after it.

    A 202 names the cancel, which is a command with an id of its own.
    """
    caller = sender.caller
    decision_id = await caller.authorise("sleep", wakes=True)
    await find(services, caller.tenant, operation_id, only="operation")
    order = sender.order("cancel", decision_id, {"cancels": operation_id})

    async def cancelled() -> OperationRecord | None:
        operation = await services.reads.operation(caller.tenant, operation_id)
        # The log has cancelled it. A Redis that shows it as running was rolled back, which would mislead the caller.
        return operation if isinstance(operation, OperationRecord) and operation.cancelled_at is not None else None

    return await responses.command(services, caller, order, preference, look_up=cancelled)
