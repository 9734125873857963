"""The compiled decoder of usual breaker events reads nothing that the parser refuses, and nothing in another way."""

import json
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.domain.state import LABELS
from schemas.tracing.carriage import carrying
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS, ReceivedHeaders, decode, encode
from schemas.wire.events import BREAKER, BreakerEvent
from schemas.wire.usual_breaker import UsualBreaker, UsualBreakerEvent, modelled, read_usual_breaker
from tests.support.claims import QUICK
from tests.support.spans import TRACEPARENT

DATA = {"breaker": "payments", "instance": "pod-0", "state": "open"}
EVENT = {"specversion": "1.0", "id": "e-1", "source": "urn:test", "type": BREAKER, "subject": "acme", "data": DATA}
MORE = {"occurred_at": 1_700_000_000_000, "cause": "a storm", "library": "opossum 8"}
TIMES = ("2026-01-31T12:00:00Z", "2026-01-31t12:00:60.1234567890123z", "2026-02-30T12:00:00Z", "noon", "")
# What lies at the edge of a rule, or has another meaning in another reader.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.0, -0.0, 1.5, 1e3, 1e20, 2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64, 10**400,
    "", " ", "a@b", "a\nb", "a\n", "\x7f", "\x85", "é", "\u2028", "a" * 128, "a" * 129, "a" * 200, "a" * 201,
    "a" * 256, "a" * 257, "half_open", "HALF-OPEN", "1.0", "1", BREAKER, "sleep.timer.v1", "/", *LABELS, *TIMES,
    [], {}, [1], DATA, json.dumps(DATA),
)  # fmt: skip
NAMES = (*EVENT, "time", "datacontenttype", "data_base64", "dataschema", "traceparent", "x")
DATA_NAMES = (*DATA, *MORE, "x")
HEADERS: tuple[ReceivedHeaders, ...] = (
    (),
    STRUCTURED_HEADERS,
    [("traceparent", None), *STRUCTURED_HEADERS],
    [("content-type", b"application/json"), ("ce_id", b"e-2"), ("ce_specversion", b"1.0")],
    [("CE_ID", b"e-2")],
    [("ce_id", None)],
    [("content-type", b"application/json")],
)
values = st.sampled_from(ODD) | st.text(max_size=5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def _in_common(event: object) -> dict[str, Any]:
    """Return the fields of an event in either form; the content type is in one of them only."""
    names = BreakerEvent.model_fields
    fields = {name: getattr(event, name) for name in names}
    return fields | {"data": {name: getattr(fields["data"], name) for name in type(fields["data"]).__annotations__}}


def require_equal(key: bytes | None, value: bytes | None, headers: ReceivedHeaders) -> UsualBreakerEvent | None:
    """Return what the compiled decoder reads, and fail unless the parser reads the same; it raises what it refuses."""
    usual = read_usual_breaker(key, value, headers)
    if usual is not None:
        event = decode(key, value, headers)
        assert type(event) is BreakerEvent
        read, parsed = _in_common(usual), _in_common(event)
        assert read == parsed
        assert [*map(type, read["data"].values())] == [type(parsed["data"][name]) for name in read["data"]]
        assert modelled(usual) == event
    return usual


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a breaker event as JSON, often with a few things that are not usual: also a name twice."""
    data = {**DATA, **draw(st.sampled_from(({}, MORE)))} | draw(
        st.dictionaries(st.sampled_from(DATA_NAMES), values, max_size=2)
    )
    event = EVENT | {"data": data} | draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=2))
    for left_out in draw(st.sets(st.sampled_from(NAMES), max_size=1)):
        event.pop(left_out, None)
    text = json.dumps(event, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        again = json.dumps({draw(st.sampled_from((*NAMES, *DATA_NAMES))): draw(values)})[1:-1]
        place = draw(st.sampled_from((1, text.rindex("}"), max(text.rfind("}", 0, -1), 1))))
        text = f"{text[:place]}{again if place == 1 else ''}{',' if place == 1 else ',' + again}{text[place:]}"
    return text


@QUICK
@given(documents(), st.sampled_from((b"acme", b"acme", b"acme", b"bolt", None)), st.sampled_from(HEADERS))
@example(json.dumps(EVENT), b"acme", STRUCTURED_HEADERS)
def test_an_event_is_read_as_by_the_parser_or_not_at_all(
    text: str, key: bytes | None, headers: ReceivedHeaders
) -> None:
    """Of documents that are nearly usual."""
    require_equal(key, text.encode(), headers)


@QUICK
@given(st.sampled_from((EVENT, EVENT | {"data": DATA | MORE, "time": TIMES[0]})), st.data())
def test_changed_bytes_are_read_as_by_the_parser_or_not_at_all(event: dict[str, Any], data: st.DataObject) -> None:
    """With any bytes put in, anywhere, in place of any others."""
    value = json.dumps(event).encode()
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(start + 3, len(value))))
    put = data.draw(st.binary(max_size=2) | st.sampled_from([bytes([byte]) for byte in range(256)]))
    require_equal(b"acme", value[:start] + put + value[end:], STRUCTURED_HEADERS)


def test_each_odd_attribute_is_read_as_by_the_parser_or_not_at_all() -> None:
    """With the key of the record that such a subject has."""
    for name, odd in product(NAMES, ODD):
        key = odd.encode() if name == "subject" and isinstance(odd, str) else b"acme"
        require_equal(key, json.dumps(EVENT | {name: odd}, ensure_ascii=False).encode(), STRUCTURED_HEADERS)


def test_each_odd_field_of_the_data_is_read_as_by_the_parser_or_not_at_all() -> None:
    """Raw and escaped."""
    for name, odd, ensure_ascii in product(DATA_NAMES, ODD, (False, True)):
        value = json.dumps(EVENT | {"data": DATA | {name: odd}}, ensure_ascii=ensure_ascii).encode()
        require_equal(b"acme", value, STRUCTURED_HEADERS)


def test_each_raw_byte_in_a_text_is_read_as_by_the_parser_or_not_at_all() -> None:
    """Control characters too, which JSON does not allow without an escape."""
    for byte in range(256):
        value = json.dumps(EVENT).encode().replace(b"pod-0", b"pod" + bytes([byte]))
        require_equal(b"acme", value, STRUCTURED_HEADERS)


@pytest.mark.parametrize("more", [{}, MORE, {"cause": None, "occurred_at": None}])
@pytest.mark.parametrize("time", [None, TIMES[0]])
def test_what_we_write_ourselves_is_usual(more: dict[str, Any], time: str | None) -> None:
    """Or else nothing would be gained."""
    value = encode(type_=BREAKER, id_="e-1", source="urn:test", subject="acme", time=time, data=DATA | more)
    assert require_equal(b"acme", value, STRUCTURED_HEADERS) is not None


def test_an_event_of_a_trace_is_usual() -> None:
    """An emitter may follow CloudEvents' extension for traces, whether tracing is on or not."""
    value = carrying(json.dumps(EVENT).encode(), TRACEPARENT)
    assert require_equal(b"acme", value, STRUCTURED_HEADERS) is not None


def test_a_value_is_bounded_as_by_the_parser() -> None:
    """And may be absent."""
    value = json.dumps(EVENT).encode()
    assert require_equal(b"acme", value.ljust(MAX_BYTES), STRUCTURED_HEADERS) is not None
    assert require_equal(b"acme", value.ljust(MAX_BYTES + 1), STRUCTURED_HEADERS) is None
    assert require_equal(b"acme", None, STRUCTURED_HEADERS) is None


def test_both_forms_have_the_same_fields() -> None:
    """A field that the event gets must come to both."""
    own = {field.name for field in msgspec.structs.fields(UsualBreakerEvent)}
    assert own - {"datacontenttype", "traceparent"} == set(BreakerEvent.model_fields)
    assert set(UsualBreaker.__struct_fields__) == set(BreakerEvent.model_fields["data"].annotation.model_fields)  # type: ignore[union-attr]
