"""A record brought up to the present, and a policy put on it: what the fold does and a preview shows."""

from typing import NamedTuple

from schemas.claim import Cause
from schemas.deadlines import settle
from schemas.decision import Change, decide
from schemas.policy import Policy, Rules, Terms
from schemas.record import Record

POLICY_CHANGED = Cause("policy", "policy")
"""The cause of a decision that a change of policy made."""


class Advanced(NamedTuple):
    """A record at the present under the rules in force, its terms, and each change on the way with its rules."""

    record: Record
    terms: Terms
    changes: list[tuple[Change, Rules]]


def advance(record: Record, rules: list[Rules], now: int) -> Advanced:
    """Settle what fell due until `now` under the rules last folded under, then decide under those in force.

    Args:
        record: the record as it was left.
        rules: all rules by number; the last are in force.
        now: the time, in milliseconds, not before the record's clock.
    """
    earlier, in_force = rules[record.rules_number], rules[-1]
    terms = earlier.terms_for(record.policy)
    record, settled = settle(record, terms, now)
    changes = [(change, earlier) for change in settled]
    if earlier is not in_force:
        terms = in_force.terms_for(record.policy)
        record, moved = decide(record, terms, now, Cause("rules", None))
        record = record._replace(rules_number=in_force.number)
        if moved is not None:
            changes.append((moved, in_force))
    return Advanced(record, terms, changes)


def with_policy(record: Record, policy: Policy | None) -> Record:
    """Return the record with this policy, None for the rules' own, in its next version; nothing is decided yet."""
    return record._replace(policy=policy, policy_version=record.policy_version + 1)
