"""The usual form of a breaker event, read by one compiled decoder: what our clients, the API and ingress write.

It reads some of what `schemas.wire.cloudevents` reads, as the same event, in a fifth of the time. Whatever has another
form is left to that parser, which alone refuses. `tests/unit/schemas/test_usual_breaker.py` compares the two.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from schemas.domain.state import BreakerState
from schemas.domain.values import MAX_NAME, MAX_TEXT, TENANT_PATTERN, Time
from schemas.wire.cloudevents import MAX_BYTES, ReceivedHeaders
from schemas.wire.events import Breaker, BreakerEvent, RulesEvent, TenantEvent

_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Double = Annotated[int, Meta(ge=-(2**53), le=2**53)]


class UsualBreaker(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The data of a breaker event: the fields of `schemas.wire.events.Breaker`."""

    breaker: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    state: BreakerState
    instance: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    occurred_at: _Double | None = None
    cause: _Text | None = None
    library: _Text | None = None


class UsualBreakerEvent(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A breaker event: the fields of `schemas.wire.events.BreakerEvent`, and two that the fold does not read."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    source: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    type: Literal["sleep.breaker.v1"]
    subject: Annotated[str, Meta(pattern=TENANT_PATTERN)]
    data: UsualBreaker
    time: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None


AnyBreaker = Breaker | UsualBreaker
AnyBreakerEvent = BreakerEvent | UsualBreakerEvent
AnyTenantEvent = TenantEvent | UsualBreakerEvent
AnyEvent = AnyTenantEvent | RulesEvent
"""What the fold takes: the events of the parser, and breaker events in this form too."""
_DECODE: Final = msgspec.json.Decoder(UsualBreakerEvent).decode
_TIME: Final[TypeAdapter[str]] = TypeAdapter(Time)


def read_usual_breaker(key: bytes | None, value: bytes | None, headers: ReceivedHeaders) -> UsualBreakerEvent | None:
    """Return the breaker event in a Kafka record; None if the record has not the usual form, valid or not.

    The usual form is structured JSON in ASCII without escapes, with known fields only, under the key of its tenant.
    """
    if value is None or len(value) > MAX_BYTES or not value.isascii() or b"\\" in value or b"\x7f" in value:
        return None  # So no text can hold a control character, which the JSON decoder refuses if it is not escaped.
    for name, _ in headers:
        if name.startswith("ce_"):
            return None
    try:
        event = _DECODE(value)
        if event.time is not None:
            event = replace(event, time=_TIME.validate_python(event.time))
    except (msgspec.DecodeError, ValidationError):
        return None
    return event if key == event.subject.encode() and "@" not in event.data.breaker else None


def occurred(data: AnyBreaker, at: int) -> AnyBreaker:
    """Return the data with `occurred_at`, in milliseconds."""
    if isinstance(data, UsualBreaker):
        return replace(data, occurred_at=at)
    return data.model_copy(update={"occurred_at": at})


def modelled(event: AnyTenantEvent) -> TenantEvent:
    """Return the event as the parser gives it."""
    if isinstance(event, UsualBreakerEvent):
        return BreakerEvent.model_validate(msgspec.to_builtins(event))
    return event
