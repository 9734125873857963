"""What a lane published, found on its topics once more, and rebuilt from them and the log."""

from collections.abc import Sequence

from schemas.record import Record
from tests.unit.worker.batches import Lane
from tests.unit.worker.build import Document, Source, T, source
from worker.ports import Output
from worker.recovery.aside import SetAside
from worker.recovery.audit import Audit
from worker.recovery.found import Found, settled_before
from worker.recovery.history import History
from worker.recovery.rebuild import Rebuild, Rebuilt
from worker.recovery.redrive import DeadLetter

LATER = T * 2


def topic(outputs: Sequence[Output]) -> list[Source]:
    """Return outputs as the records of a topic."""
    return [Source(offset, T, key, value, headers) for offset, (key, value, headers) in enumerate(outputs)]


def compacted(records: Sequence[Source]) -> list[Source]:
    """Return what compaction leaves: the last record of each key, tombstones among them."""
    last = {record.key: record for record in records}
    return [record for record in records if last[record.key] is record]


def found(
    states: Sequence[Source],
    rows: Sequence[Source],
    start: int,
    end: int,
    committed: int | None = None,
    letters: Sequence[Output] = (),
) -> Found:
    """Return what is found of a partition with these topics."""
    aside = set_aside(letters)
    history = History(0, 1, settled=settled_before(start, committed), aside=aside)
    audit = Audit(0, max(start, committed or 0), aside)
    for record in states:
        history.read(record)
    for record in rows:
        audit.read(record)
    return Found(history, audit, start, end, committed, aside)


def set_aside(letters: Sequence[Output]) -> SetAside:
    """Return what was set aside, by its dead letters."""
    aside = SetAside(0, 1)
    for record in topic(letters):
        aside.read(record, DeadLetter.of(record))
    return aside


def rebuilt(what: Found, log: Sequence[Source], *, other_log: bool = False, cut: bool = False) -> Rebuilt:
    """Return what a rebuild makes of it."""
    rebuild = Rebuild(0, 1, what, other_log=other_log, cut=cut)
    read = [record for record in log if rebuild.start <= record.offset < rebuild.next]
    for number in range(0, len(read), 7):
        rebuild.read(read[number : number + 7])
    return rebuild.finished(LATER)


def records_of(lane: Lane) -> dict[str, Record]:
    """Return the records of a lane."""
    pairs = ((tenant, lane.record(tenant)) for tenant in lane.packed)
    return {tenant: record for tenant, record in pairs if record is not None}


def log_of(*documents: Document, step: int = 10) -> list[Source]:
    """Return a log from offset 0 on, an event every 10 ms."""
    return [source(offset, T + step * offset, document) for offset, document in enumerate(documents)]
