"""Advances a record to the present, and sets a policy: steps that the fold and a preview share."""

from typing import NamedTuple

from msgspec.structs import replace

from schemas.domain.claim import Cause
from schemas.domain.deadlines import settle
from schemas.domain.decision import Change, decide
from schemas.domain.policy import Policy, Rules, Terms
from schemas.domain.record import Record

POLICY_CHANGED = Cause("policy", "policy")
"""The cause of a decision after a change of policy."""


class Advanced(NamedTuple):
    """A record advanced to the present, its terms, and each change in between with the rules that made it."""

    record: Record
    terms: Terms
    changes: list[tuple[Change, Rules]]


def advance(record: Record, rules: list[Rules], now: int) -> Advanced:
    """Apply all expirations until `now` under the rules last folded under, then decide under the rules in force.

    Args:
        record: the record after its last event.
        rules: all rules by number; the last ones are in force.
        now: the time, in milliseconds, not before the record's clock.
    """
    earlier, in_force = rules[record.rules_number], rules[-1]
    terms = earlier.terms_for(record.policy)
    record, settled = settle(record, terms, now)
    changes = [(change, earlier) for change in settled]
    if earlier is not in_force:
        terms = in_force.terms_for(record.policy)
        record, moved = decide(record, terms, now, Cause("rules", None))
        record = replace(record, rules_number=in_force.number)
        if moved is not None:
            changes.append((moved, in_force))
    return Advanced(record, terms, changes)


def with_policy(record: Record, policy: Policy | None) -> Record:
    """Return the record with the next version of its policy, None for that of the rules. Nothing is decided yet."""
    return replace(record, policy=policy, policy_version=record.policy_version + 1)
