"""The trace context of an event: the attribute `traceparent` of a CloudEvent. Pure.

Sources: CloudEvents "Distributed Tracing" extension 1.0; W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.kafka.source_record import Parts
from schemas.wire.cloudevents import MAX_BYTES

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED: Final = 1
"""The bit of the last field that says that the trace is sampled."""
# In binary mode an attribute is a header with this prefix. Instrumented Kafka clients write the header without it.
_HEADERS: Final = frozenset({"ce_traceparent", "traceparent"})


class _Carrier(msgspec.Struct):
    """The part of a structured CloudEvent that is read here."""

    traceparent: str = ""


_decoder: Final = msgspec.json.Decoder(_Carrier)


def trace_of(record: Parts) -> str | None:
    """Return the `traceparent` of a record: of its headers, else of its event.

    None without a valid one, and where whoever began the trace does not sample it.
    """
    if (found := _found(record.headers)) is not None:
        return _valid(found)
    if record.value is None or b'"traceparent"' not in record.value or len(record.value) > MAX_BYTES:
        return None
    try:
        return _valid(_decoder.decode(record.value).traceparent)
    except (msgspec.MsgspecError, RecursionError):  # the latter for values that are nested a thousand times
        return None


def trace_of_headers(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return the `traceparent` of headers, None as `trace_of`."""
    found = _found(headers)
    return None if found is None else _valid(found)


def _found(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return the first header that names a trace context, valid or not."""
    for name, content in headers:
        if name.lower() in _HEADERS:
            return (content or b"").decode("ascii", "replace")
    return None


def _valid(traceparent: str) -> str | None:
    valid = _TRACEPARENT.fullmatch(traceparent) is not None
    return traceparent if valid and int(traceparent[-2:], 16) & _SAMPLED else None


def carrying(event: bytes, traceparent: str | None) -> bytes:
    """Return a structured event that carries a trace context.

    Args:
        event: as `schemas.wire.cloudevents.encode` writes it, without a trace context.
        traceparent: the trace context; None leaves the event as it is.

    An event that would become longer than `MAX_BYTES` stays as it is: a trace is worth less than the event.
    """
    if traceparent is None:
        return event
    longer = b'{"traceparent":"%b",%b' % (traceparent.encode("ascii"), event[1:])
    return longer if len(longer) <= MAX_BYTES else event
