"""CloudEvents 1.0 over HTTP: structured, binary and batched (HTTP protocol binding 1.0.2).

The headers of the HTTP binding become those of the Kafka binding. `schemas.wire.cloudevents` decides what an event is.
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from pydantic import TypeAdapter

from api.errors.problems import ProblemError, invalid_request
from api.http.json_bounds import EVENT_PARTS, MOST_MEMBERS, require_bounded
from schemas.domain.policy import FieldError
from schemas.wire.cloudevents import UndecodableError, encode, entries_of, is_batch, read_event, read_json, validate
from schemas.wire.events import BREAKER, BreakerEvent

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"
_JSON: Final = re.compile(r"|[a-z]+/([a-z0-9.!#$&^_-]+\+)?json")
_CONTENT_TYPE: Final = "content-type"
_ATTRIBUTE: Final = "ce-"
_QUOTED: Final = re.compile(r'"([^"\\]|\\.)*"')
_EVENT: Final = TypeAdapter(BreakerEvent)
_MOST_ERRORS: Final = 20
"""The number of wrong fields that an answer names."""
_NAME_SHOWN: Final = 128
_LONGEST_ATTRIBUTE: Final = 4_096
"""Characters of an attribute's header as sent. The longest valid value has 256 characters, percent-encoded 3,072."""


def read_breaker_events(media_type: str, headers: Iterable[tuple[str, str]], body: bytes) -> list[BreakerEvent]:
    """Return the breaker events in a request.

    Args:
        media_type: of the body, without parameters, in lower case; empty if the request names none.
        headers: of the request, names in lower case; a repeated header is repeated.
        body: the body.

    Raises:
        ProblemError: `unsupported_media_type` or `malformed_request` for a body that is not JSON, or `invalid_request`
            that names each wrong field, in a batch behind the event's index.
    """
    kafka_headers = _kafka_headers(headers)
    require_bounded(in_utf_8(body), EVENT_PARTS)
    try:
        content = read_json(body, "the body")
    except UndecodableError as error:
        if _JSON.fullmatch(media_type) is None:
            raise ProblemError(
                "unsupported_media_type", f"send {STRUCTURED}, {BATCH}, or binary mode with {PLAIN}"
            ) from None
        raise ProblemError("malformed_request", str(error)) from None
    for entry in content if isinstance(content, list) else [content]:
        _require_bounded_data(entry)
    try:
        if is_batch(kafka_headers):
            return _batch(content)
        return [read_event(content, kafka_headers, _EVENT, BreakerEvent)]
    except UndecodableError as error:
        raise invalid_request(error.errors) from None


def in_utf_8(document: bytes) -> bytes:
    """Return JSON in UTF-8, converted from UTF-16 or UTF-32; unchanged if it is in another encoding."""
    encoding = json.detect_encoding(document)
    try:
        return document if encoding == "utf-8" else document.decode(encoding).encode()
    except UnicodeError:
        return document


def _require_bounded_data(entry: Any) -> None:  # noqa: ANN401 - any JSON
    """Check the bounds of JSON inside an event: `data` as text, the binary mode's body, or `data_base64`."""
    data = entry.get("data") if isinstance(entry, dict) else entry
    if isinstance(data, str):
        require_bounded(in_utf_8(data.encode()))
    elif data is None and isinstance(entry, dict) and isinstance(encoded := entry.get("data_base64"), str):
        # Invalid base64 is refused with its field's name when the event is validated.
        with suppress(ValueError):
            require_bounded(in_utf_8(b64decode(encoded, validate=True)))


def _batch(content: object) -> list[BreakerEvent]:
    events: list[BreakerEvent] = []
    findings: list[FieldError] = []
    for index, entry in enumerate(entries_of(content)):
        try:
            events.append(validate(entry, _EVENT, BreakerEvent))
        except UndecodableError as error:
            findings += (FieldError(f"[{index}].{finding.field}", finding.reason) for finding in error.errors)
            if len(findings) >= _MOST_ERRORS:
                break  # More findings would not help this caller, and would delay all others.
    if findings:
        raise invalid_request(findings[:_MOST_ERRORS])
    return events


def _kafka_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Return content type and attributes of a request as headers of a Kafka record, without other headers."""
    kafka_headers: dict[str, bytes] = {}
    for name, value in headers:
        if name == _CONTENT_TYPE:
            kafka_headers.setdefault(name, value.encode())
        elif name.startswith(_ATTRIBUTE):
            attribute = f"ce_{name.removeprefix(_ATTRIBUTE)}"
            if attribute in kafka_headers:
                raise ProblemError("malformed_request", f"the header {name} is there more than once")
            kafka_headers[attribute] = _decoded(name, value).encode()
            if len(kafka_headers) > MOST_MEMBERS:
                reason = f"the event has more than {MOST_MEMBERS} attributes"
                raise invalid_request([FieldError(name[:_NAME_SHOWN], reason)])
    return list(kafka_headers.items())


def _decoded(name: str, value: str) -> str:
    """Return the attribute in a header: unquoted, then percent-decoded once."""
    if len(value) > _LONGEST_ATTRIBUTE:
        raise invalid_request([FieldError(name[:_NAME_SHOWN], f"has more than {_LONGEST_ATTRIBUTE} characters")])
    if _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        # The binding requires ASCII. Other bytes are usually UTF-8, and otherwise Latin-1, as in old HTTP.
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeDecodeError:
        pass
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise invalid_request([FieldError(name, "its percent-encoded bytes are not UTF-8")]) from None


def encode_breaker_event(event: BreakerEvent) -> bytes:
    """Return the structured form for the log."""
    data = event.data.model_dump(exclude_none=True)
    return encode(type_=BREAKER, id_=event.id, source=event.source, subject=event.subject, time=event.time, data=data)
