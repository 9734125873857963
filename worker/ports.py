"""What a lane asks of the world outside: a store, outputs, the log's bounds, a clock.

The worker brings Redis, Kafka and the machine's clock; a test brings its own.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from aiokafka.errors import KafkaError as OutputError
from redis.exceptions import RedisError as StoreError

from schemas.cloudevents import Headers
from schemas.names import Topics
from schemas.progress import LAYOUT, Progress


class Standing(NamedTuple):
    """Where a partition stands: progress as it was committed last, and how much is really there.

    Attributes:
        progress: what the last commit said.
        begun: whether there is any progress at all.
        records, timers, counted, open: the numbers of tenants with a record, with a timer, in the counts by state (-1
            where one of these is no number), and among the open-ended ones.
    """

    progress: Progress
    begun: bool
    records: int
    timers: int
    counted: int
    open: int


class Loaded(NamedTuple):
    """Packed records and operations, in the order asked; None where there is none."""

    records: list[bytes | None]
    operations: list[bytes | None]


class Due(NamedTuple):
    """A page of due timers with their times, the partition's position, and the first time that is not due.

    `whole` is false where there are not as many timers as the last commit left.
    """

    position: int
    timers: list[tuple[str, int]]
    later: int | None
    whole: bool = True


class Index(NamedTuple):
    """What a partition holds beside its records.

    Attributes:
        timers: the time of each tenant's next timer, ms.
        counts: the number of tenants in each state, -1 where what is there is none.
        open: tenants with a pin or an open-ended claim.
    """

    timers: dict[str, int]
    counts: dict[str, int]
    open: set[str]


class Commit(NamedTuple):
    """Everything that one batch writes, and says. Times in milliseconds.

    An operation is tenant, id, packed record and how long its key stays; an answer is the channel of the caller who
    waits, and the packed record of the outcome.
    """

    position: int
    progress: dict[str, bytes | str | int]
    records: dict[str, bytes]
    removed: list[str]
    timers: dict[str, int]
    untimed: list[str]
    counts: dict[str, int]
    open_ended: dict[str, bool]
    operations: list[tuple[str, str, bytes, int]]
    answers: Sequence[tuple[str, bytes]] = ()

    @classmethod
    def of_progress(cls, position: int, progress: dict[str, bytes | str | int]) -> "Commit":
        """Return a commit of some fields of the progress of a partition that stays where it is.

        The script writes what the present layout knows, so the layout goes with it.
        """
        return cls(position, {"layout": LAYOUT, **progress}, {}, [], {}, [], {}, {}, [])


class Output(NamedTuple):
    """A record to send: key, value (None for a tombstone) and headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Kept(NamedTuple):
    """A record as its topic holds it; `timestamp` in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Page(NamedTuple):
    """Records of a partition in order, and the offset from which to read on; no records where nothing follows."""

    records: list[Kept]
    next: int


class Store(Protocol):
    """The tenants' records. Every method raises StoreError where the store does not answer."""

    async def standing(self, partition: int) -> Standing:
        """Return where a partition stands; ValueError where its progress cannot be read."""

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[tuple[str, str]]
    ) -> Loaded | None:
        """Return what a batch needs, or None where the partition does not stand at `position`."""

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a batch and its progress together, and answer; False where the partition no longer stands there."""

    async def due(self, partition: int, now: int, skip: int, most: int) -> Due:
        """Return a page of the timers due at `now`, in milliseconds."""

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Return the next cursor (0 at the end) and about `count` packed records."""


class Outputs(Protocol):
    """The records that a lane appends. Every method raises OutputError where they are not acknowledged."""

    @property
    def topics(self) -> Topics:
        """The names of the topics."""

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        """Append in order and return the offset after the last, None for nothing to send."""

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        """Append dead letters of a source partition."""


class Bounds(Protocol):
    """Asks for the first offset that a partition of the log still holds, and for its end."""

    async def __call__(self, partition: int) -> tuple[int, int]:
        """Return both; OutputError where the broker does not answer."""


class Reader(Protocol):
    """Looks back into the topics, beside the consumer. Both methods raise OutputError where the broker is away."""

    async def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record of a partition."""

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        """Return at most so many records from an offset on; from the start, where the log no longer holds it."""


class Clock(Protocol):
    """Time."""

    def now(self) -> int:
        """Return the time in milliseconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


__all__ = [
    "Bounds", "Clock", "Commit", "Due", "Index", "Kept", "Loaded", "Output", "OutputError", "Outputs", "Page", "Reader",
    "Standing", "Store", "StoreError",
]  # fmt: skip
