"""Short ways to a record, its terms and its claims; hypothesis strategies for all three."""

from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.domain.claim import MODE, PIN, Cause, CauseKind, Claim, Claims
from schemas.domain.decision import decide
from schemas.domain.policy import Policy, Rules, Terms, parse_policy, parse_rules
from schemas.domain.record import Record, new_record
from schemas.domain.schedule import Ramp
from schemas.domain.state import BY_LABEL, LABELS, BreakerState, SleepState, StateName
from tests.support.times import NOW

_BREAKER = Cause("breaker", "a@1")
QUICK = settings(max_examples=100, deadline=None)
"""Properties run on a shared machine, where a time limit for each example would fail by chance."""


class Tenant(NamedTuple):
    """A record that was folded under rules, number 0, at `record.clock`."""

    record: Record
    rules: Rules

    @property
    def terms(self) -> Terms:
        """What decides the tenant's sleep beside its claims."""
        return self.rules.terms_for(self.record.policy)


def terms_of(policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> Terms:
    """Return the terms of a tenant with this policy under these rules, both built in where absent."""
    return parse_rules(0, rules or {}).terms_for(None if policy is None else parse_policy(policy))


def breaker(key: str, state: BreakerState, expires_at: int | None = None, since: int = NOW) -> Claim:
    """Return a breaker's claim."""
    return Claim("breaker", key, None, state, None, since, expires_at, None, None)


def operation(key: str, state: StateName, expires_at: int) -> Claim:
    """Return an operation's claim."""
    return Claim("operation", key, BY_LABEL[state], None, None, NOW, expires_at, "ops", None)


def mode(state: StateName, expires_at: int | None = None) -> Claim:
    """Return a mode's claim."""
    return Claim(*MODE, BY_LABEL[state], None, None, NOW, expires_at, "ops", "maintenance")


def pin(state: StateName, expires_at: int) -> Claim:
    """Return a pin."""
    return Claim(*PIN, BY_LABEL[state], None, None, NOW, expires_at, "ops", None)


def claims_of(*claims: Claim) -> Claims:
    """Return claims by their key."""
    return {(claim.source, claim.key): claim for claim in claims}


def folded(
    claims: Iterable[Claim], policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None
) -> Tenant:
    """Return a tenant that got all these claims at `NOW`, by a breaker event."""
    compiled = parse_rules(0, rules or {})
    own = None if policy is None else parse_policy(policy)
    record = replace(new_record(compiled, NOW), claims=claims_of(*claims), policy=own, offset=7)
    return Tenant(decide(record, compiled.terms_for(own), NOW, Cause("breaker", "a@1"))[0], compiled)


def sleeping(
    decided: StateName,
    claims: Iterable[Claim] = (),
    policy: dict[str, Any] | None = None,
    *,
    cause: Cause | None = _BREAKER,
    since: int = NOW,
) -> Record:
    """Return a record that decided this at `NOW` whatever its claims ask for."""
    state = BY_LABEL[decided]
    compiled = parse_rules(0, {})
    own = None if policy is None else parse_policy(policy)
    target = compiled.terms_for(own).schedule[state]
    return replace(
        new_record(compiled, NOW),
        state=state,
        decided=state,
        since=since,
        cause=cause,
        claims=claims_of(*claims),
        ramp=Ramp(target, target, NOW, NOW),
        policy=own,
    )


state_names = st.sampled_from(LABELS)
_spans = st.sampled_from([0, 0.005, 0.01, 0.02, 0.05])
_ends = st.integers(NOW + 1, NOW + 30)
_open_ends = st.one_of(st.none(), _ends)


@st.composite
def policies(draw: st.DrawFn, floors: st.SearchStrategy[StateName] = state_names) -> dict[str, Any]:
    """Draw a valid policy document; its spans are of the length of the claims' TTLs, so that they meet."""
    floor, ceiling = draw(floors), draw(state_names)
    if BY_LABEL[floor] > BY_LABEL[ceiling]:
        ceiling = floor
    rule = st.fixed_dictionaries(
        {
            "match": st.sampled_from(["a", "b", "?", "*"]),
            "open": state_names,
            "half_open": state_names,
            "quorum": st.integers(1, 4),
            "lease_seconds": _spans,
        }
    )
    return {
        "floor": floor,
        "ceiling": ceiling,
        "enforce": draw(st.sampled_from([True, True, True, False])),
        "min_sleep_seconds": draw(_spans),
        "ramp_seconds": {"deepen": draw(_spans), "wake": draw(_spans)},
        "breakers": draw(st.lists(rule, max_size=3)),
    }


@st.composite
def claims(draw: st.DrawFn) -> Claims:
    """Draw claims of all sources, their ends close together or at the same time."""
    drawn = [
        breaker(f"{name}@{instance}", draw(st.sampled_from(get_args(BreakerState))), draw(_open_ends))
        for name in "ab"
        for instance in range(draw(st.integers(0, 4)))
    ]
    drawn += [operation(f"op-{n}", draw(state_names), draw(_ends)) for n in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()):
        drawn.append(mode(draw(state_names), draw(_open_ends)))
    if draw(st.integers(0, 2)) == 0:
        drawn.append(pin(draw(state_names), draw(_ends)))
    return claims_of(*draw(st.permutations(drawn)))


causes = st.builds(
    Cause, st.sampled_from(get_args(CauseKind)), st.one_of(st.none(), st.sampled_from(["a@1", "pin", "op-1"]))
)


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    """Draw a tenant whose last decision was taken at `NOW`, whatever it was before."""
    rules = parse_rules(0, {"policy": draw(policies(st.just("active")))})
    policy: Policy | None = draw(st.one_of(st.none(), policies().map(parse_policy)))
    terms = rules.terms_for(policy)
    decided = SleepState(draw(st.integers(0, 3)))
    state = draw(st.sampled_from([decided, SleepState.active]))
    starts_at = NOW - draw(st.integers(0, 30))
    before = Record(
        state=state,
        decided=decided,
        since=NOW - draw(st.integers(0, 30)),
        cause=draw(st.one_of(st.none(), causes)),
        claims=draw(claims()),
        ramp=Ramp(
            terms.schedule[draw(st.integers(0, 3))],
            terms.schedule[state],
            starts_at,
            starts_at + draw(st.sampled_from([0, 10, 50])),
        ),
        policy=policy,
        policy_version=draw(st.integers(0, 3)),
        held_until=None,
        at=NOW,
        clock=NOW,
        offset=draw(st.integers(0, 10**9)),
        version=draw(st.integers(0, 1000)),
        rules_number=0,
    )
    return Tenant(decide(before, terms, NOW, draw(causes))[0], rules)
