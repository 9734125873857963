"""CloudEvents 1.0 over Kafka: structured and binary mode (Kafka protocol binding 1.0.2)."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from schemas.events import EVENTS, Event, RulesEvent
from schemas.policy import field_errors

MAX_BYTES: Final = 65_536
"""Largest value that is read; a bigger record is a dead letter, a bigger HTTP body is refused."""
CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
STRUCTURED_HEADERS: Final = (("content-type", CONTENT_TYPE.encode()),)
Headers = Sequence[tuple[str, bytes]]


class UndecodableError(Exception):
    """A record that is no event of ours; `code` goes into the dead letter."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode(key: bytes | None, value: bytes | None, headers: Headers) -> Event:
    """Return the event in a Kafka record.

    Raises:
        UndecodableError: with code `oversize`, `undecodable`, `unknown_type`, `invalid_event` or `wrong_key`.
    """
    event = parse(value, headers)
    subject = None if isinstance(event, RulesEvent) else event.subject
    if key != (None if subject is None else subject.encode()):
        shown = None if key is None else key[:128].decode(errors="replace")
        msg = f"the record's key {shown!r} is not the event's subject {subject!r}"
        raise UndecodableError("wrong_key", msg)
    return event


def parse(value: bytes | None, headers: Headers = ()) -> Event:
    """Return the event in a value and its headers, whatever its key.

    Raises:
        UndecodableError: as `decode`, `wrong_key` aside.
    """
    if value is None:
        raise UndecodableError("undecodable", "the record has no value")
    if len(value) > MAX_BYTES:
        raise UndecodableError("oversize", f"the value has {len(value)} bytes, more than {MAX_BYTES}")
    try:
        document: Any = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise UndecodableError("undecodable", f"the value is not JSON: {error}") from None
    if headers and (attributes := _binary_attributes(headers)):
        document = attributes | {"data": document}
    try:
        return EVENTS.validate_python(document)
    except ValidationError as error:
        kinds = {found["type"] for found in error.errors(include_url=False, include_input=False)}
        code = "unknown_type" if "union_tag_invalid" in kinds else "invalid_event"
        findings = "; ".join(f"{found.field}: {found.reason}" for found in field_errors(error))
        raise UndecodableError(code, findings) from None


def _binary_attributes(headers: Headers) -> dict[str, str]:
    """Return the attributes of a binary-mode event, or nothing where the record is structured."""
    if not any(name == "ce_specversion" for name, _ in headers):
        return {}
    if any(name == "content-type" and raw.startswith(b"application/cloudevents") for name, raw in headers):
        return {}  # The binding lets the content type decide.
    try:
        return {name[3:]: raw.decode() for name, raw in headers if name.startswith("ce_") and raw is not None}
    except UnicodeDecodeError:
        raise UndecodableError("undecodable", "a header of the event is not UTF-8") from None


def encode(*, type_: str, id_: str, source: str, subject: str | None, time: str | None, data: dict[str, Any]) -> bytes:
    """Return the structured form of an event, for `STRUCTURED_HEADERS`; absent attributes are left out."""
    event: dict[str, Any] = {"specversion": "1.0", "id": id_, "source": source, "type": type_}
    if subject is not None:
        event["subject"] = subject
    if time is not None:
        event["time"] = time
    return to_json(event | {"datacontenttype": "application/json", "data": data})
