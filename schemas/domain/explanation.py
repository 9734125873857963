"""Explains a decision: the last step that made a difference, and the decision without it.

This module does not decide. It calls `schemas.domain.decision` again with a part left out.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from schemas.domain.claim import PIN, Claim, Claims, Source
from schemas.domain.decision import bounded, deepest, depth_of, wanted
from schemas.domain.policy import Policy, Rules, Terms, breaker_name
from schemas.domain.record import Record
from schemas.domain.state import LABELS, SleepState

DecidedBy = Literal["nothing", "claim", "pin", "floor", "ceiling", "hold"]
CeilingOwner = Literal["policy", "rules", "both"]
_NAMED: Final = 3
"""The number of breakers that a note names; the rest are counted."""
IGNORE_THE_REST: Final = '{"match": "*", "open": "active", "half_open": "active"}'
"""The last rule of a list that ignores all breakers that no other rule matches."""


class Quorum(NamedTuple):
    """The number of a breaker's instances that ask for at least a depth, and the number that must agree on it."""

    breaker: str
    state: SleepState
    need: int
    have: int

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        return {"breaker": self.breaker, "state": LABELS[self.state], "need": self.need, "have": self.have}


class Deciding(NamedTuple):
    """The claim with the deepest depth; `quorum` is None if it counts alone.

    Of several claims with the same depth it is the first by source and key.
    """

    source: Source
    key: str
    quorum: Quorum | None

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        quorum = None if self.quorum is None else self.quorum.as_json()
        return {"source": self.source, "key": self.key, "quorum": quorum}


class Explanation(NamedTuple):
    """Why a decision is what it is.

    Attributes:
        by: the last step that made a difference.
        without: the decision without that step and without a hold in its place; None if nothing decides.
        asked: the depth that the claims except a pin ask for.
        claim: a deciding pin, or else the claim that asks for `asked`; None if no claim asks for sleep.
        floor: the policy's floor, if it is deeper than `asked`.
        ceiling: the ceiling, if it cuts `asked` or the floor.
        ceiling_of: the owner of that ceiling; a tenant without a policy of its own has that of the rules.
        held_until: until when a minimum sleep keeps the decision, in milliseconds.
        unmet: quorums that would take the tenant deeper than `asked`, the deepest first.
        unmatched: the tenant's breakers that no rule of the policy matches, sorted.
    """

    by: DecidedBy
    without: SleepState | None
    asked: SleepState
    claim: Deciding | None
    floor: SleepState | None
    ceiling: SleepState | None
    ceiling_of: CeilingOwner | None
    held_until: int | None
    unmet: tuple[Quorum, ...]
    unmatched: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        ceiling = None if self.ceiling is None else {"state": LABELS[self.ceiling], "of": self.ceiling_of}
        return {
            "kind": self.by,
            "without": None if self.without is None else LABELS[self.without],
            "asked": LABELS[self.asked],
            "claim": None if self.claim is None else self.claim.as_json(),
            "floor": None if self.floor is None else LABELS[self.floor],
            "ceiling": ceiling,
            "held_until": self.held_until,
            "unmet_quorums": [quorum.as_json() for quorum in self.unmet],
            "unmatched_breakers": list(self.unmatched),
        }


def explain(record: Record, rules: Rules) -> Explanation:
    """Explain the decision of a settled record.

    Args:
        record: the record, with all past expirations applied.
        rules: the rules that it was last folded under.
    """
    terms = rules.terms_for(record.policy)
    claims, pin = record.claims, record.claims.get(PIN)
    asked = deepest(claims, terms)
    groups = _groups(claims)
    claim = None if asked is SleepState.active else _deciding(groups, asked, terms)
    plain = Explanation(
        by="nothing" if claim is None else "claim",
        without=None if claim is None else wanted(_without(claims, claim), terms),
        asked=asked,
        claim=claim,
        floor=None,
        ceiling=None,
        ceiling_of=None,
        held_until=record.held_until,
        unmet=_unmet(groups, asked, terms),
        unmatched=tuple(sorted(name for name in _breakers(claims) if not terms.policy.has_rule_for(name))),
    )
    if pin is not None:
        unpinned = {key: other for key, other in claims.items() if key != PIN}
        return plain._replace(by="pin", without=wanted(unpinned, terms), claim=Deciding(*PIN, None))
    return _bounded(plain, record, rules, terms)


def _bounded(plain: Explanation, record: Record, rules: Rules, terms: Terms) -> Explanation:
    """Add the floor, the ceiling and the hold, if they make a difference."""
    explanation, asked, floor = plain, plain.asked, terms.policy.floor
    raised, target = bounded(asked, floor, SleepState.freeze), bounded(asked, floor, terms.ceiling)
    if raised != asked:
        explanation = explanation._replace(
            by="floor", without=bounded(asked, SleepState.active, terms.ceiling), floor=floor
        )
    if target != raised:
        owner, without_owner = _ceilings(record, rules)
        explanation = explanation._replace(
            by="ceiling", without=bounded(asked, floor, without_owner), ceiling=terms.ceiling, ceiling_of=owner
        )
    return explanation if record.held_until is None else explanation._replace(by="hold", without=target)


def _ceilings(record: Record, rules: Rules) -> tuple[CeilingOwner, SleepState]:
    """Return the owner of the ceiling in force, and the ceiling that would be in force without it."""
    if record.policy is None:
        return "rules", SleepState.freeze
    own, of_rules = record.policy.ceiling, rules.policy.ceiling
    if own == of_rules:
        return "both", SleepState.freeze
    return ("policy", of_rules) if own < of_rules else ("rules", own)


def _groups(claims: Claims) -> dict[str | None, Claims]:
    """Return the claims of each breaker by its name, and those of other sources except a pin by None."""
    groups: defaultdict[str | None, Claims] = defaultdict(dict)
    for key, claim in claims.items():
        if claim.source != "pin":
            groups[breaker_name(claim.key) if claim.source == "breaker" else None][key] = claim
    return groups


def _breakers(claims: Claims) -> set[str]:
    return {breaker_name(claim.key) for claim in claims.values() if claim.source == "breaker"}


def _deciding(groups: dict[str | None, Claims], asked: SleepState, terms: Terms) -> Deciding:
    """Return the first claim, by source and key, of those that ask for a depth by themselves or with their quorum."""
    candidates: list[Claim] = []
    for group in groups.values():
        if deepest(group, terms) is asked:
            candidates += [claim for claim in group.values() if depth_of(claim, terms) >= asked]
    first = min(candidates, key=lambda claim: (claim.source, claim.key))
    if first.source != "breaker":
        return Deciding(first.source, first.key, None)
    name = breaker_name(first.key)
    need = terms.policy.rule_of(name).quorum
    if need == 1:
        return Deciding(first.source, first.key, None)
    have = sum(depth_of(claim, terms) >= asked for claim in groups[name].values())
    return Deciding(first.source, first.key, Quorum(name, asked, need, have))


def _without(claims: Claims, deciding: Deciding) -> Claims:
    """Return the claims without the deciding one; without all claims of its breaker if it decides by a quorum."""
    if deciding.quorum is None:
        return {key: claim for key, claim in claims.items() if key != (deciding.source, deciding.key)}
    name = deciding.quorum.breaker
    return {
        key: claim
        for key, claim in claims.items()
        if claim.source != "breaker" or breaker_name(claim.key) != name
    }  # fmt: skip


def _unmet(groups: dict[str | None, Claims], asked: SleepState, terms: Terms) -> tuple[Quorum, ...]:
    """Return the unmet quorums for depths deeper than `asked`."""
    unmet = []
    for name, group in groups.items():
        if name is None:
            continue
        deeper = [depth for claim in group.values() if (depth := depth_of(claim, terms)) > asked]
        if deeper:
            unmet.append(Quorum(name, min(deeper), terms.policy.rule_of(name).quorum, len(deeper)))
    return tuple(sorted(unmet, key=lambda quorum: (-quorum.state, quorum.breaker)))


def notes_on(policy: Policy, unmatched: Sequence[str] = ()) -> list[str]:
    """Return notes on a policy for people, as sentences; usually none.

    Args:
        policy: the policy in force, or a proposed one.
        unmatched: breakers of a tenant that no rule of the policy matches.
    """
    if policy.matches_every_breaker:
        return []
    end = f"end with `{IGNORE_THE_REST}` to ignore the rest"
    if not unmatched:
        return [f"the built-in rule applies to each breaker that no rule matches; {end}"]
    named = ", ".join(f"`{name}`" for name in unmatched[:_NAMED])
    if (more := len(unmatched) - _NAMED) > 0:
        named += f" and {more} more"
    return [f"no rule matches {named}: the built-in rule applies; {end}"]
