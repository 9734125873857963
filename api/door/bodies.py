"""Request bodies: read with a limit, parsed strictly, validated at the door."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from api.describe.problems import ProblemError, invalid_fields
from api.publish.cloudevents import read_breaker_events
from schemas.cloudevents import MAX_BYTES
from schemas.events import BreakerEvent, SleepingState
from schemas.state import StateName
from schemas.values import Identifier, Number, Text, absent_if_null, milliseconds

MAX_BODY_BYTES: Final = MAX_BYTES
BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""
_LENGTH_DIGITS: Final = 20
# What is left of the body is not read, so the connection can carry nothing else.
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


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

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
    """Refuse a number that fits no double: it would reach the log as null."""
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
"""A policy as it was sent. What is in it is judged in the log, where the version is judged before it."""


async def read_limited(request: Request, seconds: float = BODY_SECONDS) -> bytes:
    """Return the body, reading no more than `MAX_BODY_BYTES` and for no longer than `seconds`.

    Raises:
        ProblemError: `body_too_large`, `request_timeout`, `unsupported_media_type` for a compressed body.
    """
    if any(coding.strip().lower() != "identity" for coding in request.headers.getlist("content-encoding")):
        raise ProblemError("unsupported_media_type", "send the body without Content-Encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:_LENGTH_DIGITS]) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except ClientDisconnect:
        raise ProblemError("malformed_request", "the body ended before its end") from None
    except TimeoutError:
        raise ProblemError("request_timeout", f"no whole body within {seconds:g} s", headers=_CLOSE) from None
    return bytes(body)


def _too_large() -> ProblemError:
    return ProblemError("body_too_large", f"the body has more than {MAX_BODY_BYTES} bytes", headers=_CLOSE)


async def breaker_events(request: Request) -> list[BreakerEvent]:
    """Read the breaker events of a request, in any of the forms of CloudEvents.

    Raises:
        ProblemError: as `read_limited` and `read_breaker_events`.
    """
    return read_breaker_events(_media_type(request), request.headers.items(), await read_limited(request))


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_json(request: Request) -> None:
    if not _JSON.fullmatch(_media_type(request)):
        raise ProblemError("unsupported_media_type", "send the body with Content-Type: application/json")


def body_of(expected: type[T] | Any) -> Callable[[Request], Awaitable[T]]:  # noqa: ANN401 - annotated types too
    """Return a dependency that reads a body of this type.

    JSON is parsed as the worker parses it, so nothing passes here that the log could not hold.
    """
    adapter: TypeAdapter[T] = TypeAdapter(expected)

    async def read(request: Request) -> T:
        _require_json(request)
        body = await read_limited(request)
        try:
            document = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise ProblemError("malformed_request", f"the body is not JSON: {error}") from None
        try:
            return adapter.validate_python(document)
        except ValidationError as error:
            raise invalid_fields(error) from None

    return read
