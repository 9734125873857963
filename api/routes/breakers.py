"""`/api/breakers/events`: breakers whose emitters have no Kafka."""

import asyncio
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.describe.documents import AcceptedEvents
from api.describe.openapi import BODY, problems, takes_events
from api.describe.openapi import accepts as describe
from api.door.bodies import breaker_events
from api.door.caller import IdentityDep, ServicesDep
from api.publish import answers
from schemas.events import BreakerEvent

router = APIRouter(prefix="/api/breakers/events", tags=["breakers"])
_ACCEPTED = 202


@router.post(
    "",
    summary="Publish what breakers report.",
    status_code=_ACCEPTED,
    responses=describe(AcceptedEvents, "All of them are in the log.")
    | problems(*BODY, "outcome_unknown", "kafka_unavailable"),
    openapi_extra=takes_events(),
)
async def publish(
    services: ServicesDep, who: IdentityDep, events: Annotated[list[BreakerEvent], Depends(breaker_events)]
) -> Response:
    """Publish `sleep.breaker.v1` events: one (structured or binary mode) or a batch, which may be empty.

    The tenant of each is its `subject`. All are judged before any is published. Send `time` or `data.occurred_at`, so
    that an event which is sent again, or comes late, cannot undo a newer one.
    """
    # An empty batch is a legal one; it asks and costs as one event of the token's own tenant.
    counts = Counter(event.subject for event in events) or {who.principal.tenant: 1}
    for tenant in counts:
        await who.permit("emit", tenant)
        # The embedded policy never waits: hundreds of tenants in a row would hold up all other callers for a second.
        await asyncio.sleep(0)
    for tenant, count in counts.items():
        await who.spend("emit", tenant, count)
    await services.emitter.publish(events)
    return answers.document({"accepted": len(events)}, _ACCEPTED)
