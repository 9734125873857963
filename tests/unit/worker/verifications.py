"""A comparison that has read what a lane published, and what it finds."""

from collections.abc import Sequence

from schemas.redis.progress import Progress
from tests.support.batches import Lane
from tests.support.records import Source
from tests.unit.worker.rebuilds import set_aside, topic
from worker.recovery.audit import Audit
from worker.recovery.compare import Comparison
from worker.recovery.differences import Difference
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.states_history import StatesHistory


def verification(
    lane: Lane, log: Sequence[Source], *, start: int = 0, states: Sequence[Source] | None = None, cut: int | None = None
) -> Comparison:
    """Return a comparison that has read what a lane published, and the log from an offset on."""
    end = log[-1].offset + 1 if cut is None else cut
    skipped = set_aside(lane.dead_letters)
    history, audit = StatesHistory(0, 1, before=end, settled=start, skipped=skipped), Audit(0, end, skipped)
    for record in topic(lane.states) if states is None else states:
        history.read(record)
    for record in topic(lane.transitions) if start or skipped else []:
        audit.read(record)
    comparison = Comparison(PartitionEvidence(0, 1, history, audit, start, end, end, skipped))
    comparison.replay.read([record for record in log if start <= record.offset < end])
    return comparison


def redis(verified: Comparison, lane: Lane) -> list[Difference]:
    """Return what differs in a lane's store."""
    return verified.redis(sorted(verified.tenants() | lane.packed.keys()), lane.packed, lane.rules)


def commands(verified: Comparison, lane: Lane) -> list[Difference]:
    """Return what differs of the commands in a lane's store."""
    stands = Progress.unpack({b"layout": b"3", b"highest": str(lane.highest).encode()})
    return list(verified.operations(lane.operations, stands).values())
