"""A tenant's policy, and the rules that hold for every tenant: validation, filling and compiled form."""

from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, from_json, to_json

from schemas.glob import compile_globs
from schemas.schedule import BUILT_IN_SCHEDULE, Schedule, ScheduleDocument, schedule_as_json
from schemas.state import BY_LABEL, BreakerState, SleepState, StateName
from schemas.values import IN_WORDS, MAX_SECONDS, Integer, Pattern, Seconds, milliseconds, seconds

# A policy looks up each name once; beyond this many names the lookups start afresh, so memory is bounded.
_REMEMBERED_NAMES: Final = 4096
# Findings go into headers and answers; a document of 64 KiB can hold thousands of wrong fields.
_FINDINGS_SHOWN: Final = 20
_FIELD_SHOWN: Final = 128
_REASON_SHOWN: Final = 256
MOST_RULES: Final = 32


class FieldError(NamedTuple):
    """A field that is wrong, as a dotted path, and why."""

    field: str
    reason: str


class InvalidDocumentError(Exception):
    """A policy or rules document that breaks its contract; `errors` names each field and the reason."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.reason}" for error in errors))
        self.errors = errors


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return pydantic's findings as field and reason, without the values sent, and not without end."""
    findings = error.errors(include_url=False, include_input=False)
    shown = [
        FieldError(
            ".".join(map(str, found["loc"]))[:_FIELD_SHOWN] or "(document)",
            _reason(found)[:_REASON_SHOWN],
        )
        for found in findings[:_FINDINGS_SHOWN]
    ]
    left = len(findings) - len(shown)
    return [*shown, FieldError("(document)", f"{left} more findings")] if left else shown


def _reason(found: ErrorDetails) -> str:
    """Return a finding's message, with words in place of a regular expression."""
    allowed = IN_WORDS.get(found["ctx"]["pattern"]) if found["type"] == "string_pattern_mismatch" else None
    return found["msg"].removeprefix("Value error, ") if allowed is None else f"must be {allowed}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RampSeconds(_Strict):
    """How long parameters take to reach their target, by the direction of the change."""

    deepen: Seconds = 0
    wake: Seconds = 30


class BreakerRuleDocument(_Strict):
    """What a breaker's states mean for the tenants whose breaker's name matches."""

    match: Pattern
    open: StateName = "freeze"
    half_open: StateName = "light"
    quorum: Annotated[Integer, Field(ge=1, le=256)] = 1
    lease_seconds: Seconds = 900


def _not_too_many(rules: Any) -> Any:  # noqa: ANN401 - whatever was sent
    """Refuse a list that is too long before its rules are looked at: 64 KiB hold 20,000, which take 0.1 s."""
    if isinstance(rules, list | tuple) and len(rules) > MOST_RULES:
        msg = f"at most {MOST_RULES} rules"
        raise ValueError(msg)
    return rules


Breakers = Annotated[tuple[BreakerRuleDocument, ...], Field(max_length=MOST_RULES), BeforeValidator(_not_too_many)]


class PolicyDocument(_Strict):
    """A policy as a person writes it; absent fields take the built-in values."""

    floor: StateName = "active"
    ceiling: StateName = "freeze"
    enforce: Annotated[bool, Field(strict=True)] = True
    min_sleep_seconds: Seconds = 0
    max_ttl_seconds: Annotated[Seconds, Field(gt=0)] = 3600
    ramp_seconds: RampSeconds = RampSeconds()
    breakers: Breakers = (BreakerRuleDocument(match="*"),)
    schedule: ScheduleDocument | None = None

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> Self:
        if BY_LABEL[self.floor] > BY_LABEL[self.ceiling]:
            msg = f"floor {self.floor} is above ceiling {self.ceiling}"
            raise ValueError(msg)
        return self


class RulesDocument(_Strict):
    """What a tenant without a policy gets, the default schedule, and when a record retires."""

    policy: PolicyDocument = PolicyDocument()
    schedule: ScheduleDocument | None = None
    retire_after_seconds: Annotated[Seconds, Field(ge=60, le=MAX_SECONDS)] = 86_400

    @model_validator(mode="after")
    def _floor_is_active(self) -> Self:
        if self.policy.floor != "active":
            msg = "the rules' policy must have the floor active"
            raise ValueError(msg)
        return self


class BreakerRule(NamedTuple):
    """A compiled rule: the depth that each breaker state means, its quorum, and its lease (0 = none)."""

    means: dict[BreakerState, SleepState]
    quorum: int
    lease_ms: int

    @classmethod
    def of(cls, document: BreakerRuleDocument) -> "BreakerRule":
        """Compile a rule; `closed`, `disabled` and `metrics_only` always mean active."""
        tripped, probing, awake = BY_LABEL[document.open], BY_LABEL[document.half_open], SleepState.active
        means: dict[BreakerState, SleepState] = {
            "open": tripped,
            "forced_open": tripped,
            "half_open": probing,
            "closed": awake,
            "disabled": awake,
            "metrics_only": awake,
        }
        return cls(means, document.quorum, milliseconds(document.lease_seconds))


_NO_MATCH: Final = BreakerRule.of(BreakerRuleDocument(match="*"))


class Policy:
    """A valid, filled policy in the form that decisions use; durations in milliseconds."""

    __slots__ = (
        "_first_match", "_rule_of", "_rules", "ceiling", "deepen_ms", "document", "enforce", "floor", "max_ttl_ms",
        "min_sleep_ms", "packed", "schedule", "wake_ms",
    )  # fmt: skip

    def __init__(self, document: PolicyDocument) -> None:
        self.floor = BY_LABEL[document.floor]
        self.ceiling = BY_LABEL[document.ceiling]
        self.enforce = document.enforce
        self.min_sleep_ms = milliseconds(document.min_sleep_seconds)
        self.max_ttl_ms = milliseconds(document.max_ttl_seconds)
        self.deepen_ms = milliseconds(document.ramp_seconds.deepen)
        self.wake_ms = milliseconds(document.ramp_seconds.wake)
        self.schedule: Schedule | None = document.schedule.as_schedule() if document.schedule else None
        self._first_match = compile_globs([rule.match for rule in document.breakers])
        self._rules = [BreakerRule.of(rule) for rule in document.breakers]
        self._rule_of: dict[str, BreakerRule] = {}
        self.document = _filled(document)
        self.packed = to_json(self.document).decode()

    def rule_of(self, name: str) -> BreakerRule:
        """Return the first rule whose pattern matches the breaker's name, else the built-in one."""
        rule = self._rule_of.get(name)
        if rule is None:
            if len(self._rule_of) >= _REMEMBERED_NAMES:
                self._rule_of.clear()
            index = self._first_match(name)
            rule = _NO_MATCH if index is None else self._rules[index]
            self._rule_of[name] = rule
        return rule

    def __eq__(self, other: object) -> bool:
        """Policies are equal when their filled documents are."""
        return isinstance(other, Policy) and other.packed == self.packed

    def __hash__(self) -> int:
        """Hash the filled document."""
        return hash(self.packed)


def _filled(document: PolicyDocument) -> dict[str, Any]:
    """Return the canonical document: every field present, durations as short as they can be written."""
    return {
        "floor": document.floor,
        "ceiling": document.ceiling,
        "enforce": document.enforce,
        "min_sleep_seconds": seconds(milliseconds(document.min_sleep_seconds)),
        "max_ttl_seconds": seconds(milliseconds(document.max_ttl_seconds)),
        "ramp_seconds": {
            "deepen": seconds(milliseconds(document.ramp_seconds.deepen)),
            "wake": seconds(milliseconds(document.ramp_seconds.wake)),
        },
        "breakers": [
            {
                "match": rule.match,
                "open": rule.open,
                "half_open": rule.half_open,
                "quorum": rule.quorum,
                "lease_seconds": seconds(milliseconds(rule.lease_seconds)),
            }
            for rule in document.breakers
        ],
        "schedule": schedule_as_json(document.schedule.as_schedule()) if document.schedule else None,
    }


def parse_policy(document: object) -> Policy:
    """Validate and fill a policy document.

    Raises:
        InvalidDocumentError: naming each wrong field.
    """
    try:
        return _parse_packed(to_json(document))
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error)) from None


# The digest of a command and its application both parse the same document.
@lru_cache(maxsize=64)
def _parse_packed(packed: bytes) -> Policy:
    return Policy(PolicyDocument.model_validate(from_json(packed)))


@lru_cache(maxsize=1024)
def unpack_policy(packed: str) -> Policy:
    """Return the policy that `Policy.packed` was taken from; the same text gives the same object."""
    return Policy(PolicyDocument.model_validate_json(packed))


class Rules:
    """One numbered version of the rules, compiled.

    Attributes:
        number: 0 for the built-in rules, else their place in the partition's log.
        digest: a short digest of the filled document, the same wherever the rules are the same.
    """

    __slots__ = ("digest", "document", "number", "policy", "retire_after_ms", "schedule", "terms")

    def __init__(self, number: int, document: RulesDocument) -> None:
        self.number = number
        self.policy = Policy(document.policy)
        self.schedule = document.schedule.as_schedule() if document.schedule else BUILT_IN_SCHEDULE
        self.retire_after_ms = milliseconds(document.retire_after_seconds)
        self.document: dict[str, Any] = {
            "policy": self.policy.document,
            "schedule": schedule_as_json(document.schedule.as_schedule()) if document.schedule else None,
            "retire_after_seconds": seconds(self.retire_after_ms),
        }
        self.digest = sha256(to_json(self.document)).hexdigest()[:16]
        self.terms = Terms(
            self.policy, self.policy.ceiling, self.policy.schedule or self.schedule, self.retire_after_ms
        )

    def terms_for(self, policy: Policy | None) -> "Terms":
        """Return what applies to a tenant with this policy of its own, or with none."""
        if policy is None:
            return self.terms
        return Terms(
            policy,
            min(policy.ceiling, self.policy.ceiling),
            policy.schedule or self.schedule,
            self.retire_after_ms,
        )


class Terms(NamedTuple):
    """Everything that decides a tenant's sleep beside its claims."""

    policy: Policy
    ceiling: SleepState
    schedule: Schedule
    retire_after_ms: int


def parse_rules(number: int, document: object) -> Rules:
    """Validate, fill and number a rules document.

    Raises:
        InvalidDocumentError: naming each wrong field.
    """
    try:
        return Rules(number, RulesDocument.model_validate(document))
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error)) from None


BUILT_IN_RULES: Final = Rules(0, RulesDocument())
