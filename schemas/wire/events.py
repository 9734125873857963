"""The events on `sleep.events`: one model a type, discriminated by the CloudEvent's `type`."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from schemas.domain.state import BREAKER_STATE_PATTERN, BreakerState, StateName, breaker_state
from schemas.domain.values import BreakerName, Identifier, InstanceName, Integer, TenantId, Text, Time, absent_if_null

BREAKER: Final = "sleep.breaker.v1"
OPERATION: Final = "sleep.operation.v1"
CANCEL: Final = "sleep.cancel.v1"
MODE: Final = "sleep.mode.v1"
POLICY: Final = "sleep.policy.v1"
RULES: Final = "sleep.rules.v1"
TIMER: Final = "sleep.timer.v1"

SleepingState = Literal["light", "deep", "freeze"]
_AnySpelling = Annotated[
    BreakerState,
    BeforeValidator(breaker_state),
    WithJsonSchema(
        {"type": "string", "pattern": BREAKER_STATE_PATTERN, "examples": list(get_args(BreakerState))},
        mode="validation",
    ),
]
"""Emitters spell it in many ways; what is decoded, and goes on, has one."""
_Flag = Annotated[bool, Field(strict=True), absent_if_null(default=False)]


class _Data(BaseModel):
    """An event's data; unknown fields are ignored, because newer emitters may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Breaker(_Data):
    """A circuit breaker's state, as one instance sees it."""

    breaker: BreakerName
    instance: InstanceName = ""
    state: _AnySpelling
    occurred_at: Integer | None = None
    cause: Text | None = None
    library: Text | None = None


class Command(_Data):
    """The fields of every command."""

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
    """A timer from the partition's owner; `due_at` is for people."""

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
    """A breaker changed its state, or repeats its present state."""

    type: Literal["sleep.breaker.v1"]
    data: Breaker


class OperationEvent(_TenantEvent):
    """A utility sleep is requested."""

    type: Literal["sleep.operation.v1"]
    data: Operation


class CancelEvent(_TenantEvent):
    """The end of an operation is requested."""

    type: Literal["sleep.cancel.v1"]
    data: Cancel


class ModeEvent(_TenantEvent):
    """A mode or a pin is requested."""

    type: Literal["sleep.mode.v1"]
    data: Mode


class PolicyEvent(_TenantEvent):
    """A policy is requested."""

    type: Literal["sleep.policy.v1"]
    data: PolicyChange


class RulesEvent(CloudEvent):
    """New rules are applied; the record has neither subject nor key."""

    type: Literal["sleep.rules.v1"]
    subject: None = None
    data: RulesChange


class TimerEvent(_TenantEvent):
    """A deadline may have passed."""

    type: Literal["sleep.timer.v1"]
    data: Timer


CommandData = Operation | Cancel | Mode | PolicyChange
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
