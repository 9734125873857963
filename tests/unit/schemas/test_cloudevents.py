"""CloudEvents over Kafka: structured and binary mode, and what becomes a dead letter."""

import json
import re
from typing import Any

import pytest

from schemas.domain.state import BREAKER_STATE_PATTERN
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS, UndecodableError, decode, encode, parse
from schemas.wire.events import (
    EVENT_MODELS,
    BreakerEvent,
    CancelEvent,
    ModeEvent,
    OperationEvent,
    PolicyEvent,
    RulesEvent,
    TimerEvent,
)
from tests.support.times import NOW

COMMAND = {"operation_id": "op-1", "actor": "ops"}
DATA: dict[str, tuple[type, dict[str, Any]]] = {
    "sleep.breaker.v1": (BreakerEvent, {"breaker": "payments", "state": "open"}),
    "sleep.operation.v1": (OperationEvent, COMMAND | {"target": "deep", "ttl_ms": 1000}),
    "sleep.cancel.v1": (CancelEvent, COMMAND | {"cancels": "op-0"}),
    "sleep.mode.v1": (ModeEvent, COMMAND | {"target": "active"}),
    "sleep.policy.v1": (PolicyEvent, COMMAND | {"policy": None}),
    "sleep.rules.v1": (RulesEvent, COMMAND | {"rules": {}}),
    "sleep.timer.v1": (TimerEvent, {"due_at": NOW}),
}


def encoded(type_: str = "sleep.breaker.v1", subject: str | None = "acme", **data: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return an event of ours in structured mode."""
    return encode(type_=type_, id_="e-1", source="/test", subject=subject, time=None, data=DATA[type_][1] | data)


def code_of(key: bytes | None, value: bytes | None, headers: Any = ()) -> str:  # noqa: ANN401 - Kafka's headers
    """Return the code under which a record is refused."""
    with pytest.raises(UndecodableError) as refused:
        decode(key, value, headers)
    assert str(refused.value)
    return refused.value.code


@pytest.mark.parametrize("type_", DATA)
def test_every_type_survives_the_structured_form(type_: str) -> None:
    """What we encode is what we decode, rules without a key."""
    model, data = DATA[type_]
    subject = None if type_ == "sleep.rules.v1" else "acme"
    event = decode(subject.encode() if subject else None, encoded(type_, subject), STRUCTURED_HEADERS)
    assert type(event) is model is EVENT_MODELS[type_]
    assert (event.id, event.source, event.subject) == ("e-1", "/test", subject)
    assert data.items() <= event.data.model_dump().items()


def test_absent_attributes_are_left_out_of_the_structured_form() -> None:
    """Neither a null subject nor a null time is written; `datacontenttype` is."""
    written = json.loads(encoded("sleep.rules.v1", None))
    assert sorted(written) == ["data", "datacontenttype", "id", "source", "specversion", "type"]


def test_a_time_is_written_and_read() -> None:
    """As it was given."""
    time = "2026-11-22T09:27:17.992Z"
    value = encode(type_="sleep.timer.v1", id_="e", source="s", subject="acme", time=time, data={"due_at": 1})
    assert parse(value).time == time


BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-2"),
    ("ce_source", b"/binary"),
    ("ce_type", b"sleep.breaker.v1"),
    ("ce_subject", b"acme"),
    ("ce_time", b"2026-11-22T09:27:17Z"),
    ("content-type", b"application/json"),
]
BINARY_VALUE = b'{"breaker": "payments", "state": "half_open"}'


def test_a_binary_event_has_its_attributes_in_headers() -> None:
    """And its data as the value."""
    event = decode(b"acme", BINARY_VALUE, BINARY)
    assert isinstance(event, BreakerEvent)
    assert (event.id, event.source, event.subject, event.data.state) == (
        "e-2",
        "/binary",
        "acme",
        "half_open",
    )


def test_an_extension_in_the_headers_cannot_stand_in_for_the_data() -> None:
    """The value is the data, whatever a header says."""
    event = decode(b"acme", BINARY_VALUE, [*BINARY, ("ce_data", b"{}"), ("ce_vendor", b"x")])
    assert isinstance(event, BreakerEvent)
    assert event.data.breaker == "payments"


def test_other_headers_leave_a_structured_event_structured() -> None:
    """Tracing headers come with many records; a header may have no value."""
    headers: Any = [("traceparent", b"00-1-1-01"), ("ce_id", None), ("ce_vendor", b"x")]
    assert decode(b"acme", encoded(), headers).id == "e-1"


def test_a_binary_event_without_an_attribute_is_invalid() -> None:
    """The finding names it."""
    headers = [(name, value) for name, value in BINARY if name != "ce_source"]
    with pytest.raises(UndecodableError, match="source") as refused:
        decode(b"acme", BINARY_VALUE, headers)
    assert refused.value.code == "invalid_event"


@pytest.mark.parametrize(
    ("spelling", "state"),
    [
        ("Open", "open"),
        ("OPEN", "open"),
        ("half-open", "half_open"),
        ("HALF_OPEN", "half_open"),
        ("halfOpen", "half_open"),
        ("Half Open", "half_open"),
        ("FORCED-OPEN", "forced_open"),
        ("Metrics Only", "metrics_only"),
        (" closed ", "closed"),
        ("disa_bled", "disabled"),
    ],
)
def test_a_breakers_state_is_read_in_any_spelling(spelling: str, state: str) -> None:
    """Without regard to case, hyphen, underscore and space; its schema says the same."""
    event = decode(b"acme", encoded(state=spelling), STRUCTURED_HEADERS)
    assert isinstance(event, BreakerEvent)
    assert event.data.state == state
    assert re.search(BREAKER_STATE_PATTERN, spelling)


@pytest.mark.parametrize(
    "spelling", ["", "-", "ajar", "op.en", "open\n", "opened", "half\topen", 1, None, True, ["open"]]
)
def test_what_is_no_state_stays_none(spelling: object) -> None:
    """And its schema refuses it too."""
    assert code_of(b"acme", encoded(state=spelling)) == "invalid_event"
    assert not isinstance(spelling, str) or not re.fullmatch(BREAKER_STATE_PATTERN.strip("^$"), spelling)


@pytest.mark.parametrize(
    ("type_", "change"),
    [
        ("sleep.operation.v1", {"target": "Deep"}),
        ("sleep.mode.v1", {"target": "ACTIVE"}),
        ("sleep.mode.v1", {"target": "de-ep"}),
    ],
)
def test_a_target_has_one_spelling(type_: str, change: dict[str, Any]) -> None:
    """Digests and refusals of commands are history."""
    assert code_of(b"acme", encoded(type_, **change)) == "invalid_event"


def test_headers_in_the_bindings_spelling_go_first() -> None:
    """A log that was folded by them is folded by them again, whatever other headers say."""
    other = [("CE_ID", b"other"), ("ce-source", b"/other"), ("Content-Type", b"application/cloudevents+json")]
    event = decode(b"acme", BINARY_VALUE, [*BINARY, *other])
    assert (event.id, event.source) == ("e-2", "/binary")
    assert decode(b"acme", encoded(), [("ce-specversion", b"1.0"), ("CE_ID", b"other")]).id == "e-1"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"{",
        b"{} {}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xed\xa0\x80"}',
        b"[" * 1000 + b"]" * 1000,
        b"9" * 5000,
    ],
)
def test_what_is_not_json_is_undecodable(value: bytes | None) -> None:
    """Also NaN, a lone surrogate, and nesting without end."""
    assert code_of(b"acme", value) == "undecodable"


def test_a_value_of_64_kib_is_read_and_one_byte_more_is_not() -> None:
    """Before anything else is looked at."""
    assert MAX_BYTES == 64 * 1024
    event = encoded()
    padded = event + b" " * (MAX_BYTES - len(event))
    assert decode(b"acme", padded, ()).id == "e-1"
    assert code_of(b"acme", padded + b" ") == "oversize"
    assert code_of(b"acme", b"\xff" * 1_000_000) == "oversize"


@pytest.mark.parametrize("type_", ["sleep.breaker.v2", "com.example.order", "", 1, None])
def test_an_unknown_type_is_named_as_such(type_: object) -> None:
    """Tomorrow's events are not today's errors of form."""
    assert code_of(b"acme", json.dumps(json.loads(encoded()) | {"type": type_}).encode()) == "unknown_type"


@pytest.mark.parametrize("value", [b"1", b"null", b'"text"', b"[]", b"{}", b'{"specversion": "1.0"}'])
def test_json_that_is_no_event_is_invalid(value: bytes) -> None:
    """Without a type there is no type to be unknown."""
    assert code_of(b"acme", value) == "invalid_event"


def test_the_finding_names_the_field_and_not_the_value() -> None:
    """A secret in the wrong place stays out of the dead letter's headers."""
    with pytest.raises(UndecodableError, match=r"data\.state: ") as refused:
        parse(encoded(state="hunter2"))
    assert "hunter2" not in str(refused.value)


def test_every_wrong_field_is_found_at_once() -> None:
    """An emitter's author sees all in one go."""
    with pytest.raises(UndecodableError, match=r"data\.breaker.*data\.state.*data\.occurred_at"):
        parse(encoded(breaker="a@b", state="?", occurred_at=True))


@pytest.mark.parametrize("key", [None, b"", b"acme2", b"ACME", b"\xff\xfe"])
def test_a_key_that_is_not_the_tenant_is_wrong(key: bytes | None) -> None:
    """It would be in another tenant's partition."""
    assert code_of(key, encoded()) == "wrong_key"


def test_rules_have_neither_key_nor_subject() -> None:
    """They are everybody's."""
    assert code_of(b"acme", encoded("sleep.rules.v1", None)) == "wrong_key"
    assert code_of(b"acme", encoded("sleep.rules.v1", "acme")) == "invalid_event"


def test_the_message_of_a_refusal_stays_short() -> None:
    """It goes into a header, and the value may be 64 KiB of one word."""
    value = json.dumps(json.loads(encoded()) | {"type": "x" * 60_000}).encode()
    with pytest.raises(UndecodableError) as refused:
        parse(value)
    assert len(str(refused.value)) <= 4096


def test_a_header_that_is_not_utf_8_is_undecodable() -> None:
    """Reading it with a replacement character would make up an attribute."""
    headers = [(name, b"\xff" if name == "ce_id" else value) for name, value in BINARY]
    assert code_of(b"acme", BINARY_VALUE, headers) == "undecodable"
