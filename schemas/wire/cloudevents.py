"""CloudEvents 1.0: one parser for Kafka and HTTP.

A message is a value and headers, as in the Kafka protocol binding. The API translates HTTP headers into those (`ce-id`
becomes `ce_id`), so that Kafka and HTTP accept exactly the same events.

Old logs are folded again, so a message that an earlier version decoded must give the same event. Therefore leniency is
added only for messages that could not be decoded before.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.domain.policy import FieldError, field_errors
from schemas.errors import SchemasError
from schemas.wire.events import EVENTS, Event

MAX_BYTES: Final = 65_536
"""The largest value in bytes. A larger record becomes a dead letter, and a larger HTTP body is refused."""
_STRUCTURED: Final = b"application/cloudevents"
_BATCH: Final = b"application/cloudevents-batch"
CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
STRUCTURED_HEADERS: Final = (("content-type", CONTENT_TYPE.encode()),)
Headers = Sequence[tuple[str, bytes]]
ReceivedHeaders = Sequence[tuple[str, bytes | None]]
"""Headers as received: Kafka allows a header without a value."""
_PREFIX: Final = "ce_"
_NAME: Final = "content-type"
T = TypeVar("T")


class UndecodableError(SchemasError):
    """A record is not a valid event; `code` goes into the dead letter, and `errors` names each wrong field."""

    def __init__(self, code: str, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.errors = errors


def decode(key: bytes | None, value: bytes | None, headers: ReceivedHeaders) -> Event:
    """Return the event in a Kafka record.

    Raises:
        UndecodableError: with code `oversize`, `undecodable`, `unknown_type`, `invalid_event` or `wrong_key`.
    """
    event = parse(value, headers)
    subject = event.subject
    if key != (None if subject is None else subject.encode()):
        shown = None if key is None else key[:128].decode(errors="replace")
        msg = f"the record's key {shown!r} is not the event's subject {subject!r}"
        raise UndecodableError("wrong_key", msg)
    return event


def parse(value: bytes | None, headers: ReceivedHeaders = ()) -> Event:
    """Return the event in a value and its headers, whatever its key.

    Raises:
        UndecodableError: as `decode`, except `wrong_key`.
    """
    return read_event(read_json(value), headers, EVENTS)


def parse_all(value: bytes | None, headers: ReceivedHeaders = ()) -> list[Event]:
    """Return the events in a value and its headers: one, or those of a batch, which may be empty.

    Raises:
        UndecodableError: as `parse`; in a batch for the first invalid event.
    """
    if not is_batch(headers):
        return [parse(value, headers)]
    events = []
    for index, entry in enumerate(entries_of(read_json(value))):
        try:
            events.append(validate(entry, EVENTS))
        except UndecodableError as error:
            raise UndecodableError(error.code, f"event [{index}] of the batch: {error}") from None
    return events


def read_json(value: bytes | None, name: str = "the value") -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON in a value: UTF-8, or UTF-16 or UTF-32 as in RFC 4627. A byte order mark is skipped.

    Args:
        value: the bytes, None for a record without a value.
        name: the name of the value in errors.

    Raises:
        UndecodableError: with code `oversize` or `undecodable`.
    """
    if value is None:
        raise UndecodableError("undecodable", "the record has no value")
    if len(value) > MAX_BYTES:
        raise UndecodableError("oversize", f"{name} has {len(value)} bytes, more than {MAX_BYTES}")
    try:
        return _json(value)
    except ValueError as error:
        raise UndecodableError("undecodable", f"{name} is not JSON: {error}") from None


def _json(value: bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        encoding = json.detect_encoding(value)
        if encoding == "utf-8":
            raise
        return from_json(value.decode(encoding), allow_inf_nan=False)


def is_batch(headers: ReceivedHeaders) -> bool:
    """Tell whether a message is a batch, by its content type."""
    return any(name == _NAME and raw is not None and raw.startswith(_BATCH) for name, raw in _spelled(headers))


def entries_of(content: Any) -> list[Any]:  # noqa: ANN401 - any JSON
    """Return the events of a batch as documents, not yet validated.

    Raises:
        UndecodableError: with code `invalid_event` if the batch is not an array.
    """
    if not isinstance(content, list):
        raise _wrong("invalid_event", [FieldError("(document)", "a batch is a JSON array of events")])
    return content


def read_event(content: Any, headers: ReceivedHeaders, events: TypeAdapter[T], model: object = None) -> T:  # noqa: ANN401
    """Return the event of a message; `content` is its JSON.

    Raises:
        UndecodableError: with code `undecodable` if a header is not UTF-8, otherwise as `validate`.
    """
    try:
        return validate(_document_of(content, headers), events, model)
    except UndecodableError:
        # The spelling of the binding comes first: old logs were decoded with it.
        spelled = _spelled(headers)
        if spelled == list(headers):
            raise
        return validate(_document_of(content, spelled), events, model)


def _document_of(content: Any, headers: ReceivedHeaders) -> Any:  # noqa: ANN401 - any JSON
    if headers and (attributes := _binary_attributes(content, headers)):
        return attributes | {"data": content}
    return content


def _binary_attributes(content: object, headers: ReceivedHeaders) -> dict[str, str]:
    """Return the attributes of an event in binary mode; nothing for a structured message."""
    names = {name for name, _ in headers if name.startswith(_PREFIX)}
    # Without a version in either place, the sender means the headers.
    if not names or ("ce_specversion" not in names and isinstance(content, dict) and "specversion" in content):
        return {}
    if any(name == _NAME and raw is not None and raw.startswith(_STRUCTURED) for name, raw in headers):
        return {}  # In the binding the content type decides.
    try:
        return {name[3:]: raw.decode() for name, raw in headers if name in names and raw is not None}
    except UnicodeDecodeError:
        raise UndecodableError("undecodable", "a header of the event is not UTF-8") from None


def _spelled(headers: ReceivedHeaders) -> list[tuple[str, bytes | None]]:
    """Return headers with the spelling of the binding. Some clients write `CE_ID`, `ce-id` or `Content-Type`."""
    spelled: list[tuple[str, bytes | None]] = []
    for name, raw in headers:
        lower = name.lower()
        if lower == _NAME:
            spelled.append((lower, raw if raw is None else raw.strip().lower()))
        elif lower.startswith("ce-"):
            spelled.append((_PREFIX + lower[3:], raw))
        else:
            spelled.append((lower, raw))
    return spelled


def _with_data(document: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return an event with its data as JSON: decoded from `data_base64`, or from JSON text in `data`.

    SDKs write `data_base64` for bytes, and a string for text. If both are present, `data` is used.

    Raises:
        UndecodableError: with code `invalid_event` if `data_base64` is not JSON.
    """
    if type(document) is not dict or type(data := document.get("data")) is dict:
        return document
    if data is None and isinstance(encoded := document.get("data_base64"), str):
        try:
            data = _json(b64decode(encoded, validate=True))
        except ValueError:
            raise _wrong("invalid_event", [FieldError("data_base64", "must be JSON in base64")]) from None
    if isinstance(data, str):
        try:
            data = _json(data.encode())
        except ValueError:
            return document
    return document if data is None else document | {"data": data}


def validate(document: Any, events: TypeAdapter[T], model: object = None) -> T:  # noqa: ANN401 - any JSON
    """Return a document as an event.

    Args:
        document: the event as JSON.
        events: the accepted events.
        model: the only accepted model, if there is one; the reason of an unknown field names its fields.

    Raises:
        UndecodableError: with code `unknown_type` or `invalid_event`, and the wrong fields.
    """
    try:
        return events.validate_python(_with_data(document))
    except ValidationError as error:
        kinds = {finding["type"] for finding in error.errors(include_url=False, include_input=False)}
        code = "unknown_type" if "union_tag_invalid" in kinds else "invalid_event"
        raise _wrong(code, field_errors(error, model)) from None


def _wrong(code: str, errors: Sequence[FieldError]) -> UndecodableError:
    return UndecodableError(code, "; ".join(f"{finding.field}: {finding.reason}" for finding in errors), errors)


def encode(*, type_: str, id_: str, source: str, subject: str | None, time: str | None, data: dict[str, Any]) -> bytes:
    """Return the structured form of an event, for `STRUCTURED_HEADERS`, without absent attributes."""
    event: dict[str, Any] = {"specversion": "1.0", "id": id_, "source": source, "type": type_}
    if subject is not None:
        event["subject"] = subject
    if time is not None:
        event["time"] = time
    return to_json(event | {"datacontenttype": "application/json", "data": data})
