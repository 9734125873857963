"""What a partition must hold after a run, whatever happened to it: the invariants of specification.md#invariants.

Simulations and fault tests compare what they found with `tests.support.reference`, a fold written separately.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.domain.record import unpack
from schemas.domain.state import LABELS
from schemas.kafka.source_record import SourceRecord
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.redis.progress import Progress
from schemas.wire.cloudevents import UndecodableError, decode
from schemas.wire.events import CommandEvent
from schemas.wire.operation import OperationRecord
from schemas.wire.state_record import NEW_HEADER, parse_position
from schemas.wire.tenant_view import state_record
from tests.support.invariants import (
    assert_answered,
    assert_bounded,
    assert_fold,
    assert_isolated,
    assert_monotone,
    assert_once,
    assert_reversible,
)
from tests.support.redis_contents import StoredPartition
from tests.support.reference import Reference

Document = dict[str, Any]
# The audit row of a command does not tell these; see `worker.recovery.audit`.
NOT_IN_AUDIT: Final = ("target_state", "expires_at", "cancelled_at", "trace_id")


class PartitionOutcome(NamedTuple):
    """What was found of a partition once everybody was at rest.

    Attributes:
        partition, partitions: its number, and how many there are.
        log, states, transitions: every record that its topics ever held.
        stored: what the store holds.
        now: the time then, ms.
        slack_ms: within which time a timer that is due is folded.
        audited: commands from before this offset may be known by their audit rows alone, since a rebuild brought
            them back from a log that no longer held them.
        forgets: whether a command may come again after it was forgotten, and so has another outcome.
        isolated: whether timestamps went back by less than a command is remembered after its end.
    """

    partition: int
    partitions: int
    log: Sequence[SourceRecord]
    states: Sequence[SourceRecord]
    transitions: Sequence[SourceRecord]
    stored: StoredPartition
    now: int
    slack_ms: int
    audited: int = 0
    forgets: bool = False
    isolated: bool = True


def check_partition(outcome: PartitionOutcome, reference: Reference, chance: random.Random) -> None:
    """Hold what was found against the reference, which has read the whole log.

    Raises:
        AssertionError: if anything differs.
    """
    _check_store(outcome, reference)
    _check_states(outcome, reference)
    _check_rows(outcome, reference)
    _check_alone(outcome, reference, chance)


def documents_of(stored: StoredPartition, partition: int) -> Document:
    """Return the state records of a partition's tenants, as the store holds them."""
    rules = Progress.unpack(stored.progress).rules
    records = {tenant: unpack(packed, rules) for tenant, packed in stored.tenants.items()}
    return {
        tenant: state_record(tenant, partition, record, rules[record.rules_number].terms_for(record.policy))
        for tenant, record in records.items()
    }


def _check_store(outcome: PartitionOutcome, reference: Reference) -> None:
    stored, partition, log = outcome.stored, outcome.partition, outcome.log
    progress = Progress.unpack(stored.progress)
    assert progress.next >= (log[-1].offset + 1 if log else 0), f"{partition} stands at {progress.next}"
    assert [item.document for item in progress.rules] == [item.document for item in reference.rules]
    for tenant, packed in stored.tenants.items():
        record = unpack(packed, progress.rules)
        assert record.rules_number == len(progress.rules) - 1, f"{tenant} was not told of the newest rules"
        terms = progress.rules[record.rules_number].terms_for(record.policy)
        assert_monotone(record.ramp, samples=5)
        assert_bounded(record, terms)
        assert_reversible(record, terms)
    assert_fold(documents_of(stored, partition), {tenant: reference.document(tenant) for tenant in reference.tenants})
    due = {tenant: reference.timer_due(tenant) for tenant in reference.tenants}
    assert stored.timers == {tenant: at for tenant, at in due.items() if at is not None}, f"timers of {partition}"
    late = {tenant: at for tenant, at in stored.timers.items() if at < outcome.now - outcome.slack_ms}
    assert not late, f"nobody has woken {late} at {outcome.now}"
    assert stored.open == {tenant for tenant in reference.tenants if reference.open_ended(tenant)}
    counts = Counter(record["state"] for record in reference.tenants.values())
    assert +stored.counts == counts, f"counts of {partition}: {stored.counts} and not {counts}"
    _check_operations(outcome, reference)


def _check_operations(outcome: PartitionOutcome, reference: Reference) -> None:
    """What a repeat is judged by is remembered as it was judged; what more is there is on its way out."""
    stored = outcome.stored
    packed = {**stored.older, **stored.operations}
    seen = {key: _remembered(unpack_operation(item, outcome.partition, *key)) for key, item in packed.items()}
    lives = {key for key, command in reference.commands.items() if reference.lives(command)}
    needed = {key for key, command in reference.commands.items() if key in lives or not reference.forgot(command)}
    expected = {key: without(reference.commands[key], "asked") for key in needed | seen.keys()}
    expected = {
        key: item if key in lives | stored.older.keys() else reference.texts_gone(item)
        for key, item in expected.items()
    }
    noted = {command for _, command in stored.ended}
    assert stored.operations.keys() - noted == lives - stored.older.keys(), "what has ended waits to be forgotten"
    for key, operation in seen.items():
        if key in expected and offset_of(expected[key]) < outcome.audited:
            expected[key] = as_audited(expected[key], operation)
    assert_fold({key[1] + key[0]: item for key, item in seen.items()},
                {key[1] + key[0]: item for key, item in expected.items()})  # fmt: skip


def _check_states(outcome: PartitionOutcome, reference: Reference) -> None:
    """The last state of each key is the present one, and no reader was ever shown what the log does not say."""
    last: Document = {}
    published = {(key, value["position"]): _shown(value) for key, value in reference.states if value is not None}
    for record in outcome.states:
        key = (record.key or b"").decode()
        value = None if record.value is None else from_json(record.value)
        last[key] = _shown(value)
        if NEW_HEADER in dict(record.headers):
            since = dict(record.headers)[NEW_HEADER] or b""
            known = reference.had_record(key, parse_position(since.decode())[1])
            assert not known, f"{key} was not new at {since!r}: {value}"
        if value is not None:
            position = value["position"]
            assert published.get((key, position)) == last[key], f"{key} was shown what {position} does not say: {value}"
    assert_fold(last, {key: _shown(value) for key, value in reference.states})


def _check_rows(written: PartitionOutcome, reference: Reference) -> None:
    """The audit, repeats dropped by id, is the reference's; every command has one outcome, and no timer was early."""
    rows = [from_json(record.value or b"") for record in written.transitions]
    assert_once(rows)
    by_id = {row["id"]: without(row, "decision") for row in rows}
    assert_fold(by_id, {row["id"]: row for row in reference.rows})
    if not written.forgets:
        assert_answered(commands_of(written.log), rows)
    latest = max((record.timestamp for record in written.log), default=0)
    assert all(row["at"] <= latest for row in rows), "something was settled before its time"


def _check_alone(outcome: PartitionOutcome, reference: Reference, chance: random.Random) -> None:
    """One tenant, folded alone with the rules, is what it is among the others."""
    if not (reference.tenants and outcome.isolated):
        return
    tenant = chance.choice(sorted(reference.tenants))
    alone = Reference(outcome.partition)
    for record in outcome.log:
        if record.key in (None, tenant.encode()):
            alone.read(record, outcome.partitions)
    assert_isolated({tenant: alone.document(tenant)}, {tenant: reference.document(tenant)})


def commands_of(log: Iterable[SourceRecord]) -> list[tuple[str, str]]:
    """Return tenant and id of every command in a log."""
    seen = []
    for record in log:
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError:
            continue
        if isinstance(event, CommandEvent):
            seen.append((event.subject, event.data.operation_id))
    return seen


def offset_of(document: Mapping[str, Any]) -> int:
    """Return the offset at which a document was made."""
    return int(document["position"].partition(":")[2])


def as_audited(command: Document, seen: Mapping[str, Any]) -> Document:
    """Return what is to be seen of a command whose rebuild may have had nothing but its audit row."""
    return command | {name: None for name in NOT_IN_AUDIT if name in command and seen.get(name) is None}


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
