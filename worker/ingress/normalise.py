"""Turns a record of an ingress topic into breaker events with a time, or into a dead letter. Pure.

Only breaker events pass, in the format of their topic. An event without a time gets the timestamp of its record. So an
event that is forwarded again after a crash is stale or a renewal, and changes nothing.
"""

import traceback
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.domain.values import time_ms
from schemas.formats.places import Message
from schemas.formats.read import read
from schemas.formats.report import Skipped
from schemas.formats.settings import TopicFormat
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.wire.cloudevents import STRUCTURED_HEADERS, UndecodableError, encode
from schemas.wire.events import BREAKER, BreakerEvent
from worker.ingress.tenant_limit import Normalised
from worker.ports import Output

CLOUDEVENTS: Final = TopicFormat(tenant="subject")
"""The format of a topic whose setting names no other."""


class Events(NamedTuple):
    """The events of a record, and how many parts of the record make none, by reason."""

    events: list[Normalised]
    skipped: Mapping[Skipped, int]


def normalise(record: SourceRecord, settings: TopicFormat = CLOUDEVENTS) -> Events | Failure:
    """Return the events of a record, or why the record is a dead letter. A batch passes whole or not at all.

    Args:
        record: the record.
        settings: the format of its topic.
    """
    if isinstance(record, Unreadable):
        return record.failure
    message = Message(
        record.value,
        record.headers,
        record.key,
        source=f"/{record.topic}",
        id=f"{record.partition}:{record.offset}",
    )
    try:
        reading = read(message, settings)
    except UndecodableError as error:
        return Failure(error.code, str(error))
    except Exception:  # noqa: BLE001 - an error of our decoder must not stop the other records
        return Failure("decode_failed", traceback.format_exc(), ours=True)
    return Events([_normal(event, record.timestamp) for event in reading.events], reading.skipped)


def _normal(event: BreakerEvent, timestamp: int) -> Normalised:
    """Return an event as it is published, with a time."""
    data = event.data.model_dump(exclude_none=True)
    if event.data.occurred_at is None and event.time is not None:
        data["occurred_at"] = time_ms(event.time)
    elif event.data.occurred_at is None and timestamp >= 0:  # A record without a timestamp has a negative one.
        data["occurred_at"] = timestamp
    value = encode(type_=BREAKER, id_=event.id, source=event.source, subject=event.subject, time=event.time, data=data)
    output = Output(event.subject.encode(), value, STRUCTURED_HEADERS)
    claim = event.data.breaker, event.data.instance
    return Normalised(event.subject, claim, data.get("occurred_at"), output, event.data.state)
