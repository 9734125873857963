"""`/api/breakers/events`: breaker events over HTTP, for emitters without Kafka."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.http import responses
from api.http.bodies import breaker_events
from api.http.dependencies import Identity, IdentityDep, ServicesDep
from api.http.direct_route import DirectRoute
from api.openapi.document import BODY, accepts, problems, takes_events
from api.services import Services
from schemas.wire.documents import AcceptedEvents
from schemas.wire.events import BreakerEvent

router = APIRouter(prefix="/api/breakers/events", tags=["breakers"], route_class=DirectRoute)
_ACCEPTED = 202


@router.post(
    "",
    operation_id="publishBreakerEvents",
    summary="Publish what breakers report.",
    status_code=_ACCEPTED,
    responses=accepts(AcceptedEvents, "All of them are in the log.")
    | problems(*BODY, "outcome_unknown", "kafka_unavailable"),
    openapi_extra=takes_events(),
)
async def publish(
    services: ServicesDep, identity: IdentityDep, events: Annotated[list[BreakerEvent], Depends(breaker_events)]
) -> Response:
    """Publish `sleep.breaker.v1` events: a batch, which may be empty.

    A single event is accepted too: structured (`application/cloudevents+json`) or in binary mode, with `ce-` headers.
    The tenant of an event is its `subject`. All events are validated before any is published. Send `time` or
    `data.occurred_at`, so that a repeated or late event cannot undo a newer one. Neither may lie before 1970.
    """
    return await publish_events(services, identity, events)


async def publish_events(services: Services, identity: Identity, events: Sequence[BreakerEvent]) -> Response:
    """Publish events for a caller who may emit for each of their tenants: all events or none.

    Raises:
        ProblemError: as `Identity.permit`, `Identity.spending` and `Emitter.publish`.
        UnavailableError: as above.
    """
    # An empty batch is valid. It is authorised and counted like one event of the token's own tenant.
    counts: Mapping[str | None, int] = Counter(event.subject for event in events) or {identity.principal.tenant: 1}
    for tenant in counts:
        await identity.permit("emit", tenant)
        # The embedded policy never awaits: hundreds of tenants in a row would block other callers for a second.
        await asyncio.sleep(0)
    async with identity.spending("emit", counts):
        await services.emitter.publish(events)
    return responses.document({"accepted": len(events)}, _ACCEPTED)
