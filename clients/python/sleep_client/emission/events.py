"""A batch of CloudEvents 1.0, as `POST /api/breakers/events` takes it."""

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sleep_client.emission.report import Report

PATH: Final = "/api/breakers/events"
CONTENT_TYPE: Final = "application/cloudevents-batch+json"
MOST_BYTES: Final = 65_536
"""The largest body that the server takes."""
LIBRARY: Final = "somabrain-sleep-client"


class Event(NamedTuple):
    """What is sent about a report. A retry sends the same event.

    Attributes:
        id: unique within the source.
        occurred_at: the server's time in milliseconds; None if it is not known, and the order of arrival counts.
        report: the report.
    """

    id: str
    occurred_at: int | None
    report: Report


def encode(events: Iterable[Event], source: str) -> tuple[bytes, int]:
    """Return the body with as many of the events as fit, from the first on, and their number.

    One event has at most about 4 KiB, so at least one fits.
    """
    parts: list[bytes] = []
    size = 2
    for event in events:
        part = json.dumps(_document(event, source), ensure_ascii=False, separators=(",", ":")).encode()
        size += len(part) + 1
        if parts and size > MOST_BYTES:
            break
        parts.append(part)
    return b"[" + b",".join(parts) + b"]", len(parts)


def _document(event: Event, source: str) -> dict[str, Any]:
    (tenant, breaker, instance), state, cause, _ = event.report
    data: dict[str, Any] = {"breaker": breaker, "instance": instance, "state": state, "library": LIBRARY}
    if event.occurred_at is not None:
        data["occurred_at"] = event.occurred_at
    if cause is not None:
        data["cause"] = cause
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": "sleep.breaker.v1",
        "subject": tenant,
        "data": data,
    }
