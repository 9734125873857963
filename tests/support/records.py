"""Builders of records: an event as a consumer of the log gets it, and as a test sends it to the log."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import STRUCTURED_HEADERS, Headers
from schemas.wire.events import BREAKER
from tests.support.events import Document, event_bytes


@dataclass
class Source:
    """A record of the log, as a consumer hands it over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = STRUCTURED_HEADERS
    topic: str = "sleep.events"
    partition: int = 0


def source(offset: int, timestamp: int, document: Document) -> Source:
    """Return the record of the log that holds an event."""
    subject = document.get("subject")
    key = None if subject is None else subject.encode()
    return Source(offset, timestamp, key, json.dumps(document).encode())


class Sent(NamedTuple):
    """A record to write to the events topic; the tenant is its key, None for rules."""

    tenant: str | None
    value: bytes
    partition: int


def sent_breaker(tenant: str, state: str = "open", partition: int | None = None, *, partitions: int = 1) -> Sent:
    """Return a breaker's event for `Installation.write`: on the tenant's partition of so many, or on a given one."""
    data = {"breaker": "payments", "instance": "pod-1", "state": state}
    at = partition_of(tenant, partitions) if partition is None else partition
    return Sent(tenant, event_bytes(BREAKER, data, tenant), at)
