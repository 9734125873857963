"""HTTP and Kafka take exactly the same events: each form goes through both, and they must agree."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.commands.cloudevents import encode_breaker_event, read_breaker_events
from api.errors.problems import ProblemError
from schemas.kafka.source_record import Failure
from schemas.wire.cloudevents import UndecodableError, decode, parse, parse_all
from tests.support.records import Source
from tests.support.times import T
from worker.ingress.normalise import normalise

DATA: Final[dict[str, Any]] = {"breaker": "payments", "instance": "pod-1", "state": "open", "occurred_at": 1}
ATTRIBUTES: Final = {
    "specversion": "1.0",
    "id": "7f0c",
    "source": "urn:shop:pod-1",
    "type": "sleep.breaker.v1",
    "subject": "acme",
    "time": "2026-11-22T08:07:17Z",
}
EVENT: Final = ATTRIBUTES | {"data": DATA}
TEXT: Final = json.dumps(DATA)
BYTES: Final = b64encode(TEXT.encode()).decode()
BATCH: Final = "application/cloudevents-batch+json"


class Message(NamedTuple):
    """An event before a binding: its content type, the attributes that are headers, and the body."""

    content_type: str | None
    attributes: dict[str, str]
    body: bytes


def structured(content: object, content_type: str | None = "application/cloudevents+json") -> Message:
    """Return a structured event, or a batch."""
    return Message(content_type, {}, json.dumps(content).encode())


def binary(content: object, content_type: str | None = "application/json", **attributes: str | None) -> Message:
    """Return a binary event; None takes an attribute away."""
    given = {name: value for name, value in (ATTRIBUTES | attributes).items() if value is not None}
    return Message(content_type, given, content if isinstance(content, bytes) else json.dumps(content).encode())


def over_http(message: Message) -> list[bytes] | None:
    """Return what the API writes to the log, None where it refuses."""
    headers = [(f"ce-{name}", quote(value, safe=":/")) for name, value in message.attributes.items()]
    if message.content_type is not None:
        headers.append(("content-type", message.content_type))
    media_type = (message.content_type or "").partition(";")[0].strip().lower()
    try:
        return [encode_breaker_event(event) for event in read_breaker_events(media_type, headers, message.body)]
    except ProblemError:
        return None


def kafka_headers(message: Message, spell: Callable[[str], str] = str) -> list[tuple[str, bytes]]:
    """Return the headers of the Kafka binding."""
    headers = [(spell(f"ce_{name}"), value.encode()) for name, value in message.attributes.items()]
    return (
        headers if message.content_type is None else [*headers, (spell("content-type"), message.content_type.encode())]
    )


def over_kafka(message: Message, spell: Callable[[str], str] = str) -> list[bytes] | None:
    """Return what ingress puts into the log, None for a dead letter. It stamps no time, since the events have one."""
    passed = normalise(Source(0, T, None, message.body, kafka_headers(message, spell)))
    if isinstance(passed, Failure):
        assert not passed.ours, passed.message
        return None
    return [event.output.value or b"" for event in passed.events]


def in_the_log(message: Message) -> bool:
    """Tell whether the lane takes the record, as a trusted emitter may write it."""
    try:
        decode(b"acme", message.body, kafka_headers(message))
    except UndecodableError:
        return False
    return True


TAKEN: Final = {
    "structured": structured(EVENT),
    "structured, upper case": structured(EVENT, "Application/CloudEvents+JSON; Charset=UTF-8"),
    "structured, in a spelling that meant binary once": binary(DATA, "APPLICATION/CLOUDEVENTS+JSON"),
    "structured, charset": structured(EVENT, "application/cloudevents+json; charset=utf-8"),
    "structured, no suffix": structured(EVENT, "application/cloudevents"),
    "structured as plain JSON": structured(EVENT, "application/json"),
    "structured, no content type": structured(EVENT, None),
    "structured, other content type": structured(EVENT, "text/plain"),
    "data_base64": structured(ATTRIBUTES | {"data_base64": BYTES}),
    "data_base64 beside null": structured(ATTRIBUTES | {"data": None, "data_base64": BYTES}),
    "data before data_base64": structured(EVENT | {"data_base64": "?"}),
    "data_base64 of JSON text": structured(ATTRIBUTES | {"data_base64": b64encode(json.dumps(TEXT).encode()).decode()}),
    "data is JSON text": structured(ATTRIBUTES | {"data": TEXT}),
    "datacontenttype": structured(EVENT | {"datacontenttype": "application/vnd.breaker+json"}),
    "extensions": structured(EVENT | {"partitionkey": "acme", "n": 1, "b": True, "dataschema": "urn:x", "x": None}),
    "binary": binary(DATA),
    "binary, no content type": binary(DATA, None),
    "binary, charset": binary(DATA, "Application/JSON; charset=utf-8"),
    "binary, text/json": binary(DATA, "text/json"),
    "binary, vendor's JSON": binary(DATA, "application/vnd.breaker+json"),
    "binary, bytes": binary(DATA, "application/octet-stream"),
    "binary, JSON text": binary(TEXT),
    "binary, beyond ASCII": binary(DATA, source="urn:café €"),
    "binary, extensions": binary(DATA, partitionkey="acme", data="{}", traceparent="00-1-2-01"),
    "binary, no time": binary(DATA, time=None),
    "byte order mark": binary(b"\xef\xbb\xbf" + TEXT.encode()),
    "UTF-16": binary(TEXT.encode("utf-16")),
    "UTF-32 without a mark": binary(TEXT.encode("utf-32-le")),
    "batch": structured([EVENT, ATTRIBUTES | {"data_base64": BYTES}], BATCH),
    "batch, charset": structured([EVENT], "Application/CloudEvents-Batch+JSON; charset=UTF-8"),
    "empty batch": structured([], BATCH),
}
REFUSED: Final = {
    "no subject": structured({name: value for name, value in EVENT.items() if name != "subject"}),
    "no version": binary(DATA, specversion=None),
    "an older version": structured(EVENT | {"specversion": "0.3"}),
    "a command": structured(EVENT | {"type": "sleep.mode.v1"}),
    "not base64": structured(ATTRIBUTES | {"data_base64": "{}"}),
    "base64 of no JSON": structured(ATTRIBUTES | {"data_base64": "AAAA"}),
    "no data": structured(ATTRIBUTES),
    "data is text": structured(ATTRIBUTES | {"data": "open"}),
    "data is XML": binary(b"<open/>", "application/xml"),
    "no value": binary(b""),
    "event in an event": binary(EVENT),
    "a batch as plain JSON": structured([EVENT], "application/json"),
    "a batch with one wrong": structured([EVENT, ATTRIBUTES], BATCH),
    "a batch that is none": structured(EVENT, BATCH),
    "a batch in a batch": structured([[EVENT]], BATCH),
    "control character": binary(DATA, source="a\x00b"),
    "half of a surrogate pair": binary(b'{"breaker": "\\ud800", "state": "open"}'),
}


@pytest.mark.parametrize("message", TAKEN.values(), ids=TAKEN.keys())
def test_a_form_that_one_door_takes_the_other_takes_too(message: Message) -> None:
    """And both put the same bytes into the log."""
    taken = over_http(message)
    assert taken is not None
    assert over_kafka(message) == taken
    assert all(parse(value).data.model_dump(exclude_none=True) == DATA for value in taken)


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED.keys())
def test_a_form_that_one_door_refuses_the_other_refuses_too(message: Message) -> None:
    """And neither calls it a failure of its own."""
    assert over_http(message) is over_kafka(message) is None


@pytest.mark.parametrize("name", [name for name in TAKEN if "batch" not in name])
def test_the_log_takes_what_the_doors_take(name: str) -> None:
    """A trusted emitter may write it there; batches aside, since a record of the log is one event."""
    assert in_the_log(TAKEN[name])


@pytest.mark.parametrize(
    "spell", [str.upper, str.title, lambda name: name.replace("ce_", "ce-"), lambda name: name.replace("ce_", "CE-")]
)
@pytest.mark.parametrize("name", ["binary", "structured", "binary, no content type", "batch"])
def test_a_client_may_spell_header_names_as_it_likes(name: str, spell: Callable[[str], str]) -> None:
    """Kafka's binding writes `ce_id`; frameworks that come from HTTP write `ce-id`, and any case."""
    assert over_kafka(TAKEN[name], spell) == over_http(TAKEN[name])


def test_a_content_type_without_a_value_is_none() -> None:
    """The JavaScript SDK writes `undefined` for an event that names no data content type."""
    headers: Any = [*kafka_headers(binary(DATA, None)), ("content-type", None), ("ce_schemaurl", None)]
    assert parse(TEXT.encode(), headers).id == "7f0c"


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)
CONTENT_TYPES: Final = st.sampled_from(
    [None, "", "application/json", "text/json", "text/plain", "application/xml", BATCH, "APPLICATION/CLOUDEVENTS+JSON"]
)
ATTRIBUTE_VALUES: Final = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Draw an event in any form, often with something wrong or unusual in it."""
    data: Any = draw(st.sampled_from([DATA, DATA | {"state": "Half-Open"}, DATA | {"state": "ajar"}, TEXT]) | JSON)
    changes = draw(
        st.dictionaries(st.sampled_from([*ATTRIBUTES, "partitionkey", "data"]), ATTRIBUTE_VALUES, max_size=2)
    )
    attributes = {name: value for name, value in (ATTRIBUTES | changes).items() if draw(st.integers(0, 20))}
    content_type = draw(CONTENT_TYPES)
    match draw(st.integers(0, 3)):
        case 0:
            return Message(content_type, attributes, json.dumps(data).encode())
        case 1:
            return structured(attributes | {"data": data}, content_type)
        case 2:
            return structured(attributes | {"data_base64": b64encode(json.dumps(data).encode()).decode()}, content_type)
        case _:
            return structured([attributes | {"data": data}, EVENT], content_type)


@given(messages())
def test_both_doors_say_the_same_of_any_form(message: Message) -> None:
    """Taken by both with the same bytes, or refused by both."""
    taken = over_http(message)
    assert over_kafka(message) == taken
    if taken is not None and len(taken) == 1 and not isinstance(json.loads(message.body), list):
        assert len(parse_all(message.body, kafka_headers(message))) == 1
