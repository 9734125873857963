"""CloudEvents 1.0 of type `sleep.breaker.v1`. `schemas.wire.cloudevents` is the only parser of CloudEvents.

The tenant is the `subject`. A batch is accepted too.
"""

from schemas.wire.cloudevents import ReceivedHeaders, UndecodableError, parse_all
from schemas.wire.events import BREAKER, BreakerEvent


def read(value: bytes | None, headers: ReceivedHeaders) -> list[BreakerEvent]:
    """Return the breaker events of a message.

    Raises:
        UndecodableError: as `parse_all`; with code `not_a_breaker_event` for an event of another type.
    """
    events = []
    for event in parse_all(value, headers):
        if not isinstance(event, BreakerEvent):
            message = f"{event.type} may not come through ingress; only {BREAKER} may"
            raise UndecodableError("not_a_breaker_event", message)
        events.append(event)
    return events
