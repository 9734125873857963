"""The ports of a lane: the store, the outputs, the reader, the clock, and the values that they exchange.

A worker implements them with Redis, Kafka and the clock of the machine, a test with fakes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from aiokafka.errors import KafkaError as OutputError
from redis.exceptions import RedisError as StoreError

from schemas.names import Topics
from schemas.redis.progress import Progress, ProgressUpdate
from schemas.wire.cloudevents import Headers

OperationKey = tuple[str, str]
"""The tenant of a command, and the id of the command."""


class PartitionStatus(NamedTuple):
    """The progress of a partition, and how many entries Redis really holds.

    Attributes:
        progress: as it was committed last.
        begun: whether there is any progress.
        records, timers, open: how many tenants have a record, have a timer, are open-ended.
        counted: the sum of the counts of tenants by state, -1 if a count is not a number.
        operations, ended: how many commands are remembered, and how many of them have ended.
    """

    progress: Progress
    begun: bool
    records: int
    timers: int
    counted: int
    open: int
    operations: int
    ended: int


LOAD_BYTES: Final = 8 << 20
"""The size of the records in one answer: the record that exceeds it is the last."""


class Loaded(NamedTuple):
    """Packed records and operations, in the order of the request; None for one that does not exist.

    If the records are too large for one answer, these are the first of them, at least one.
    """

    records: list[bytes | None]
    operations: list[bytes | None]


class Due(NamedTuple):
    """A page of due timers.

    Attributes:
        position: the partition's progress.
        timers: tenants with the times of their timers, ms.
        later: the time of the first timer that is not due yet, None if there is none.
        complete: whether Redis still holds as many timers as the last commit left.
    """

    position: int
    timers: list[tuple[str, int]]
    later: int | None
    complete: bool = True


class Index(NamedTuple):
    """What a partition holds besides its records.

    Attributes:
        timers: the time of each tenant's next timer, ms.
        counts: the number of tenants in each state, -1 if the value in Redis is not a number.
        open: tenants with a pin or an open-ended claim.
    """

    timers: dict[str, int]
    counts: dict[str, int]
    open: set[str]


_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Commit(NamedTuple):
    """What one commit writes, and the answers that it publishes. Times are in milliseconds.

    Attributes:
        position: where the partition must be, or else nothing is written.
        progress: the fields of the progress that change.
        records: the packed record of each tenant that has one.
        removed_records: tenants whose record is removed.
        timers: the time of each tenant's next timer.
        removed_timers: tenants without a next timer.
        count_changes: by how much the number of tenants in each state changes.
        open_ended: for each tenant, whether a pin or a claim without expiry keeps it asleep.
        operations: packed commands to remember.
        ended_operations: commands that are over: their texts are removed, and they are forgotten later.
        removed_receipts: commands whose receipts are removed.
        forget_to: commands that ended at this time or before are forgotten now; -1 for none.
        answers: the Redis channel of each caller that waits, with the packed outcome of the command.
    """

    position: int
    progress: ProgressUpdate
    records: Mapping[str, bytes] = _NOTHING
    removed_records: Sequence[str] = ()
    timers: Mapping[str, int] = _NOTHING
    removed_timers: Sequence[str] = ()
    count_changes: Mapping[str, int] = _NOTHING
    open_ended: Mapping[str, bool] = _NOTHING
    operations: Mapping[OperationKey, bytes] = _NOTHING
    ended_operations: Sequence[OperationKey] = ()
    removed_receipts: Sequence[OperationKey] = ()
    forget_to: int = -1
    answers: Sequence[tuple[str, bytes]] = ()


class Output(NamedTuple):
    """A record to send: key, value (None for a tombstone) and headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class TopicRecord(NamedTuple):
    """A record of a topic; `timestamp` in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Page(NamedTuple):
    """Records of a partition in order, and the offset from which to read on; no records at the partition's end."""

    records: list[TopicRecord]
    next: int


class Store(Protocol):
    """The tenants' records. Every method raises StoreError if the store does not answer."""

    async def partition_status(self, partition: int) -> PartitionStatus:
        """Return the status of a partition; ValueError if its progress cannot be read."""

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[OperationKey]
    ) -> Loaded | None:
        """Return records and operations, or None if the progress of the partition is not `position`.

        If the records exceed `LOAD_BYTES`, only the first of them are returned, and all of the operations.
        """

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a commit and publish its answers, all or nothing; False if progress is not at its position."""

    async def due(self, partition: int, after: int, now: int, skip: int, most: int) -> Due:
        """Return a page of the timers that are due at `now` and were not at `after` (ms; -1 for all).

        The page holds at most `most` of them, after the first `skip`.
        """

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Return the next cursor (0 at the end) and about `count` packed records."""


class Outputs(Protocol):
    """The records that a lane appends. Every method raises OutputError if Kafka does not acknowledge them."""

    @property
    def topics(self) -> Topics:
        """The names of the topics."""

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        """Append records in order and return the offset after the last one, None if there is none."""

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        """Append dead letters of a partition of the events topic."""


class FetchOffsetRange(Protocol):
    """Asks Kafka for the first offset and the end of a partition of the events topic."""

    async def __call__(self, partition: int) -> tuple[int, int]:
        """Return the first offset and the end; OutputError if the broker does not answer."""


class Reader(Protocol):
    """Reads pages of a topic, outside the consumer. Both methods raise OutputError if the broker does not answer."""

    async def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record of a partition."""

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        """Return at most `most` records from an offset on, or from the first offset if the log begins later."""


class Clock(Protocol):
    """Time."""

    def now(self) -> int:
        """Return the time in milliseconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


__all__ = [
    "LOAD_BYTES",
    "Clock",
    "Commit",
    "Due",
    "FetchOffsetRange",
    "Index",
    "Loaded",
    "OperationKey",
    "Output",
    "OutputError",
    "Outputs",
    "Page",
    "PartitionStatus",
    "Reader",
    "Store",
    "StoreError",
    "TopicRecord",
]  # fmt: skip
