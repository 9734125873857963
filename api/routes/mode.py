"""`/api/brain/sleep_mode`: the tenant's mode and pin, and the tenant now."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from api.describe.documents import OperationDocument, TenantDocument
from api.describe.openapi import BODY, takes
from api.describe.openapi import answers as describe
from api.door.bodies import ModeBody, body_of
from api.door.caller import CallerDep, PreferenceDep, ServicesDep
from api.publish import answers
from api.publish.sender import SenderDep
from schemas.values import milliseconds

router = APIRouter(prefix="/api/brain/sleep_mode", tags=["mode"])


@router.get("", summary="The tenant now.", responses=describe(TenantDocument, "State, claims, parameters, forecast."))
async def show(services: ServicesDep, caller: CallerDep) -> Response:
    """Show the tenant as it is at this moment."""
    await caller.authorise("read")
    return answers.document(await services.reads.present(caller.tenant))


@router.post(
    "",
    summary="Set or remove the tenant's mode, or its pin.",
    responses=describe(OperationDocument, "The outcome.", *BODY, "ttl_out_of_range", may_wait=True),
    openapi_extra=takes(ModeBody),
)
async def change(
    services: ServicesDep,
    sender: SenderDep,
    preference: PreferenceDep,
    body: Annotated[ModeBody, Depends(body_of(ModeBody))],
) -> Response:
    """Publish `sleep.mode.v1`."""
    caller = sender.caller
    decision_id = await caller.authorise(
        "cognitive_sleep_override" if body.override else "cognitive_sleep",
        target_state=body.target_state,
        ttl_seconds=body.ttl_seconds,
        override=body.override,
    )
    data: dict[str, Any] = {"target": body.target_state, "override": body.override}
    if body.ttl_seconds is not None:
        data["ttl_ms"] = milliseconds(body.ttl_seconds)
    order = sender.order(
        "mode",
        decision_id,
        data,
        target_state=body.target_state,
        reason=body.reason,
        trace_id=body.trace_id,
    )
    return await answers.command(services, caller, order, preference, async_mode=body.async_mode)
