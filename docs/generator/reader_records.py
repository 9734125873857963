"""The records of the vectors for readers: each kind of forecast, hold, quorum, pin and schedule."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from schemas.domain.claim import Cause, Claim, Source
from schemas.domain.decision import decide
from schemas.domain.policy import BUILT_IN_RULES, Policy, parse_policy, parse_rules
from schemas.domain.record import Record, new_record
from schemas.domain.schedule import ParameterSet
from schemas.domain.state import SleepState
from schemas.wire.tenant_view import state_record

T: Final = 1_795_334_400_000
"""When the claims of each record begin, in milliseconds."""
TENANT: Final = "acme"
_OTHER_SCHEDULE: Final = {
    state: {"K": k, "t": t, "tau": 0.1, "eta": 0.01, "lambda": b, "B": 1.0 + b}
    for state, k, t, b in (
        ("active", 90, 0.7, 0.3),
        ("light", 51, 0.3, 0.2),
        ("deep", 20, 0.2, 0.1),
        ("freeze", 3, 0.1, 0),
    )
}
RULES: Final = [
    BUILT_IN_RULES,
    parse_rules(1, {"schedule": _OTHER_SCHEDULE, "policy": {"ramp_seconds": {"deepen": 2, "wake": 7}}}),
]
DEFAULTS: Final[list[ParameterSet]] = [rules.terms.schedule[SleepState.active] for rules in RULES]
_POLICIES: Final[dict[str, dict[str, Any] | None]] = {
    "rules": None,
    "hold": {"min_sleep_seconds": 100, "ramp_seconds": {"deepen": 3, "wake": 11}},
    "quorum": {"breakers": [{"match": "*", "quorum": 2, "half_open": "deep"}]},
    "bounded": {"floor": "light", "ceiling": "deep", "ramp_seconds": {"deepen": 0.5, "wake": 0}},
    "own schedule": {"schedule": _OTHER_SCHEDULE, "ramp_seconds": {"deepen": 60, "wake": 600}},
    "dry run": {"enforce": False},
}


def _claim(source: Source, key: str, state: str, seconds: float | None) -> Claim:
    depth = None if source == "breaker" else SleepState[state]
    breaker_state: Any = state if source == "breaker" else None
    end = None if seconds is None else T + round(seconds * 1000)
    return Claim(source, key, depth, breaker_state, None, T, end, "ops", None)


_CLAIMS: Final[dict[str, list[Claim]]] = {
    "one breaker": [_claim("breaker", "db@a", "open", 900)],
    "a forced breaker without an end": [_claim("breaker", "db@a", "forced_open", None)],
    "two instances": [_claim("breaker", "db@a", "open", 20), _claim("breaker", "db@b", "half_open", 45)],
    "three ends at once": [
        _claim("breaker", "db@a", "half_open", 30),
        _claim("operation", "op-2", "deep", 30),
        _claim("operation", "op-1", "deep", 30),
    ],
    "a staircase": [
        _claim("operation", "op-1", "freeze", 1),
        _claim("mode", "mode", "deep", 2.5),
        _claim("breaker", "db@a", "half_open", 2.501),
    ],
    "a mode without an end under an operation": [
        _claim("mode", "mode", "light", None),
        _claim("operation", "op-1", "freeze", 40),
    ],
    "a shallow pin over a breaker": [_claim("pin", "pin", "light", 10), _claim("breaker", "db@a", "open", 60)],
    "an awake pin over a mode": [_claim("pin", "pin", "active", 12), _claim("mode", "mode", "deep", 30)],
    "a closed breaker": [_claim("breaker", "db@a", "closed", 5)],
}


class VectorRecord(NamedTuple):
    """A record of the vectors.

    Attributes:
        name: what is special, for people.
        record: the record.
        default: index in `DEFAULTS` of the default active set of its partition.
        until: from when on a reader knows less than the API: in a dry run, once a claim ends; else None.
    """

    name: str
    record: Record
    default: int
    until: int | None

    @property
    def document(self) -> dict[str, Any]:
        """The public record."""
        terms = RULES[self.record.rules_number].terms_for(self.record.policy)
        return state_record(TENANT, 2, self.record, terms)


def record_of(claims: str, policy: str = "rules", *, number: int = 0, offset: int = 42, at: int = T) -> Record:
    """Return a record with claims that begin at a time, under a policy and the rules of a number."""
    own: Policy | None = None if (document := _POLICIES[policy]) is None else parse_policy(document)
    rules = RULES[number]
    record = replace(new_record(rules, at - 5_000), policy=own, policy_version=int(own is not None))
    shifted = [
        replace(claim, since=at, expires_at=None if claim.expires_at is None else claim.expires_at + at - T)
        for claim in _CLAIMS[claims]
    ]
    first = shifted[0]
    kind: Any = first.source
    record = replace(record, claims={(claim.source, claim.key): claim for claim in shifted}, clock=at)
    record, _ = decide(record, rules.terms_for(own), at, Cause(kind, first.key))
    return replace(record, at=at, offset=offset, version=7)


def vector_records() -> Iterator[VectorRecord]:
    """Yield the records: every kind of claims under every policy, and under rules that are not those in force."""
    for policy in _POLICIES:
        for claims in _CLAIMS:
            record = record_of(claims, policy)
            ends = [claim.expires_at for claim in record.claims.values() if claim.expires_at is not None]
            until = min(ends, default=None) if policy == "dry run" else None
            yield VectorRecord(f"{claims}; policy: {policy}", record, 0, until)
    for number, default in ((1, 1), (0, 1), (1, 0)):
        for claims in ("one breaker", "a staircase", "a closed breaker"):
            record = record_of(claims, number=number)
            yield VectorRecord(f"{claims}; rules {number}, default of rules {default}", record, default, None)
    yield VectorRecord("a second claim inside of a ramp", _within_a_ramp(), 1, None)


def _within_a_ramp() -> Record:
    """Return a record whose ramp starts in the middle of another one, at a `K` that is no integer."""
    rules = RULES[1]
    record = record_of("two instances", number=1)
    deeper = _claim("operation", "op-9", "deep", 33.333)
    claims = {key: claim for key, claim in record.claims.items() if claim.breaker_state != "open"}
    now = T + 777
    record = replace(record, claims={**claims, (deeper.source, deeper.key): deeper}, clock=now)
    record, _ = decide(record, rules.terms, now, Cause("operation", deeper.key))
    return replace(record, at=now, offset=43, version=8)
