"""`/api/brain/sleep_events` and `/api/tenants/events`: transitions as server-sent events."""

from fastapi import APIRouter, Response

from api.describe.openapi import StreamAnswer, streams
from api.door.caller import CallerDep, IdentityDep, LastEventIdDep, ServicesDep

router = APIRouter(tags=["events"])


@router.get(
    "/api/brain/sleep_events",
    summary="The tenant's transitions as they happen.",
    status_code=200,
    response_class=StreamAnswer,
    responses=streams("Events `state` (first, or after a `reset`), `transition` and `reset`."),
)
async def of_tenant(services: ServicesDep, caller: CallerDep, last_event_id: LastEventIdDep) -> Response:
    """Stream the tenant's transitions, from the given id on or from now."""
    await caller.authorise("read")
    return services.streams.open(caller.tenant, last_event_id, caller.principal.expires_at)


@router.get(
    "/api/tenants/events",
    summary="All tenants' transitions as they happen.",
    status_code=200,
    response_class=StreamAnswer,
    responses=streams("Events `transition` and `reset`."),
)
async def of_all(services: ServicesDep, who: IdentityDep, last_event_id: LastEventIdDep) -> Response:
    """Stream everybody's transitions, from the given id on or from now."""
    await who.authorise("list", None)
    return services.streams.open(None, last_event_id, who.principal.expires_at)
