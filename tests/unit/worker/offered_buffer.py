"""A fetch buffer with a clock, a log, and a note of what was acknowledged."""

import asyncio
from collections.abc import Sequence

import structlog
from structlog.testing import CapturingLogger

from tests.support.records import Source
from tests.support.times import T
from worker.partition.fetch_buffer import FetchBuffer, FetchedBatch


class Clock:
    """A clock that a test sets; each sleep is noted and moves it on."""

    def __init__(self, now: int = T) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += round(seconds * 1000)
        await asyncio.sleep(0)


class OfferedBuffer:
    """A fetch buffer with a clock, a log, and a note of what was acknowledged."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.logged = CapturingLogger()
        self.buffer = FetchBuffer(self.clock, structlog.wrap_logger(self.logged, processors=[_plain]))
        self.acknowledged: list[str] = []

    def offer(self, name: str, records: Sequence[Source], generation: int | None = None) -> None:
        """Offer a batch of the present generation, or of another."""
        wanted = self.buffer.generation if generation is None else generation
        self.buffer.offer(FetchedBatch(wanted, records), lambda: self.acknowledged.append(name))

    @property
    def warnings(self) -> list[str]:
        """The names of the events logged."""
        return [call.kwargs["event"] for call in self.logged.calls]


def _plain(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


def records(first: int, last: int, *, at: int = T, size: int = 1) -> list[Source]:
    """Return records of the log from one offset to another."""
    value = b"x" * size
    return [Source(offset, at, b"acme", value, ()) for offset in range(first, last + 1)]


def offsets(taken: Sequence[object]) -> list[int]:
    """Return the offsets of records."""
    return [record.offset for record in taken if isinstance(record, Source)]
