"""How early a breaker event over HTTP may have occurred.

The log takes an event of any time, and always will: old logs must fold as they did. An early time does no harm there.
A claim lives from the log's own time, and `occurred_at` only orders the events of one claim. So an emitter that was
offline for a month is heard. A time before 1970 is none: it is that of a clock that was never set, or some
language's zero.
"""

from collections.abc import Iterable, Iterator

from schemas.domain.policy import FieldError
from schemas.domain.values import time_ms
from schemas.wire.events import BreakerEvent


def too_early(events: Iterable[BreakerEvent]) -> Iterator[tuple[int, FieldError]]:
    """Yield the index of each event that occurred before 1970, with what is wrong with it.

    Args:
        events: those of a request.
    """
    for index, event in enumerate(events):
        if event.data.occurred_at is not None and event.data.occurred_at < 0:
            yield index, FieldError("data.occurred_at", "must be 0 or more, in milliseconds since 1970")
        if event.time is not None and time_ms(event.time) < 0:
            yield index, FieldError("time", "must not lie before 1970; set the emitter's clock, or send no time")
