"""CloudEvents 1.0 over HTTP: structured, binary and batched (HTTP protocol binding 1.0.2)."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from api.describe.problems import ProblemError, invalid_request
from schemas.cloudevents import encode
from schemas.events import BREAKER, BreakerEvent
from schemas.policy import FieldError, field_errors

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"
_JSON: Final = re.compile(r"application/([a-z0-9.!#$&^_-]+\+)?json")
_ATTRIBUTE: Final = "ce-"
_QUOTED: Final = re.compile(r'"([^"\\]|\\.)*"')
_EVENT: Final = TypeAdapter(BreakerEvent)


def read_breaker_events(media_type: str, headers: Iterable[tuple[str, str]], body: bytes) -> list[BreakerEvent]:
    """Return the breaker events in a request.

    Args:
        media_type: the body's, without parameters, in lower case.
        headers: those of the request, names in lower case; one that is there twice comes twice.
        body: the body.

    Raises:
        ProblemError: `unsupported_media_type`, `malformed_request`, or `invalid_request` that names each wrong field,
            in a batch behind the event's index.
    """
    if _JSON.fullmatch(media_type) is None:
        raise ProblemError("unsupported_media_type", f"send {STRUCTURED}, {BATCH}, or binary mode with {PLAIN}")
    try:
        document: Any = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError("malformed_request", f"the body is not JSON: {error}") from None
    if media_type == BATCH:
        return _batch(document)
    attributes = {} if media_type == STRUCTURED else _attributes(headers)
    event, errors = _validate(attributes | {"data": document} if attributes else document)
    if event is None:
        raise invalid_request(errors)
    return [event]


def _batch(document: object) -> list[BreakerEvent]:
    if not isinstance(document, list):
        raise invalid_request([FieldError("(document)", "a batch is a JSON array of events")])
    events: list[BreakerEvent] = []
    wrong: list[FieldError] = []
    for index, entry in enumerate(document):
        event, errors = _validate(entry)
        if event is not None:
            events.append(event)
            continue
        wrong += (FieldError(f"[{index}].{error.field}", error.reason) for error in errors)
        if len(wrong) >= _MOST_ERRORS:
            break  # Looking at the rest would cost all other callers more than it tells this one.
    if wrong:
        raise invalid_request(wrong[:_MOST_ERRORS])
    return events


_MOST_ERRORS: Final = 20
"""So many wrong fields are named; nobody reads more."""


def _validate(document: object) -> tuple[BreakerEvent | None, Sequence[FieldError]]:
    try:
        return _EVENT.validate_python(document), ()
    except ValidationError as error:
        return None, field_errors(error)


def _attributes(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the attributes of a binary event; none where there are no such headers."""
    found: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith(_ATTRIBUTE):
            continue
        if name in found:
            raise ProblemError("malformed_request", f"the header {name} is there more than once")
        found[name] = _decoded(name, value)
    return {name.removeprefix(_ATTRIBUTE): value for name, value in found.items()}


def _decoded(name: str, value: str) -> str:
    """Return an attribute out of its header: quotes and backslashes taken off, then percent-decoded once."""
    if _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise invalid_request([FieldError(name, "its percent-encoded bytes are not UTF-8")]) from None


def encode_breaker_event(event: BreakerEvent) -> bytes:
    """Return the structured form that goes into the log."""
    data = event.data.model_dump(exclude_none=True)
    return encode(type_=BREAKER, id_=event.id, source=event.source, subject=event.subject, time=event.time, data=data)
