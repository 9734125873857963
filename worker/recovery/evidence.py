"""What the topics say of a partition before its log is read. Pure."""

from typing import NamedTuple

from worker.recovery.audit import Audit
from worker.recovery.skipped_records import SkippedRecords
from worker.recovery.states_history import StatesHistory


class PartitionEvidence(NamedTuple):
    """What the topics say of a partition before its log is read.

    Attributes:
        partition, partitions: the partition's number, and how many partitions there are.
        history: its states, read to the end.
        audit: its transitions, read to the end.
        start, end: the range of its events.
        committed: the offset that the workers' group has committed, None if the group has committed none.
        skipped: the events that became dead letters.
    """

    partition: int
    partitions: int
    history: StatesHistory
    audit: Audit
    start: int
    end: int
    committed: int | None
    skipped: SkippedRecords | None = None

    @property
    def applied(self) -> int:
        """The offset after the last event that was certainly applied."""
        return max(self.history.newest + 1, self.audit.newest + 1, self.committed or 0)

    @property
    def absent_until(self) -> int:
        """The offset at which a tenant without a state on the topic had no record; 0 if that is unknown.

        A log from offset 0 on says it better. A log that ends before the committed offset may be another one.
        """
        committed = self.committed or 0
        return committed if self.start and committed <= self.end else 0

    @property
    def states_beyond_end(self) -> dict[str, int]:
        """The tenants with a state from beyond the log's end, and its offset; sorted by tenant."""
        highest = {tenant: versions.highest.offset for tenant, versions in self.history.tenants.items()}
        return {tenant: offset for tenant, offset in sorted(highest.items()) if offset >= self.end}

    @property
    def beyond_end_is_foreign(self) -> bool:
        """Whether another program wrote the states from beyond the end.

        That is so where the committed offset and the audit both lie within the log.
        """
        return self.committed is not None and max(self.committed, self.audit.newest + 1) <= self.end


def settled_before(start: int, committed: int | None) -> int | None:
    """Return the offset of the events topic before which a tenant's latest state is the one to begin with.

    All outputs of events before `committed` were acknowledged. Events before `start` are gone, so a state before them
    would lack them. None: every state is from before that offset.
    """
    return None if committed is None else max(committed, start)
