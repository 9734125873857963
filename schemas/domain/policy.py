"""A tenant's policy, and the rules for all tenants: validation, defaults and compiled form."""

from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import from_json, to_json

from schemas.domain.document import Document
from schemas.domain.glob import compile_globs, match_every_name
from schemas.domain.schedule import BUILT_IN_SCHEDULE, Schedule, ScheduleDocument, schedule_as_json
from schemas.domain.sealing import NewerCodeError
from schemas.domain.state import BY_LABEL, BreakerState, SleepState, StateName
from schemas.domain.values import MAX_NAME, MAX_SECONDS, Integer, Pattern, Seconds, milliseconds, seconds
from schemas.errors import SchemasError
from schemas.wire.validation_errors import MOST_FINDINGS, path_of, reason_of

# A policy caches the rule of each name and of each claim's key. A cache is cleared at this size, so memory is bounded.
_REMEMBERED_NAMES: Final = 4096
_REMEMBERED_CLAIMS: Final = 1024
# Findings go into headers and answers. A document of 64 KiB can have thousands of wrong fields, with long names.
_FIELD_SHOWN: Final = 128
_REASON_SHOWN: Final = 256
MOST_RULES: Final = 32


class FieldError(NamedTuple):
    """The dotted path of a wrong field, and the reason."""

    field: str
    reason: str


class InvalidDocumentError(SchemasError):
    """A policy or rules document is invalid.

    Attributes:
        errors: each field and the reason.
        unknown: the first field that the contract does not know, None where it knows them all.
    """

    def __init__(self, errors: list[FieldError], unknown: str | None = None) -> None:
        super().__init__("; ".join(f"{error.field}: {error.reason}" for error in errors))
        self.errors = errors
        self.unknown = unknown


def field_errors(error: ValidationError, model: object = None) -> list[FieldError]:
    """Return at most `MOST_FINDINGS` of pydantic's findings as field and reason, without the values sent.

    Args:
        error: pydantic's error.
        model: the expected model, if known; the reason of an unknown field then names the model's fields.
    """
    findings = error.errors(include_url=False, include_input=False)
    shown = [
        FieldError(
            ".".join(map(str, path_of(finding)))[:_FIELD_SHOWN] or "(document)",
            reason_of(finding, model)[:_REASON_SHOWN],
        )
        for finding in findings[:MOST_FINDINGS]
    ]
    unnamed = len(findings) - len(shown)
    return [*shown, FieldError("(document)", f"{unnamed} more findings")] if unnamed else shown


def _invalid(error: ValidationError, model: type[Document]) -> InvalidDocumentError:
    errors = field_errors(error, model)
    unknown = (path_of(finding) for finding in error.errors(include_url=False) if finding["type"] == "extra_forbidden")
    return InvalidDocumentError(errors, next((".".join(map(str, path)) for path in unknown), None))


def breaker_name(key: str) -> str:
    """Return the breaker's name from a claim's key `name@instance`."""
    return key[: key.index("@")]


class RampSeconds(Document):
    """How long parameters take to reach their target, by the direction of the change."""

    deepen: Seconds = 0
    wake: Seconds = 30


class BreakerRuleDocument(Document):
    """What the states of matching breakers mean."""

    match: Pattern
    open: StateName = "freeze"
    half_open: StateName = "light"
    quorum: Annotated[Integer, Field(ge=1, le=256)] = 1
    lease_seconds: Seconds = 900


def _not_too_many(rules: Any) -> Any:  # noqa: ANN401 - whatever was sent
    """Refuse a too long list before its rules are validated: 64 KiB can hold 20,000 rules, which take 0.1 s."""
    if isinstance(rules, list | tuple) and len(rules) > MOST_RULES:
        msg = f"at most {MOST_RULES} rules"
        raise ValueError(msg)
    return rules


Breakers = Annotated[tuple[BreakerRuleDocument, ...], Field(max_length=MOST_RULES), BeforeValidator(_not_too_many)]


class PolicyDocument(Document):
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


class RulesDocument(Document):
    """The policy of tenants without one of their own, the default schedule, and when a record retires."""

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
    """A compiled rule: the depth of each breaker state, the quorum, and the lease (0 = none)."""

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
    """A valid policy with all defaults, in the form for decisions; durations in milliseconds."""

    __slots__ = (
        "_first_match", "_rule_of", "_rule_of_claim", "_rules", "ceiling", "deepen_ms", "document", "enforce", "floor",
        "max_ttl_ms", "min_sleep_ms", "packed", "schedule", "wake_ms",
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
        self._rule_of_claim: dict[str, BreakerRule] = {}
        self.document = _filled(document)
        self.packed = to_json(self.document).decode()

    def rule_of(self, name: str) -> BreakerRule:
        """Return the first rule that matches the breaker's name, or else the built-in rule."""
        rule = self._rule_of.get(name)
        if rule is None:
            if len(self._rule_of) >= _REMEMBERED_NAMES:
                self._rule_of.clear()
            index = self._first_match(name)
            rule = _NO_MATCH if index is None else self._rules[index]
            self._rule_of[name] = rule
        return rule

    def rule_of_claim(self, key: str) -> BreakerRule:
        """Return the rule of a breaker's claim with this key, `name@instance`."""
        rule = self._rule_of_claim.get(key)
        if rule is None:
            if len(self._rule_of_claim) >= _REMEMBERED_CLAIMS:
                self._rule_of_claim.clear()
            rule = self._rule_of_claim[key] = self.rule_of(breaker_name(key))
        return rule

    def has_rule_for(self, name: str) -> bool:
        """Tell whether a rule of the policy matches the breaker's name; otherwise the built-in rule applies."""
        return self.rule_of(name) is not _NO_MATCH

    @property
    def matches_every_breaker(self) -> bool:
        """Whether every valid name matches a rule, so that the built-in rule never applies."""
        return match_every_name([rule["match"] for rule in self.document["breakers"]], MAX_NAME)

    def __eq__(self, other: object) -> bool:
        """Compare the documents with all defaults."""
        return isinstance(other, Policy) and other.packed == self.packed

    def __hash__(self) -> int:
        """Hash the document with all defaults."""
        return hash(self.packed)


def _filled(document: PolicyDocument) -> dict[str, Any]:
    """Return the canonical document: all fields, and durations in their shortest form."""
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
    """Validate a policy document and fill in its defaults.

    Raises:
        InvalidDocumentError: naming each wrong field.
    """
    try:
        return _parse_packed(to_json(document))
    except ValidationError as error:
        raise _invalid(error, PolicyDocument) from None


# The digest of a command and its application both parse the same document.
@lru_cache(maxsize=64)
def _parse_packed(packed: bytes) -> Policy:
    return Policy(PolicyDocument.model_validate(from_json(packed)))


@lru_cache(maxsize=1024)
def unpack_policy(packed: str) -> Policy:
    """Return the policy of a `Policy.packed`. The same text gives the same object.

    Raises:
        NewerCodeError: if it has a field that only a newer release knows.
        ValueError: if it is not a policy.
    """
    try:
        return Policy(PolicyDocument.model_validate_json(packed))
    except ValidationError as error:
        if (unknown := _invalid(error, PolicyDocument).unknown) is not None:
            raise NewerCodeError("policy field", unknown) from None
        raise


class Rules:
    """One numbered version of the rules, compiled.

    Attributes:
        number: 0 for the built-in rules, else their count in the partition's log.
        digest: a short digest of the document with all defaults, equal for equal rules.
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
        """Return the terms of a tenant with this policy of its own, or with none."""
        if policy is None:
            return self.terms
        return Terms(
            policy,
            min(policy.ceiling, self.policy.ceiling),
            policy.schedule or self.schedule,
            self.retire_after_ms,
        )


class Terms(NamedTuple):
    """All that a decision depends on besides the claims."""

    policy: Policy
    ceiling: SleepState
    schedule: Schedule
    retire_after_ms: int


def parse_rules(number: int, document: object) -> Rules:
    """Validate a rules document, fill in its defaults and number it.

    Raises:
        InvalidDocumentError: naming each wrong field.
    """
    try:
        return Rules(number, RulesDocument.model_validate(document))
    except ValidationError as error:
        raise _invalid(error, RulesDocument) from None


BUILT_IN_RULES: Final = Rules(0, RulesDocument())
