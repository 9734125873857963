"""The events on `sleep.events`: one model a type, discriminated by the CloudEvent's `type`."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.state import BreakerState, StateName
from schemas.values import (
    BreakerName,
    Identifier,
    InstanceName,
    Integer,
    TenantId,
    Text,
    Time,
    absent_if_null,
)

BREAKER: Final = "sleep.breaker.v1"
OPERATION: Final = "sleep.operation.v1"
CANCEL: Final = "sleep.cancel.v1"
MODE: Final = "sleep.mode.v1"
POLICY: Final = "sleep.policy.v1"
RULES: Final = "sleep.rules.v1"
TIMER: Final = "sleep.timer.v1"

SleepingState = Literal["light", "deep", "freeze"]
_Flag = Annotated[bool, Field(strict=True), absent_if_null(default=False)]


class _Data(BaseModel):
    """An event's data; unknown fields are ignored, since tomorrow's emitter may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Breaker(_Data):
    """A circuit breaker's state, as one instance sees it."""

    breaker: BreakerName
    instance: InstanceName = ""
    state: BreakerState
    occurred_at: Integer | None = None
    cause: Text | None = None
    library: Text | None = None


class Command(_Data):
    """What every command carries."""

    operation_id: Identifier
    actor: Text
    reason: Text | None = None
    decision_id: Identifier | None = None
    trace_id: Identifier | None = None
    reply_to: Identifier | None = None
    not_after: Integer | None = None


class Operation(Command):
    """Sleep at least this deep for a while."""

    target: SleepingState
    ttl_ms: Integer | None = None


class Cancel(Command):
    """End a live operation before its time."""

    cancels: Identifier


class Mode(Command):
    """Set or remove the tenant's mode, or with `override` its pin."""

    target: StateName
    ttl_ms: Integer | None = None
    override: _Flag = False


class PolicyChange(Command):
    """Set the tenant's policy, or with null return to the rules'. The fold validates the document."""

    policy: dict[str, Any] | None
    if_version: Integer | None = None


class RulesChange(_Data):
    """New rules for every tenant of the partition. The fold validates the document."""

    rules: dict[str, Any]
    operation_id: Identifier
    actor: Text
    reason: Text | None = None


class Timer(_Data):
    """A nudge from the partition's owner; `due_at` is for people."""

    due_at: Integer


class CloudEvent(BaseModel):
    """The attributes of CloudEvents 1.0 that matter here; extensions are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: Annotated[Text, Field(min_length=1)]
    source: Annotated[Text, Field(min_length=1)]
    time: Time | None = None


class _TenantEvent(CloudEvent):
    subject: TenantId


class BreakerEvent(_TenantEvent):
    """A breaker changed state, or repeats the one it is in."""

    type: Literal["sleep.breaker.v1"]
    data: Breaker


class OperationEvent(_TenantEvent):
    """A utility sleep was asked for."""

    type: Literal["sleep.operation.v1"]
    data: Operation


class CancelEvent(_TenantEvent):
    """The end of an operation was asked for."""

    type: Literal["sleep.cancel.v1"]
    data: Cancel


class ModeEvent(_TenantEvent):
    """A mode, or a pin, was asked for."""

    type: Literal["sleep.mode.v1"]
    data: Mode


class PolicyEvent(_TenantEvent):
    """A policy was sent."""

    type: Literal["sleep.policy.v1"]
    data: PolicyChange


class RulesEvent(CloudEvent):
    """Rules were sent; the record has neither subject nor key."""

    type: Literal["sleep.rules.v1"]
    subject: None = None
    data: RulesChange


class TimerEvent(_TenantEvent):
    """Something may have fallen due."""

    type: Literal["sleep.timer.v1"]
    data: Timer


CommandEvent = OperationEvent | CancelEvent | ModeEvent | PolicyEvent
TenantEvent = BreakerEvent | CommandEvent | TimerEvent
Event = TenantEvent | RulesEvent

EVENTS: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
EVENT_MODELS: Final[dict[str, type[CloudEvent]]] = {
    BREAKER: BreakerEvent,
    OPERATION: OperationEvent,
    CANCEL: CancelEvent,
    MODE: ModeEvent,
    POLICY: PolicyEvent,
    RULES: RulesEvent,
    TIMER: TimerEvent,
}
