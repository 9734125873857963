"""The invariants of specification.md#invariants, named once, as assertions over plain data.

Records, ramps and terms are those of `schemas`; rows are audit rows in their document form; states are
documents by tenant.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from msgspec.structs import astuple, replace

from schemas.domain.deadlines import is_open_ended, settle
from schemas.domain.policy import Terms
from schemas.domain.record import Record
from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState

Row = Mapping[str, Any]
_REPEATS = ("duplicate_operation", "idempotency_conflict")


def assert_fold(seen: Mapping[str, Any], folded: Mapping[str, Any]) -> None:
    """States equal a fold of the log."""
    differing = sorted(name for name in seen.keys() | folded.keys() if seen.get(name) != folded.get(name))
    shown = {name: (seen.get(name), folded.get(name)) for name in differing[:3]}
    assert not differing, f"{len(differing)} tenants are not the fold of their log, such as {shown}"


def assert_once(rows: Iterable[Row]) -> None:
    """Every record was applied exactly once: a row that comes again is the same, and none is missing."""
    by_id: dict[str, Row] = {}
    indices: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        first = by_id.setdefault(row["id"], row)
        assert first == row, f"two different rows have the id {row['id']}"
        indices[row["position"]].add(int(row["id"].removeprefix(f"{row['position']}:")))
    for position, each in indices.items():
        assert each == set(range(len(each))), f"the rows of {position} are numbered {sorted(each)}"


def assert_bounded(record: Record, terms: Terms) -> None:
    """A state that no floor and no open-ended claim asks for ends when its claims and its hold have."""
    open_pin = any(claim.source == "pin" and claim.expires_at is None for claim in record.claims.values())
    assert not open_pin, "a pin has no end"
    lasting = {key: claim for key, claim in record.claims.items() if claim.expires_at is None}
    if is_open_ended(replace(record, claims=lasting), terms):
        return
    ends = [claim.expires_at for claim in record.claims.values() if claim.expires_at is not None]
    latest = max([record.clock, record.since, *ends]) + terms.policy.min_sleep_ms
    after, _ = settle(record, terms, latest)
    rest = min(terms.policy.floor, terms.ceiling)
    assert after.decided is rest, f"at {latest} it is still {after.decided.label} and not {rest.label}"


def assert_isolated(alone: Mapping[str, Any], together: Mapping[str, Any]) -> None:
    """A tenant's record is a function of its own records and the rules: folded alone it is the same."""
    for name, document in alone.items():
        assert together.get(name) == document, f"{name} is another among other tenants: {together.get(name)}"


def assert_monotone(ramp: Ramp, samples: int = 50) -> None:
    """Each parameter moves one way, between the ramp's ends, and is exactly the target from `ends_at` on."""
    length = ramp.ends_at - ramp.starts_at
    times = sorted({ramp.starts_at + length * step // samples for step in range(samples + 1)} | {ramp.ends_at - 1})
    values = [ramp.at(now) for now in times if now >= ramp.starts_at]
    for first, last, *path in zip(*map(astuple, (ramp.start, ramp.target, *values)), strict=True):
        way = [first, *path, last]
        rising = first <= last
        assert all(a <= b if rising else a >= b for a, b in pairwise(way)), f"not one way from {first} to {last}"
    assert ramp.at(ramp.ends_at) == ramp.at(ramp.ends_at + 1) == ramp.target


def assert_reversible(record: Record, terms: Terms) -> None:
    """At rest a tenant has the very numbers of its state, whatever it went through."""
    assert record.ramp.at(record.ramp.ends_at) == terms.schedule[record.state]
    enforced = record.decided if terms.policy.enforce else SleepState.active
    assert record.state is enforced, f"state {record.state.label} while {enforced.label} is in force"


def assert_fenced(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """A stale owner changed nothing: what is stored is what was stored."""
    assert after == before, (
        f"changed: {sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))}"
    )


def assert_answered(commands: Iterable[tuple[str, str]], rows: Iterable[Row]) -> None:
    """Every command, a pair of tenant and id, has exactly one outcome; judging a repeat is none."""
    outcomes = {
        row["id"]: (row["tenant"], row["operation_id"])
        for row in rows
        if row["kind"] != "transition" and row["operation_id"] is not None and row["code"] not in _REPEATS
    }
    counts = Counter(outcomes.values())
    wrong = {command: counts[command] for command in set(commands) if counts[command] != 1}
    assert not wrong, f"commands by their number of outcomes: {wrong}"
