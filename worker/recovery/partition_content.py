"""What a rebuild makes of a partition. Pure."""

from typing import NamedTuple

from schemas.domain.policy import Rules
from schemas.domain.record import Record
from schemas.wire.operation import OperationRecord
from worker.ports import OperationKey, Output


class PartitionContent(NamedTuple):
    """What Redis is to hold of a partition, and what its topics lack since a worker died before the acknowledgement.

    Attributes:
        next: the offset of the next event.
        timestamp, crc: of the last event, None if the log held none.
        operations: the living commands, and those that a repeated command may still need.
        states, transitions, dead_letters: the outputs that the topics lack.
        ignored: tenants with a state from beyond the log's end that another program wrote, and its offset.
        highest: the highest timestamp of any event before `next`, as far as it is known; ms.
    """

    partition: int
    partitions: int
    next: int
    timestamp: int | None
    crc: int | None
    records: dict[str, Record]
    operations: dict[OperationKey, OperationRecord]
    rules: list[Rules]
    states: list[Output]
    transitions: list[Output]
    dead_letters: list[Output]
    ignored: dict[str, int]
    highest: int

    @property
    def swept(self) -> int:
        """The rules that every tenant has certainly met."""
        return min((record.rules_number for record in self.records.values()), default=len(self.rules) - 1)
