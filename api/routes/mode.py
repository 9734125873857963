"""`/api/brain/sleep_mode`: the tenant's mode and pin, and the tenant now."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from api.commands.sender import SenderDep
from api.http import responses
from api.http.bodies import ModeBody, body_of
from api.http.dependencies import CallerDep, PreferenceDep, ServicesDep
from api.http.direct_route import DirectRoute
from api.openapi.document import BODY, describe, takes
from schemas.budgets import Action
from schemas.domain.values import milliseconds
from schemas.wire.documents import OperationDocument, SleepModeDocument

router = APIRouter(prefix="/api/brain/sleep_mode", tags=["mode"], route_class=DirectRoute)


@router.get(
    "",
    operation_id="getSleepMode",
    summary="The tenant now.",
    responses=describe(SleepModeDocument, "State, claims, parameters, forecast."),
)
async def show(services: ServicesDep, caller: CallerDep) -> Response:
    """Show the tenant as it is at this moment."""
    await caller.authorise("read")
    return responses.document(await services.reads.present(caller.tenant))


@router.post(
    "",
    operation_id="setSleepMode",
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
    wakes = body.target_state == "active"
    if not wakes:
        caller.identity.require_refusals_left()
    action: Action = "cognitive_sleep_override" if body.override else "cognitive_sleep"
    decision_id = await caller.permit(
        action, target_state=body.target_state, ttl_seconds=body.ttl_seconds, override=body.override
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
    budget = "wake" if wakes else action
    return await responses.command(services, caller, order, preference, budget=budget, async_mode=body.async_mode)
