"""What a partition must hold after a run, whatever happened to it: the invariants of DESIGN section 9.

Simulations and fault tests bring what they found, and hold it against `tests.reference`, a fold written separately.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.cloudevents import UndecodableError, decode
from schemas.events import CommandEvent
from schemas.operation import OperationRecord
from schemas.progress import Progress
from schemas.public import state_record
from schemas.record import unpack
from schemas.state import LABELS
from tests.fakes import Held
from tests.invariants import (
    assert_answered,
    assert_bounded,
    assert_fold,
    assert_isolated,
    assert_monotone,
    assert_once,
    assert_reversible,
)
from tests.reference import Reference
from worker.deadletter import SourceRecord

Document = dict[str, Any]
# The audit row of a command does not tell these; see `worker.recovery.audit`.
NOT_IN_AUDIT: Final = ("target_state", "expires_at", "cancelled_at", "trace_id")


class Found(NamedTuple):
    """What was found of a partition once everybody was at rest.

    Attributes:
        partition, partitions: its number, and how many there are.
        log, states, transitions: every record that its topics ever held.
        held: what the store holds.
        now: the time then, ms.
        slack_ms: within which time a timer that is due is folded.
        audited: commands from before this offset may be known by their audit rows alone, since a rebuild brought
            them back from a log that no longer held them.
    """

    partition: int
    partitions: int
    log: Sequence[SourceRecord]
    states: Sequence[SourceRecord]
    transitions: Sequence[SourceRecord]
    held: Held
    now: int
    slack_ms: int
    audited: int = 0


def check_partition(found: Found, reference: Reference, chance: random.Random) -> None:
    """Hold what was found against the reference, which has read the whole log.

    Raises:
        AssertionError: if anything differs.
    """
    _check_store(found, reference)
    _check_states(found, reference)
    _check_rows(found, reference)
    _check_alone(found, reference, chance)


def documents_of(held: Held, partition: int) -> Document:
    """Return the state records of a partition's tenants, as the store holds them."""
    rules = Progress.unpack(held.progress).rules
    found = {tenant: unpack(packed, rules) for tenant, packed in held.tenants.items()}
    return {
        tenant: state_record(tenant, partition, record, rules[record.rules_number].terms_for(record.policy))
        for tenant, record in found.items()
    }


def _check_store(found: Found, reference: Reference) -> None:
    held, partition, log = found.held, found.partition, found.log
    progress = Progress.unpack(held.progress)
    assert progress.next >= (log[-1].offset + 1 if log else 0), f"{partition} stands at {progress.next}"
    assert [item.document for item in progress.rules] == [item.document for item in reference.rules]
    for tenant, packed in held.tenants.items():
        record = unpack(packed, progress.rules)
        assert record.rules_number == len(progress.rules) - 1, f"{tenant} was not told of the newest rules"
        terms = progress.rules[record.rules_number].terms_for(record.policy)
        assert_monotone(record.ramp, samples=5)
        assert_bounded(record, terms)
        assert_reversible(record, terms)
    assert_fold(documents_of(held, partition), {tenant: reference.document(tenant) for tenant in reference.tenants})
    due = {tenant: reference.timer_due(tenant) for tenant in reference.tenants}
    assert held.timers == {tenant: at for tenant, at in due.items() if at is not None}, f"timers of {partition}"
    late = {tenant: at for tenant, at in held.timers.items() if at < found.now - found.slack_ms}
    assert not late, f"nobody has woken {late} at {found.now}"
    assert held.open == {tenant for tenant in reference.tenants if reference.open_ended(tenant)}
    counts = Counter(record["state"] for record in reference.tenants.values())
    assert +held.counts == counts, f"counts of {partition}: {held.counts} and not {counts}"
    _check_operations(found, reference)


def _check_operations(found: Found, reference: Reference) -> None:
    """Every command is remembered as it was judged."""
    seen = {key: _remembered(OperationRecord.unpack(packed)) for key, (packed, _) in found.held.operations.items()}
    told = {key: without(document, "asked") for key, document in reference.commands.items()}
    for key, operation in seen.items():
        if key in told and offset_of(told[key]) < found.audited:
            told[key] = as_audited(told[key], operation)
    assert_fold({key[1] + key[0]: item for key, item in seen.items()},
                {key[1] + key[0]: item for key, item in told.items()})  # fmt: skip


def _check_states(found: Found, reference: Reference) -> None:
    """The last state of each key is the present one, and no reader was ever shown what the log does not say."""
    last: Document = {}
    said = {(key, value["position"]): _shown(value) for key, value in reference.states if value is not None}
    for record in found.states:
        key = (record.key or b"").decode()
        value = None if record.value is None else from_json(record.value)
        last[key] = _shown(value)
        if value is not None:
            position = value["position"]
            assert said.get((key, position)) == last[key], f"{key} was shown what {position} does not say: {value}"
    assert_fold(last, {key: _shown(value) for key, value in reference.states})


def _check_rows(found: Found, reference: Reference) -> None:
    """The audit, repeats dropped by id, is the reference's; every command has one outcome, and no timer was early."""
    rows = [from_json(record.value or b"") for record in found.transitions]
    assert_once(rows)
    by_id = {row["id"]: without(row, "decision") for row in rows}
    assert_fold(by_id, {row["id"]: row for row in reference.rows})
    assert_answered(commands_of(found.log), rows)
    latest = max((record.timestamp for record in found.log), default=0)
    assert all(row["at"] <= latest for row in rows), "something was settled before its time"


def _check_alone(found: Found, reference: Reference, chance: random.Random) -> None:
    """One tenant, folded alone with the rules, is what it is among the others."""
    if not reference.tenants:
        return
    tenant = chance.choice(sorted(reference.tenants))
    alone = Reference(found.partition)
    for record in found.log:
        if record.key in (None, tenant.encode()):
            alone.read(record, found.partitions)
    assert_isolated({tenant: alone.document(tenant)}, {tenant: reference.document(tenant)})


def commands_of(log: Iterable[SourceRecord]) -> list[tuple[str, str]]:
    """Return tenant and id of every command in a log."""
    found = []
    for record in log:
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError:
            continue
        if isinstance(event, CommandEvent):
            found.append((event.subject, event.data.operation_id))
    return found


def offset_of(document: Mapping[str, Any]) -> int:
    """Return the offset at which a document was made."""
    return int(document["position"].partition(":")[2])


def as_audited(told: Document, seen: Mapping[str, Any]) -> Document:
    """Return what is to be seen of a command whose rebuild may have had nothing but its audit row."""
    return told | {name: None for name in NOT_IN_AUDIT if name in told and seen.get(name) is None}


def without(document: Mapping[str, Any], *names: str) -> Document:
    """Return a document but for some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


def _remembered(operation: OperationRecord) -> Document:
    document = without(operation._asdict(), "detail", "decision")
    for name in ("state", "previous_state", "target_state"):
        document[name] = None if document[name] is None else LABELS[document[name]]
    return document


def _shown(document: Document | None) -> Document | None:
    """Return what a version of a state record stands for: a repair may know a later clock of the same version."""
    if document is None or "claims" not in document:
        return document
    claims = [without(claim, "occurred_at") for claim in document["claims"]]
    return {**without(document, "clock", "rules_number"), "claims": claims}
