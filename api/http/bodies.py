"""Reads request bodies: bounded in time, bytes and members, and parsed once.

Every body is read through the caller's identity. So no byte is read before the token, the requests in flight and the
budget of refused requests were checked.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from api.commands.cloudevents import BATCH, read_breaker_events
from api.commands.event_time import too_early
from api.errors.problems import ProblemError, invalid_fields, invalid_request
from api.http.dependencies import IdentityDep
from api.http.json_bounds import require_bounded
from schemas.domain.document import Document
from schemas.domain.state import StateName
from schemas.domain.values import Identifier, Number, Text, absent_if_null, milliseconds
from schemas.http.counted import WHOLE_BODY
from schemas.wire.cloudevents import MAX_BYTES
from schemas.wire.events import BreakerEvent, SleepingState

MAX_BODY_BYTES: Final = MAX_BYTES
BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""
_MOST_ERRORS: Final = 20
"""So many events of a wrong time are named; nobody reads more."""
_LENGTH_DIGITS: Final = 20
# The rest of the body is not read, so the connection cannot carry another request.
_CLOSE: Final = {"Connection": "close"}

T = TypeVar("T")
_JSON: Final = re.compile(r"application/([a-z0-9.!#$&^_-]+\+)?json")


def _whole_milliseconds(ttl_seconds: float) -> float:
    try:
        milliseconds(ttl_seconds)
    except OverflowError:
        msg = "the number is too large"
        raise ValueError(msg) from None
    return ttl_seconds


Ttl = Annotated[Number, AfterValidator(_whole_milliseconds), Field(json_schema_extra={"multipleOf": 0.001})]
Flag = Annotated[
    bool,
    Field(strict=True),
    absent_if_null(default=False),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
]


class _Body(Document):
    async_mode: Annotated[Flag, Field(description="Answer 202 at once.")] = False
    reason: Annotated[Text | None, Field(description="For people and the audit.")] = None
    trace_id: Annotated[Identifier | None, Field(description="Returned with the operation.")] = None


class SleepBody(_Body):
    """Sleep at least this deep for a while."""

    target_state: SleepingState
    ttl_seconds: Annotated[Ttl, Field(description="How long; at most 3 decimals.")]


class ModeBody(_Body):
    """Set or remove the tenant's mode, or with `override` its pin."""

    target_state: StateName
    ttl_seconds: Annotated[Ttl | None, Field(description="How long; needed for a pin.")] = None
    override: Annotated[Flag, Field(description="Pin the tenant: this alone decides while it lives.")] = False


def _only_finite(document: dict[str, Any]) -> dict[str, Any]:
    """Refuse a number that is too large for a double: it would reach the log as null."""
    pending: list[Any] = [document]
    while pending:
        match pending.pop():
            case dict() as members:
                pending.extend(members.values())
            case list() as items:
                pending.extend(items)
            case float() as number if not math.isfinite(number):
                msg = "a number fits no double"
                raise ValueError(msg)
            case _:
                pass
    return document


PolicyBody = Annotated[dict[str, Any], AfterValidator(_only_finite)]
"""A policy as it was sent."""
_POLICY: Final[TypeAdapter[dict[str, Any]]] = TypeAdapter(PolicyBody)


async def read_limited(request: Request, seconds: float = BODY_SECONDS) -> bytes:
    """Return the body. Read at most `MAX_BODY_BYTES`, and for at most `seconds`.

    Raises:
        ProblemError: `body_too_large`, `request_timeout`, `unsupported_media_type` for a compressed body.
    """
    if any(coding.strip().lower() != "identity" for coding in request.headers.getlist("content-encoding")):
        raise ProblemError("unsupported_media_type", "send the body without Content-Encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:_LENGTH_DIGITS]) > MAX_BODY_BYTES:
        raise _too_large()
    whole_body: Callable[[], bytes | None] | None = request.scope.get(WHOLE_BODY)
    if whole_body is not None and (whole := whole_body()) is not None:
        if len(whole) > MAX_BODY_BYTES:
            raise _too_large()
        return whole
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except ClientDisconnect:
        raise ProblemError("malformed_request", "the request body is incomplete") from None
    except TimeoutError:
        raise ProblemError("request_timeout", f"the body is incomplete after {seconds:g} s", headers=_CLOSE) from None
    return bytes(body)


def _too_large() -> ProblemError:
    return ProblemError("body_too_large", f"the body has more than {MAX_BODY_BYTES} bytes", headers=_CLOSE)


async def breaker_events(request: Request, identity: IdentityDep) -> list[BreakerEvent]:
    """Read the breaker events of a request, in any of the forms of CloudEvents.

    Raises:
        ProblemError: as `read_limited` and `read_breaker_events`; `too_many_in_flight`; `invalid_request` for an event
            that occurred before 1970.
    """
    body = await read_limited(request)
    identity.slot.arrived()
    media_type = media_type_of(request)
    events = read_breaker_events(media_type, request.headers.items(), body)
    errors = [
        error._replace(field=f"[{index}].{error.field}") if media_type == BATCH else error
        for index, error in islice(too_early(events), _MOST_ERRORS)
    ]
    if errors:
        raise invalid_request(errors)
    return events


def media_type_of(request: Request) -> str:
    """Return the media type of the body, without parameters, in lower case; empty if the request names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def document_of(request: Request, identity: IdentityDep) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of an authenticated caller's body, not yet validated.

    The parser is that of the worker, so every accepted document can be written to the log.

    Raises:
        ProblemError: as `read_limited` and `require_bounded`; `unsupported_media_type` or `malformed_request` for a
            body that is not JSON; `too_many_in_flight`.
    """
    if not _JSON.fullmatch(media_type_of(request)):
        raise ProblemError("unsupported_media_type", "send the body with Content-Type: application/json")
    body = await read_limited(request)
    identity.slot.arrived()
    require_bounded(body)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError("malformed_request", f"the body is not JSON: {error}") from None


DocumentDep = Annotated[Any, Depends(document_of)]


def body_of(expected: type[T] | Any) -> Callable[[Any], Awaitable[T]]:  # noqa: ANN401 - annotated types too
    """Return a dependency that reads a body of this type, and otherwise names the wrong fields."""
    adapter: TypeAdapter[T] = TypeAdapter(expected)

    async def read(document: DocumentDep) -> T:
        return _validated(document, adapter, expected)

    return read


def policy_of(document: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a document as a policy that is not yet validated.

    Raises:
        ProblemError: `invalid_request` if it is not an object, or the log could not hold it.
    """
    return _validated(document, _POLICY, PolicyBody)


def _validated(document: Any, adapter: TypeAdapter[T], expected: Any) -> T:  # noqa: ANN401 - as above
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise invalid_fields(error, expected) from None
