"""Explains one event of the log: the record before, each of the six steps of the fold, and the record after. Pure.

It folds nothing by itself. The steps are taken from the result of `worker.fold.fold`, and from the functions that the
fold calls for steps 2 and 3. The steps are those of specification.md#the-fold.
"""

from collections.abc import Iterable
from typing import Any

from schemas.domain.advance import advance
from schemas.domain.claim import Claim, Claims
from schemas.domain.deadlines import forecast, next_deadline, settle
from schemas.domain.decision import depth_of
from schemas.domain.explanation import explain
from schemas.domain.policy import Rules, Terms
from schemas.domain.record import Record, new_record
from schemas.domain.state import LABELS
from schemas.wire.events import TIMER
from schemas.wire.tenant_view import state_record
from schemas.wire.transition import Transition
from schemas.wire.usual_breaker import AnyTenantEvent, modelled
from worker.fold.fold import At, Folded

Document = dict[str, Any]


def explain_event(before: Record | None, event: AnyTenantEvent, rules: list[Rules], at: At, folded: Folded) -> Document:
    """Return the explanation of an event as a document.

    Args:
        before: the tenant's record before the event, None if it had none.
        event: the event.
        rules: every version of the rules so far, by number.
        at: the place and time of the event in the log.
        folded: what the fold makes of it.
    """
    tenant, now, noticed = event.subject, at.timestamp, 0
    base = new_record(rules[-1], now)
    if before is not None:
        now = max(before.clock, now)
        base, _, changes = advance(before, rules, now)
        noticed = len(changes)
    return {
        "tenant": tenant,
        "position": at.position,
        "at": at.timestamp,
        "before": _state(tenant, at, before, rules),
        "event": modelled(event).model_dump(mode="json", exclude_none=True),
        "steps": [
            {
                "step": 1,
                "name": "clock",
                "clock_before": None if before is None else before.clock,
                "timestamp": at.timestamp,
                "now": now,
            },
            _expirations(before, rules, now, folded.rows[:noticed]),
            _rules(before, rules, folded.rows[:noticed]),
            _event(event, base, rules, folded),
            _decision(folded, rules, folded.rows[noticed:]),
            _deadline(folded.record, rules),
        ],
        "after": _state(tenant, at, folded.record, rules),
        "published": folded.published,
        "rows": [row.as_json() for row in folded.rows],
    }


def _terms(record: Record, rules: list[Rules]) -> Terms:
    return rules[record.rules_number].terms_for(record.policy)


def _state(tenant: str, at: At, record: Record | None, rules: list[Rules]) -> Document | None:
    return None if record is None else state_record(tenant, at.partition, record, _terms(record, rules))


def _claim(claim: Claim, terms: Terms) -> Document:
    return {
        "source": claim.source,
        "key": claim.key,
        "state": LABELS[depth_of(claim, terms)],
        "breaker_state": claim.breaker_state,
        "since": claim.since,
        "expires_at": claim.expires_at,
    }


def _changes(rows: Iterable[Transition]) -> list[Document]:
    """Return the transitions among rows, without the columns that are the same for all rows of an event."""
    names = ("id", "from", "to", "cause", "at", "enforced", "rules")
    return [{name: row.as_json()[name] for name in names} for row in rows if row.kind == "transition"]


def _expirations(before: Record | None, rules: list[Rules], now: int, noticed: tuple[Transition, ...]) -> Document:
    """Step 2: what has ended since the last event, under the rules that the record was last folded under."""
    document: Document = {"step": 2, "name": "expirations", "rules": None, "ended": [], "transitions": []}
    if before is None:
        return document
    terms = _terms(before, rules)
    settled = settle(before, terms, now)[0]
    ended = [claim for key, claim in sorted(before.claims.items()) if key not in settled.claims]
    return document | {
        "rules": rules[before.rules_number].digest,
        "ended": [_claim(claim, terms) for claim in ended],
        "transitions": _changes(row for row in noticed if row.cause is None or row.cause.kind != "rules"),
    }


def _rules(before: Record | None, rules: list[Rules], noticed: tuple[Transition, ...]) -> Document:
    """Step 3: the decision under newer rules."""
    return {
        "step": 3,
        "name": "rules",
        "before": None if before is None else rules[before.rules_number].digest,
        "present": rules[-1].digest,
        "newer": before is not None and before.rules_number != rules[-1].number,
        "transitions": _changes(row for row in noticed if row.cause is not None and row.cause.kind == "rules"),
    }


def _event(event: AnyTenantEvent, base: Record, rules: list[Rules], folded: Folded) -> Document:
    """Step 4: what the event does to claims and policy, or why it is refused."""
    refusal, after = folded.refusal, folded.record
    applied = event.type != TIMER and refusal is None and after is not None
    old: Claims = base.claims if applied else {}
    new: Claims = after.claims if applied and after is not None else {}
    terms = _terms(base, rules) if after is None else _terms(after, rules)
    changed = [key for key in sorted(old.keys() & new.keys()) if old[key] != new[key]]
    return {
        "step": 4,
        "name": "event",
        "type": event.type,
        "refused": None if refusal is None else {"code": refusal.code, "detail": refusal.detail},
        "retired": event.type == TIMER and folded.published and after is None,
        "added": [_claim(new[key], terms) for key in sorted(new.keys() - old.keys())],
        "removed": [_claim(old[key], terms) for key in sorted(old.keys() - new.keys())],
        "changed": [{"before": _claim(old[key], terms), "after": _claim(new[key], terms)} for key in changed],
        "policy_version": None if not applied or after is None else after.policy_version,
        "policy_changed": applied and after is not None and after.policy_version != base.policy_version,
    }


def _decision(folded: Folded, rules: list[Rules], rows: tuple[Transition, ...]) -> Document:
    """Step 5: the decision, and the last part that made a difference."""
    record = folded.record
    return {
        "step": 5,
        "name": "decision",
        "transitions": _changes(rows),
        "decided": None if record is None else LABELS[record.decided],
        "state": None if record is None else LABELS[record.state],
        "decided_by": None if record is None else explain(record, rules[record.rules_number]).as_json(),
    }


def _deadline(record: Record | None, rules: list[Rules]) -> Document:
    """Step 6: when time alone will change something."""
    document: Document = {"step": 6, "name": "deadline", "next_deadline": None, "held_until": None, "forecast": []}
    if record is None:
        return document
    terms = _terms(record, rules)
    steps = forecast(record, terms)
    return document | {
        "next_deadline": next_deadline(record, terms),
        "held_until": record.held_until,
        "forecast": [{"at": step.at, "state": LABELS[step.state]} for step in steps],
    }
