"""What readers see, as models: the records on the topics, and the bodies of the HTTP answers.

The fold and the API build these documents as plain dicts, for speed; tests hold each of those dicts against
its model here. The models themselves make the JSON Schemas and the OpenAPI description. Times are integer
milliseconds since the epoch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.claim import CauseKind, Source
from schemas.operation import CommandType, RefusalCode, Status
from schemas.policy import PolicyDocument, RulesDocument
from schemas.schedule import Parameters
from schemas.state import BreakerState, StateName
from schemas.values import (
    HEX_PATTERN,
    INTEGER_PATTERN,
    NATURAL_PATTERN,
    POSITION_PATTERN,
    TRANSITION_PATTERN,
    Identifier,
    Integer,
    Number,
    TenantId,
    Text,
)

_Ms = Annotated[Integer, Field(description="milliseconds since the epoch")]
_Count = Annotated[Integer, Field(ge=0)]
_Position = Annotated[
    str,
    Field(strict=True, pattern=POSITION_PATTERN, description="partition and offset in the events topic"),
]
_Digest = Annotated[str, Field(strict=True, pattern=HEX_PATTERN)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CauseDocument(_Document):
    """What made a decision change."""

    kind: CauseKind
    key: Annotated[str | None, Field(description="key of the claim concerned, where there is one")]


class ClaimDocument(_Document):
    """One reason for which a tenant sleeps."""

    source: Source
    key: Annotated[str, Field(description="`name@instance` of a breaker, id of an operation, `mode` or `pin`")]
    state: Annotated[StateName, Field(description="the depth that the claim means at present")]
    breaker_state: BreakerState | None
    occurred_at: _Ms | None
    since: Annotated[_Ms, Field(description="when the claim's state last changed")]
    expires_at: Annotated[_Ms | None, Field(description="when it ends by itself; null where it does not")]
    actor: Text | None
    reason: Text | None


class RampParameters(Parameters):
    """A parameter set on a ramp, where `K` may have a fraction."""

    K: Annotated[Number, Field(ge=1, le=1e6)]  # type: ignore[assignment] # a ramp widens the integer of a schedule


class RampDocument(_Document):
    """A straight line in time.

    The parameters are `from + (to - from) * clamp((now - starts_at) / (ends_at - starts_at), 0, 1)`.
    """

    from_: Annotated[RampParameters, Field(alias="from")]
    to: RampParameters
    starts_at: _Ms
    ends_at: Annotated[_Ms, Field(description="from here on the parameters are exactly `to`")]


class ForecastEntry(_Document):
    """A change of `state` that will happen if nothing else arrives."""

    at: _Ms
    state: StateName


class ForecastRamp(ForecastEntry):
    """A change of `state` that will happen if nothing else arrives, with the ramp that it starts."""

    parameters: RampDocument


class StateRecord(_Document):
    """A tenant's record on the states topic; a reader needs nothing else to know the present."""

    tenant: TenantId
    state: Annotated[StateName, Field(description="how deep the tenant sleeps")]
    decided: Annotated[StateName, Field(description="what was decided; `state` differs from it in a dry run")]
    since: Annotated[_Ms, Field(description="when `decided` last changed")]
    cause: Annotated[CauseDocument | None, Field(description="why; null for a record that never changed")]
    claims: Annotated[tuple[ClaimDocument, ...], Field(description="sorted by source and key")]
    parameters: RampDocument
    forecast: Annotated[
        tuple[ForecastRamp, ...], Field(description="the present is the last entry whose `at` has passed")
    ]
    policy: Annotated[PolicyDocument | None, Field(description="the tenant's own policy; null: that of the rules")]
    policy_version: _Count
    next_deadline: Annotated[_Ms | None, Field(description="when something next falls due by itself")]
    held_until: Annotated[_Ms | None, Field(description="until when a minimum sleep holds `decided`")]
    at: Annotated[_Ms, Field(description="time of the last event that changed what is shown")]
    clock: Annotated[_Ms, Field(description="latest time seen in the tenant's log")]
    position: _Position
    version: Annotated[_Count, Field(description="number of events that changed what is shown")]
    rules_number: Annotated[_Count, Field(description="number of the rules last folded under; 0: built in")]


class TransitionRecord(_Document):
    """An audit row on the transitions topic."""

    id: Annotated[str, Field(pattern=TRANSITION_PATTERN, description="position, and index within the event")]
    kind: Literal["transition", "outcome", "refusal"]
    tenant: TenantId
    from_: Annotated[StateName, Field(alias="from", description="`decided` before")]
    to: Annotated[StateName, Field(description="`decided` after")]
    cause: CauseDocument | None
    event_id: Annotated[Text, Field(description="id of the CloudEvent")]
    event_type: str
    operation_id: Identifier | None
    actor: Text | None
    reason: Text | None
    code: Annotated[RefusalCode | None, Field(description="why the event was refused")]
    decision: Annotated[_Digest | None, Field(description="digest of what is compared when an id comes again")]
    decision_id: Annotated[Identifier | None, Field(description="id of the authorisation's decision")]
    enforced: Annotated[bool, Field(strict=True, description="the policy's `enforce` after the event")]
    at: _Ms
    position: _Position
    rules: Annotated[_Digest, Field(description="digest of the rules in force")]


class RulesRecord(_Document):
    """A numbered version of the rules on the states topic, under the key `*rules:<number>`."""

    number: _Count
    rules: RulesDocument
    position: _Position
    at: _Ms


class DeadLetterHeaders(_Document):
    """The headers of a dead letter, as UTF-8 text; key and value are those of the record, cut at 64 KiB."""

    code: Annotated[str, Field(alias="sleep.error.code", min_length=1)]
    message: Annotated[str, Field(alias="sleep.error.message")]
    topic: Annotated[str, Field(alias="sleep.error.topic", min_length=1)]
    partition: Annotated[str, Field(alias="sleep.error.partition", pattern=NATURAL_PATTERN)]
    offset: Annotated[str, Field(alias="sleep.error.offset", pattern=NATURAL_PATTERN)]
    at: Annotated[str, Field(alias="sleep.error.at", pattern=INTEGER_PATTERN, description="the record's timestamp, ms")]
    size: Annotated[
        str, Field(alias="sleep.error.size", pattern=NATURAL_PATTERN, description="bytes of the whole value")
    ]
    cut: Annotated[
        Literal["headers"] | None,
        Field(alias="sleep.error.cut", description="there where some of the record's own headers are missing"),
    ] = None


class OperationDocument(_Document):
    """What became of a command: of an operation, or of a mode, cancel or policy command."""

    operation_id: Identifier
    tenant_id: TenantId
    type: CommandType
    status: Status
    target_state: StateName | None
    created_at: _Ms | None
    expires_at: _Ms | None
    finished_at: Annotated[_Ms | None, Field(description="null while it runs")]
    code: Annotated[RefusalCode | Literal["outcome_unknown"] | None, Field(description="why it was refused")]
    state: Annotated[StateName | None, Field(description="the tenant's `state` after the command")]
    previous_state: Annotated[StateName | None, Field(description="the tenant's `state` before the command")]
    position: _Position | None
    actor: Text
    reason: Text | None
    trace_id: Identifier | None


class OperationList(_Document):
    """The live operations of a tenant."""

    operations: tuple[OperationDocument, ...]


class SleepModeDocument(_Document):
    """A tenant as it is now."""

    tenant_id: TenantId
    state: StateName
    decided: StateName
    enforced: Annotated[bool, Field(strict=True, description="false: a dry run, `state` stays active")]
    since: _Ms
    cause: CauseDocument | None
    claims: tuple[ClaimDocument, ...]
    parameters: Annotated[Parameters, Field(description="the values now, `K` rounded half up")]
    target_parameters: Annotated[Parameters, Field(description="the values when the ramp has ended")]
    forecast: tuple[ForecastEntry, ...]
    policy_version: _Count
    now: _Ms
    position: Annotated[_Position | None, Field(description="null for a tenant never seen")]


class PolicyAnswer(_Document):
    """The policy that holds for a tenant."""

    policy: Annotated[PolicyDocument, Field(description="the tenant's own, filled; else that of the rules")]
    policy_version: Annotated[_Count, Field(description="grows with each change; the ETag")]
    default: Annotated[bool, Field(strict=True, description="whether `policy` is that of the rules")]
