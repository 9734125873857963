"""What a lane published, found on its topics once more, and rebuilt from them and the log."""

import json
from base64 import b64encode
from collections.abc import Sequence

from schemas.domain.record import Record
from schemas.redis.command_memory import unpack
from schemas.wire.operation import OperationRecord
from tests.support.batches import Lane
from tests.support.events import Document, breaker
from tests.support.records import Source, source
from tests.support.times import T
from worker.fold.written import pack_operation
from worker.ports import OperationKey, Output
from worker.recovery.audit import Audit
from worker.recovery.dead_letters import DeadLetter
from worker.recovery.evidence import PartitionEvidence, settled_before
from worker.recovery.partition_content import PartitionContent
from worker.recovery.plan import Action
from worker.recovery.replay import Replay
from worker.recovery.skipped_records import SkippedRecords
from worker.recovery.states_history import StatesHistory

LATER = T * 2


def topic(outputs: Sequence[Output]) -> list[Source]:
    """Return outputs as the records of a topic."""
    return [Source(offset, T, key, value, headers) for offset, (key, value, headers) in enumerate(outputs)]


def compacted(records: Sequence[Source]) -> list[Source]:
    """Return what compaction leaves: the last record of each key, tombstones among them."""
    last = {record.key: record for record in records}
    return [record for record in records if last[record.key] is record]


def evidence_of(
    states: Sequence[Source],
    rows: Sequence[Source],
    start: int,
    end: int,
    committed: int | None = None,
    dead_letters: Sequence[Output] = (),
) -> PartitionEvidence:
    """Return what is found of a partition with these topics."""
    skipped = set_aside(dead_letters)
    history = StatesHistory(0, 1, settled=settled_before(start, committed), skipped=skipped)
    audit = Audit(0, max(start, committed or 0), skipped)
    for record in states:
        history.read(record)
    for record in rows:
        audit.read(record)
    return PartitionEvidence(0, 1, history, audit, start, end, committed, skipped)


def set_aside(dead_letters: Sequence[Output]) -> SkippedRecords:
    """Return the skipped records, by their dead letters."""
    skipped = SkippedRecords(0, 1)
    for record in topic(dead_letters):
        skipped.read(record, DeadLetter.of(record))
    return skipped


def rebuilt(
    what: PartitionEvidence, log: Sequence[Source], action: Action = Action.RESUME_FROM_STATES
) -> PartitionContent:
    """Return what a rebuild makes of it."""
    replay = Replay(what, action)
    read = [record for record in log if replay.start <= record.offset < replay.next]
    for number in range(0, len(read), 7):
        replay.read(read[number : number + 7])
    return replay.finished(LATER)


def stored(what: PartitionContent) -> dict[OperationKey, OperationRecord]:
    """Return the commands of a rebuilt partition as its store will hold them."""
    packed = {key: pack_operation(record, what.records.get(key[0])) for key, record in what.operations.items()}
    return {key: unpack(record, 0, *key) for key, record in packed.items()}


def assert_the_same_commands(what: PartitionContent, lane: Lane, start: int) -> None:
    """Every command that a lane remembers is back, and no other that the partition has not forgotten.

    A row does not tell the TTL of an operation from before `start`, so that it may be forgotten sooner. A log without
    its beginning may not tell the highest timestamp, so that others may be forgotten later.
    """
    remembered = lane.commands()
    expected = {
        key for key, each in remembered.items() if each.type != "operation" or each.refused or each.offset >= start
    }
    assert expected <= what.operations.keys()
    assert {key for key, each in what.operations.items() if not each.is_forgotten(lane.highest)} <= remembered.keys()


def records_of(lane: Lane) -> dict[str, Record]:
    """Return the records of a lane."""
    pairs = ((tenant, lane.record(tenant)) for tenant in lane.packed)
    return {tenant: record for tenant, record in pairs if record is not None}


def log_of(*documents: Document, step: int = 10) -> list[Source]:
    """Return a log from offset 0 on, an event every 10 ms."""
    return [source(offset, T + step * offset, document) for offset, document in enumerate(documents)]


def decodable_since(offset: int) -> list[Source]:
    """Return records at an offset that earlier versions set aside and this one decodes: each would wake the tenant."""
    closed, at = breaker("closed"), T + 10 * offset
    data = json.dumps(closed["data"]).encode()
    attributes = {name: str(value).encode() for name, value in closed.items() if name != "data"}
    other_names = [(f"CE-{name}", value) for name, value in attributes.items()]
    without_data = {name: value for name, value in closed.items() if name != "data"}
    return [
        source(offset, at, breaker("CLOSED")),
        source(offset, at, breaker("closed", time="2026-11-22T09:27:17.1234567890Z")),
        source(offset, at, without_data | {"data_base64": b64encode(data).decode()}),
        source(offset, at, without_data | {"data": data.decode()}),
        Source(offset, at, b"acme", b"\xef\xbb\xbf" + json.dumps(closed).encode()),
        Source(offset, at, b"acme", data, other_names),
    ]
