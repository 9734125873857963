"""Request bodies: read with a limit, parsed strictly, validated at the door."""

import math
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from api.problems import ProblemError, invalid_fields
from schemas.cloudevents import MAX_BYTES
from schemas.events import SleepingState
from schemas.state import StateName
from schemas.values import Identifier, Number, Text, absent_if_null, milliseconds

MAX_BODY_BYTES: Final = MAX_BYTES

T = TypeVar("T")
_JSON: Final = re.compile(r"application/([a-z0-9.!#$&^_-]+\+)?json")


def _whole_milliseconds(ttl_seconds: float) -> float:
    try:
        milliseconds(ttl_seconds)
    except OverflowError:
        msg = "the number is too large"
        raise ValueError(msg) from None
    return ttl_seconds


Ttl = Annotated[Number, AfterValidator(_whole_milliseconds)]
Flag = Annotated[bool, Field(strict=True), absent_if_null(default=False)]


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


async def read_limited(request: Request) -> bytes:
    """Return the body, reading no more than `MAX_BODY_BYTES`.

    Raises:
        ProblemError: `body_too_large`.
    """
    too_large = ProblemError(
        "body_too_large", f"the body has more than {MAX_BODY_BYTES} bytes", headers={"Connection": "close"}
    )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise too_large
    except ClientDisconnect:
        raise ProblemError("malformed_request", "the body ended before its end") from None
    return bytes(body)


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _JSON.fullmatch(media_type):
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
