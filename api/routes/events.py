"""`/api/brain/sleep_events` and `/api/tenants/events`: transitions as server-sent events."""

from fastapi import APIRouter, Response

from api.http.dependencies import CallerDep, IdentityDep, LastEventIdDep, ServicesDep
from api.openapi.document import StreamAnswer, streams
from api.security.rate_limits import payer_of

router = APIRouter(tags=["events"])


@router.get(
    "/api/brain/sleep_events",
    operation_id="streamSleepEvents",
    summary="The tenant's transitions as they happen.",
    status_code=200,
    response_class=StreamAnswer,
    responses=streams("Events `state` (first, or after a `reset`), `transition` and `reset`."),
)
async def of_tenant(services: ServicesDep, caller: CallerDep, last_event_id: LastEventIdDep) -> Response:
    """Stream the tenant's transitions, from the given id on or from now."""
    await caller.authorise("read")
    holder = payer_of("read", caller.tenant, caller.principal)
    return services.streams.open(caller.tenant, last_event_id, caller.principal.expires_at, holder)


@router.get(
    "/api/tenants/events",
    operation_id="streamAllSleepEvents",
    summary="All tenants' transitions as they happen.",
    status_code=200,
    response_class=StreamAnswer,
    responses=streams("Events `transition` and `reset`."),
)
async def of_all(services: ServicesDep, identity: IdentityDep, last_event_id: LastEventIdDep) -> Response:
    """Stream the transitions of all tenants, from the given id on or from now."""
    await identity.authorise("list", None)
    holder = payer_of("list", None, identity.principal)
    return services.streams.open(None, last_event_id, identity.principal.expires_at, holder)
