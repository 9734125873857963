"""The trace context of an event: read from a record, and written into an event."""

import json
from typing import Any

import pytest

from schemas.tracing.carriage import carrying, trace_of
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS, Headers, decode
from tests.support.events import event_bytes
from tests.support.records import Source
from tests.support.spans import NOT_SAMPLED, TRACEPARENT
from tests.support.times import T

EVENT = event_bytes("sleep.breaker.v1", {"breaker": "payments", "instance": "pod-1", "state": "open"}, "acme")


def record(value: bytes | None, headers: Headers = STRUCTURED_HEADERS) -> Source:
    """Return a record as a consumer gets it."""
    return Source(0, T, b"acme", value, headers)


def test_an_event_that_carries_a_context_is_the_same_event() -> None:
    """The context is an attribute that nothing but tracing reads."""
    carried = carrying(EVENT, TRACEPARENT)
    assert trace_of(record(carried)) == TRACEPARENT
    assert decode(b"acme", carried, STRUCTURED_HEADERS) == decode(b"acme", EVENT, STRUCTURED_HEADERS)


def test_without_a_context_an_event_stays_as_it_is() -> None:
    """As where a span is not valid."""
    assert carrying(EVENT, None) is EVENT
    assert trace_of(record(EVENT)) is None


def test_an_event_that_would_become_too_long_stays_as_it_is() -> None:
    """A trace is worth less than the event."""
    longest = EVENT[:-1] + b" " * (MAX_BYTES - len(EVENT)) + b"}"
    assert carrying(longest, TRACEPARENT) is longest
    assert trace_of(record(carrying(longest.replace(b" " * 100, b"", 1), TRACEPARENT))) == TRACEPARENT


@pytest.mark.parametrize("name", ["traceparent", "ce_traceparent", "CE_Traceparent"])
def test_a_header_names_the_context_too(name: str) -> None:
    """In binary mode, and as instrumented Kafka clients write it."""
    assert trace_of(record(b"{}", ((name, TRACEPARENT.encode()),))) == TRACEPARENT


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b'{"traceparent":7}',
        b'{"traceparent":null}',
        b'{"traceparent":""}',
        b'["traceparent"]',
        b'{"traceparent":"\xff"}',
        json.dumps({"traceparent": TRACEPARENT.upper()}).encode(),
        json.dumps({"traceparent": f"{TRACEPARENT}-more"}).encode(),
        json.dumps({"traceparent": f"ff{TRACEPARENT[2:]}"}).encode(),
        json.dumps({"traceparent": TRACEPARENT.replace("00f067aa0ba902b7", "0" * 16)}).encode(),
        json.dumps({"data": {"traceparent": TRACEPARENT}}).encode(),
        json.dumps({"traceparent": NOT_SAMPLED}).encode(),
        b'{"traceparent":"x","more":' + b"[" * 30_000,
        b'{"traceparent":"%b","more":%b%b}' % (TRACEPARENT.encode(), b"[" * 2_000, b"]" * 2_000),
        b'{"traceparent":"x"}' + b" " * MAX_BYTES,
    ],
)
def test_what_is_no_context_is_none(value: bytes | None) -> None:
    """Whatever a record holds, reading its context raises nothing."""
    assert trace_of(record(value)) is None


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"00-1-1-01"])
def test_a_header_without_a_valid_context_is_none(content: bytes | None) -> None:
    """Also where the event has one: a header comes first."""
    headers: Any = [("traceparent", content)]  # aiokafka gives None where a header has no value
    assert trace_of(record(carrying(EVENT, TRACEPARENT), headers)) is None
