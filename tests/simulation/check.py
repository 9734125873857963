"""What must hold after a run: the invariants of DESIGN section 9, against a fold written separately."""

from collections import Counter
from typing import Any

from pydantic_core import from_json

from schemas.cloudevents import UndecodableError, decode
from schemas.events import CommandEvent
from schemas.operation import OperationRecord
from schemas.progress import Progress
from schemas.public import state_record
from schemas.record import unpack
from schemas.state import LABELS
from tests.fakes import Held, LogRecord
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
from tests.simulation.workers import Surroundings

Document = dict[str, Any]
# A timer that is due is folded within this time, once all faults are over.
_SLACK_MS = 2_000


def check(world: Surroundings) -> None:
    """Hold everything that a run left behind against the reference.

    Raises:
        AssertionError: if anything differs.
    """
    for partition in range(world.partitions):
        log = world.broker.history(world.topics.events, partition)
        reference = Reference(partition)
        for record in log:
            reference.read(record, world.partitions)
        _check_store(world, partition, log, reference)
        _check_states(world, partition, reference)
        _check_rows(world, partition, log, reference)
        _check_alone(world, partition, log, reference)


def check_refusal(world: Surroundings, partition: int, lost: Held) -> bool:
    """After the store was emptied: tell whether a partition's owner refuses to go on.

    It must, and change nothing, where the log no longer holds what is missing; where the log still holds all of it,
    it may fold it anew instead.

    Raises:
        AssertionError: if it guesses, or does not say which command helps.
    """
    start = world.broker.log(world.topics.events, partition).start
    owner = world.group.owners[partition]
    lane = None if owner is None else owner.lanes.get(partition)
    assert lane is not None, f"nobody owns {partition}"
    if not lane.stopped:
        assert lost.next == 0 or start == 0, f"the owner of {partition} goes on without its records"
        return False
    assert "sleepctl rebuild" in (lane.finding or ""), f"it does not say what helps: {lane.finding}"
    # A first commit that was under way when its worker died may still have found the position that it wanted.
    assert world.database.partitions[partition].next < start, f"{partition} was written without its records"
    return True


def _check_store(world: Surroundings, partition: int, log: list[LogRecord], reference: Reference) -> None:
    held = world.database.partitions[partition]
    progress = Progress.unpack(held.progress)
    assert progress.next >= (log[-1].offset + 1 if log else 0), f"{partition} stands at {progress.next}"
    assert [item.document for item in progress.rules] == [item.document for item in reference.rules]
    documents: Document = {}
    for tenant, packed in held.tenants.items():
        record = unpack(packed, progress.rules)
        assert record.rules_number == len(progress.rules) - 1, f"{tenant} was not told of the newest rules"
        terms = progress.rules[record.rules_number].terms_for(record.policy)
        documents[tenant] = state_record(tenant, partition, record, terms)
        assert_monotone(record.ramp, samples=5)
        assert_bounded(record, terms)
        assert_reversible(record, terms)
    assert_fold(documents, {tenant: reference.document(tenant) for tenant in reference.tenants})
    due = {tenant: reference.timer_due(tenant) for tenant in reference.tenants}
    assert held.timers == {tenant: at for tenant, at in due.items() if at is not None}, f"timers of {partition}"
    late = {tenant: at for tenant, at in held.timers.items() if at < world.clock.now() - _SLACK_MS}
    assert not late, f"nobody has woken {late} at {world.clock.now()}"
    assert held.open == {tenant for tenant in reference.tenants if reference.open_ended(tenant)}
    counts = Counter(record["state"] for record in reference.tenants.values())
    assert +held.counts == counts, f"counts of {partition}: {held.counts} and not {counts}"
    outcomes = {key: OperationRecord.unpack(packed) for key, (packed, _) in held.operations.items()}
    told = {key: {**document} for key, document in reference.commands.items()}
    assert_fold({key[1] + key[0]: _remembered(item) for key, item in outcomes.items()},
                {key[1] + key[0]: _without(item, "asked") for key, item in told.items()})  # fmt: skip


def _check_states(world: Surroundings, partition: int, reference: Reference) -> None:
    """The last state of each key is the present one, and no reader was ever shown what the log does not say."""
    last: Document = {}
    said = {(key, _position(value)): _shown(value) for key, value in reference.states if value is not None}
    for record in world.broker.history(world.topics.states, partition):
        key = (record.key or b"").decode()
        value = None if record.value is None else from_json(record.value)
        last[key] = _shown(value)
        if value is not None:
            position = _position(value)
            assert said.get((key, position)) == last[key], f"{key} was shown what {position} does not say: {value}"
    assert_fold(last, {key: _shown(value) for key, value in reference.states})


def _check_rows(world: Surroundings, partition: int, log: list[LogRecord], reference: Reference) -> None:
    """The audit, repeats dropped by id, is the reference's; every command has one outcome, and no timer was early."""
    records = world.broker.history(world.topics.transitions, partition)
    rows = [from_json(record.value or b"") for record in records]
    assert_once(rows)
    by_id = {row["id"]: _without(row, "decision") for row in rows}
    assert_fold(by_id, {row["id"]: row for row in reference.rows})
    assert_answered(_commands(log), rows)
    clocks = {record.offset: record.timestamp for record in log}
    latest = max(clocks.values(), default=0)
    assert all(row["at"] <= latest for row in rows), "something was settled before its time"


def _check_alone(world: Surroundings, partition: int, log: list[LogRecord], reference: Reference) -> None:
    """One tenant, folded alone with the rules, is what it is among the others."""
    if not reference.tenants:
        return
    tenant = world.random.choice(sorted(reference.tenants))
    alone = Reference(partition)
    for record in log:
        if record.key in (None, tenant.encode()):
            alone.read(record, world.partitions)
    assert_isolated({tenant: alone.document(tenant)}, {tenant: reference.document(tenant)})


def _commands(log: list[LogRecord]) -> list[tuple[str, str]]:
    found = []
    for record in log:
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError:
            continue
        if isinstance(event, CommandEvent):
            found.append((event.subject, event.data.operation_id))
    return found


def _remembered(operation: OperationRecord) -> Document:
    document = _without(operation._asdict(), "detail", "decision")
    for name in ("state", "previous_state", "target_state"):
        document[name] = None if document[name] is None else LABELS[document[name]]
    return document


def _position(document: Document) -> str:
    return str(document["position"])


def _shown(document: Document | None) -> Document | None:
    """Return what a version of a state record stands for: a repair may know a later clock of the same version."""
    if document is None or "claims" not in document:
        return document
    claims = [_without(claim, "occurred_at") for claim in document["claims"]]
    return {**_without(document, "clock", "rules_number"), "claims": claims}


def _without(document: Document, *names: str) -> Document:
    return {name: value for name, value in document.items() if name not in names}
