"""Models of the documents for readers: the records on the topics, and the bodies of HTTP responses.

The fold and the API build these documents as plain dicts, for speed. Tests validate each dict with its model here. The
JSON Schemas and the OpenAPI document are generated from the models. Times are integer milliseconds since the epoch.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.domain.claim import CauseKind, Source
from schemas.domain.document import Document
from schemas.domain.explanation import CeilingOwner, DecidedBy
from schemas.domain.policy import PolicyDocument, RulesDocument
from schemas.domain.schedule import Parameters
from schemas.domain.state import BreakerState, StateName
from schemas.domain.values import (
    HEX_PATTERN,
    INTEGER_PATTERN,
    NATURAL_PATTERN,
    OFFSETS_PATTERN,
    POSITION_PATTERN,
    TRANSITION_PATTERN,
    Identifier,
    Integer,
    Number,
    TenantId,
    Text,
)
from schemas.wire.operation import CommandType, RefusalCode, Status
from schemas.wire.transition import RowKind

Milliseconds = Annotated[Integer, Field(description="milliseconds since the epoch")]
Count = Annotated[Integer, Field(ge=0)]
Position = Annotated[
    str,
    Field(strict=True, pattern=POSITION_PATTERN, description="partition and offset in the events topic"),
]
_Digest = Annotated[str, Field(strict=True, pattern=HEX_PATTERN)]


class CauseDocument(Document):
    """The reason for a changed decision."""

    kind: Annotated[CauseKind, Field(description="what happened; docs/reference/states.md explains each kind")]
    key: Annotated[
        str | None,
        Field(
            description="for a claim its key: `name@instance` of the breaker, id of the operation, `mode` or `pin`; "
            "for a policy `policy`; null for `rules` and `hold_ended`"
        ),
    ]


class ClaimDocument(Document):
    """One reason for which a tenant sleeps."""

    source: Source
    key: Annotated[str, Field(description="`name@instance` of a breaker, id of an operation, `mode` or `pin`")]
    state: Annotated[StateName, Field(description="the depth that the claim means at present")]
    breaker_state: BreakerState | None
    occurred_at: Milliseconds | None
    since: Annotated[Milliseconds, Field(description="when the claim's state last changed")]
    expires_at: Annotated[Milliseconds | None, Field(description="when it ends by itself; null if it does not")]
    actor: Text | None
    reason: Text | None


class RampParameters(Parameters):
    """A parameter set on a ramp, where `K` may have a fraction."""

    K: Annotated[Number, Field(ge=1, le=1e6)]  # type: ignore[assignment] # a ramp widens the integer of a schedule


class RampDocument(Document):
    """A straight line in time.

    The parameters are `from + (to - from) * clamp((now - starts_at) / (ends_at - starts_at), 0, 1)`.
    """

    from_: Annotated[RampParameters, Field(alias="from")]
    to: RampParameters
    starts_at: Milliseconds
    ends_at: Annotated[Milliseconds, Field(description="from here on the parameters are exactly `to`")]


class ForecastEntry(Document):
    """A change of `state` that will happen if nothing else happens first."""

    at: Milliseconds
    state: StateName


class ForecastRamp(ForecastEntry):
    """A change of `state` that will happen if nothing else happens first, with the ramp that it starts."""

    parameters: RampDocument


class StateRecord(Document):
    """A tenant's record on the states topic; a reader needs nothing else to know the present."""

    tenant: TenantId
    state: Annotated[StateName, Field(description="how deep the tenant sleeps")]
    decided: Annotated[StateName, Field(description="the decision; `state` differs from it in a dry run")]
    since: Annotated[Milliseconds, Field(description="when `decided` last changed")]
    cause: Annotated[CauseDocument | None, Field(description="why; null for a record that never changed")]
    claims: Annotated[tuple[ClaimDocument, ...], Field(description="sorted by source and key")]
    parameters: RampDocument
    forecast: Annotated[
        tuple[ForecastRamp, ...], Field(description="the present is the last entry whose `at` has passed")
    ]
    policy: Annotated[PolicyDocument | None, Field(description="the tenant's own policy; null: that of the rules")]
    policy_version: Count
    next_deadline: Annotated[Milliseconds | None, Field(description="the next deadline of a claim or a hold")]
    held_until: Annotated[Milliseconds | None, Field(description="until when a minimum sleep holds `decided`")]
    at: Annotated[Milliseconds, Field(description="time of the last event that changed what is shown")]
    clock: Annotated[Milliseconds, Field(description="latest time seen in the tenant's log")]
    position: Position
    version: Annotated[Count, Field(description="number of events that changed what is shown")]
    rules_number: Annotated[Count, Field(description="number of the rules of the last fold; 0: built in")]


class TransitionRecord(Document):
    """A row of the audit, on the transitions topic: a transition, an outcome or a refusal; `kind` says which."""

    id: Annotated[str, Field(pattern=TRANSITION_PATTERN, description="position, and index within the event")]
    kind: Annotated[
        RowKind,
        Field(
            description="`transition`: `decided` or `enforced` changed; `outcome`: a command was applied; `refusal`: a "
            "command or an event was refused, `code` says why"
        ),
    ]
    tenant: TenantId
    from_: Annotated[StateName, Field(alias="from", description="`decided` before")]
    to: Annotated[StateName, Field(description="`decided` after")]
    cause: CauseDocument | None
    event_id: Annotated[Text, Field(description="id of the CloudEvent")]
    event_type: str
    operation_id: Identifier | None
    actor: Text | None
    reason: Annotated[Text | None, Field(description="why, in the sender's words; not why it was refused")]
    code: Annotated[RefusalCode | None, Field(description="why the event was refused")]
    decision: Annotated[
        _Digest | None, Field(description="digest of the fields that are compared when an id is repeated")
    ]
    decision_id: Annotated[Identifier | None, Field(description="id of the authorisation's decision")]
    enforced: Annotated[bool, Field(strict=True, description="the policy's `enforce` after the event")]
    at: Milliseconds
    position: Position
    rules: Annotated[_Digest, Field(description="digest of the rules in force")]


class RulesRecord(Document):
    """A numbered version of the rules on the states topic, under the key `*rules:<number>`."""

    number: Count
    rules: RulesDocument
    position: Position
    at: Milliseconds


class DeadLetterHeaders(Document):
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
        Field(alias="sleep.error.cut", description="present if some of the record's own headers are missing"),
    ] = None
    first_offset: Annotated[
        str | None,
        Field(
            alias="sleep.error.first_offset",
            pattern=NATURAL_PATTERN,
            description="of a batch that cannot be read: the offset of its first record",
        ),
    ] = None
    last_offset: Annotated[
        str | None,
        Field(
            alias="sleep.error.last_offset",
            pattern=NATURAL_PATTERN,
            description="of a batch that cannot be read: the offset of its last record",
        ),
    ] = None
    count: Annotated[
        str | None,
        Field(
            alias="sleep.error.count",
            pattern=NATURAL_PATTERN,
            description="of a flood on an ingress topic: the number of its records; the dead letter has the first one",
        ),
    ] = None
    offsets: Annotated[
        str | None,
        Field(
            alias="sleep.error.offsets",
            pattern=OFFSETS_PATTERN,
            description="of a flood: the offsets of all its records, in order, as 3-7,9,12-40",
        ),
    ] = None
    earliest_at: Annotated[
        str | None,
        Field(
            alias="sleep.error.earliest_at",
            pattern=INTEGER_PATTERN,
            description="of a flood: the earliest timestamp of its records, ms",
        ),
    ] = None
    latest_at: Annotated[
        str | None,
        Field(
            alias="sleep.error.latest_at",
            pattern=INTEGER_PATTERN,
            description="of a flood: the latest timestamp of its records, ms",
        ),
    ] = None


_UNTIL_ITS_END: Final = "null after the end of the command, except in its first answer"


class OperationDocument(Document):
    """The outcome of a command: of an operation, or of a mode, cancel or policy command."""

    operation_id: Identifier
    tenant_id: TenantId
    type: CommandType
    status: Status
    target_state: StateName | None
    created_at: Milliseconds
    expires_at: Milliseconds | None
    finished_at: Annotated[Milliseconds | None, Field(description="null while it runs")]
    code: Annotated[RefusalCode | Literal["outcome_unknown"] | None, Field(description="why it was refused")]
    state: Annotated[StateName | None, Field(description="the tenant's `state` after the command")]
    previous_state: Annotated[StateName | None, Field(description="the tenant's `state` before the command")]
    position: Position | None
    actor: Annotated[Text | None, Field(description=_UNTIL_ITS_END)]
    reason: Annotated[Text | None, Field(description=_UNTIL_ITS_END)]
    trace_id: Annotated[Identifier | None, Field(description=_UNTIL_ITS_END)]


class OperationList(Document):
    """The live operations of a tenant."""

    operations: tuple[OperationDocument, ...]


class QuorumDocument(Document):
    """How many instances of a breaker ask for a depth, and how many must agree on it."""

    breaker: Annotated[str, Field(description="name of the breaker")]
    state: Annotated[StateName, Field(description="the depth that they ask for, at least")]
    need: Annotated[Count, Field(description="the quorum of the breaker's rule")]
    have: Annotated[Count, Field(description="instances that ask for it now")]


class DecidingClaim(Document):
    """The claim that asks for the deepest state; of several, the first by source and key."""

    source: Source
    key: str
    quorum: Annotated[QuorumDocument | None, Field(description="null if the claim counts alone")]


class CeilingDocument(Document):
    """A ceiling that lowers a decision."""

    state: StateName
    of: Annotated[CeilingOwner, Field(description="the tenant's own policy, the rules, or both")]


class DecidedByDocument(Document):
    """Why `decided` is what it is."""

    kind: Annotated[DecidedBy, Field(description="the last step that made a difference")]
    without: Annotated[
        StateName | None,
        Field(description="the decision without that step, and without a hold; null if nothing decides"),
    ]
    asked: Annotated[StateName, Field(description="what the claims ask for, without the pin")]
    claim: Annotated[
        DecidingClaim | None, Field(description="the pin if it decides, else the claim that asks for `asked`")
    ]
    floor: Annotated[StateName | None, Field(description="the policy's floor, if it raises the decision")]
    ceiling: Annotated[CeilingDocument | None, Field(description="the ceiling, if it lowers the decision")]
    held_until: Annotated[Milliseconds | None, Field(description="until when a minimum sleep holds `decided`")]
    unmet_quorums: Annotated[
        tuple[QuorumDocument, ...], Field(description="quorums that would deepen `asked` if they were met")
    ]
    unmatched_breakers: Annotated[
        tuple[str, ...], Field(description="breakers that no rule matches, so that the built-in rule applies")
    ]


_Notes = Annotated[tuple[str, ...], Field(description="notes on the policy's rules, for people")]


class SleepModeDocument(Document):
    """A tenant as it is now."""

    tenant_id: TenantId
    seen: Annotated[
        bool, Field(strict=True, description="false: no event of the tenant was applied, or its record has retired")
    ]
    state: StateName
    decided: StateName
    enforced: Annotated[bool, Field(strict=True, description="false: a dry run, `state` stays active")]
    decided_by: DecidedByDocument
    since: Milliseconds
    cause: CauseDocument | None
    claims: tuple[ClaimDocument, ...]
    parameters: Annotated[Parameters, Field(description="the values now, `K` rounded half up")]
    target_parameters: Annotated[Parameters, Field(description="the values when the ramp has ended")]
    forecast: tuple[ForecastEntry, ...]
    policy_version: Count
    notes: _Notes
    now: Milliseconds
    position: Annotated[Position | None, Field(description="null for a tenant without a record")]


class PolicyAnswer(Document):
    """The policy that applies to a tenant."""

    policy: Annotated[
        PolicyDocument,
        Field(description="the tenant's own, with the built-in values for absent fields; else that of the rules"),
    ]
    policy_version: Annotated[Count, Field(description="grows with each change; the ETag")]
    default: Annotated[bool, Field(strict=True, description="whether `policy` is that of the rules")]
    notes: _Notes


class PreviewDocument(Document):
    """A tenant as it is now, and as it would be under the policy that was sent."""

    before: SleepModeDocument
    after: SleepModeDocument


class AcceptedEvents(Document):
    """How many events are in the log now."""

    accepted: Count
