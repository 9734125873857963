"""Turns a record of an ingress topic into breaker events with a time, or into a dead letter. Pure.

Only breaker events pass. An event without a time gets the timestamp of its record. So an event that is forwarded again
after a crash is stale or a renewal, and changes nothing.
"""

import traceback

from schemas.domain.values import time_ms
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.wire.cloudevents import STRUCTURED_HEADERS, UndecodableError, encode, parse_all
from schemas.wire.events import BREAKER, BreakerEvent
from worker.ingress.tenant_limit import Normalised
from worker.ports import Output


def normalise(record: SourceRecord) -> list[Normalised] | Failure:
    """Return the events of a record, or why the record is a dead letter. A batch passes whole or not at all."""
    if isinstance(record, Unreadable):
        return record.failure
    try:
        events = parse_all(record.value, record.headers)
    except UndecodableError as error:
        return Failure(error.code, str(error))
    except Exception:  # noqa: BLE001 - an error of our decoder must not stop the other records
        return Failure("decode_failed", traceback.format_exc(), ours=True)
    for event in events:
        if not isinstance(event, BreakerEvent):
            return Failure("not_a_breaker_event", f"{event.type} may not come through ingress; only {BREAKER} may")
    return [_normal(event, record.timestamp) for event in events if isinstance(event, BreakerEvent)]


def _normal(event: BreakerEvent, timestamp: int) -> Normalised:
    """Return an event as it is published, with a time."""
    data = event.data.model_dump(exclude_none=True)
    if event.data.occurred_at is None and event.time is not None:
        data["occurred_at"] = time_ms(event.time)
    elif event.data.occurred_at is None and timestamp >= 0:  # A record without a timestamp has a negative one.
        data["occurred_at"] = timestamp
    value = encode(type_=BREAKER, id_=event.id, source=event.source, subject=event.subject, time=event.time, data=data)
    output = Output(event.subject.encode(), value, STRUCTURED_HEADERS)
    return Normalised(event.subject, (event.data.breaker, event.data.instance), data.get("occurred_at"), output)
