"""The servers of a simulation: a store that can lose its last second, and a broker with a clock of its own."""

import random
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tests.simulation.loop import Loop
from tests.support.fakes import FakeClock, FakeKafka, FakeLog, FakeStore, LogRecord
from tests.support.redis_contents import StoredPartition
from tests.support.times import NOW
from worker.ports import Commit

_T = TypeVar("_T")
WOBBLE_MS: Final = 400
"""How far the brokers' clock may go back."""


class TrueClock(FakeClock):
    """The time of the simulation, ms since the epoch."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def now(self) -> int:
        return NOW + round(self._loop.time() * 1000)


class Database(FakeStore):
    """The fake store, which integration tests hold against the scripts on a real Redis, with a past to fall back to.

    Attributes:
        commits: how many were accepted.
        applied: how many of them moved the position on: batches.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.faults.latency = _at_once
        self.commits = 0
        self.applied = 0
        self._loop = loop
        self._past: defaultdict[int, list[tuple[float, StoredPartition]]] = defaultdict(list)

    async def commit(self, partition: int, commit: Commit) -> bool:
        done = await super().commit(partition, commit)
        if done:
            self.commits += 1
            self.applied += commit.progress.next is not None
            self._past[partition].append((self._loop.time(), copy_of(self.partitions[partition])))
        return done

    def roll_back(self, seconds: float) -> None:
        """Be again what it was so many seconds ago, as a Redis is whose file lacks its last writes."""
        then = self._loop.time() - seconds
        for partition in list(self.partitions):
            self.partitions[partition] = copy_of(self.at(partition, seconds))
            self._past[partition] = [(time, stored) for time, stored in self._past[partition] if time <= then]

    def at(self, partition: int, seconds: float) -> StoredPartition:
        """Return what it held of a partition so many seconds ago."""
        before = [stored for time, stored in self._past[partition] if time <= self._loop.time() - seconds]
        return before[-1] if before else StoredPartition()

    def least_next(self, partition: int, seconds: float) -> int:
        """Return the lowest position at which a partition stood in the last so many seconds."""
        since = [stored.next for time, stored in self._past[partition] if time > self._loop.time() - seconds]
        return min([self.at(partition, seconds).next, *since])

    def lose(self) -> dict[int, StoredPartition]:
        """Forget everything, and return it."""
        lost = {partition: copy_of(stored) for partition, stored in self.partitions.items()}
        self.partitions.clear()
        return lost


class Broker(FakeKafka):
    """The topics, whose records are stamped by a clock that goes back now and then; nothing written is forgotten here.

    Attributes:
        wobbles: whether its clock does.
    """

    def __init__(self, clock: TrueClock, chance: random.Random) -> None:
        super().__init__(clock)
        self.wobbles = chance.random() < 0.5
        self._random = chance
        self._archive: defaultdict[tuple[str, int], list[LogRecord]] = defaultdict(list)

    def now(self) -> int:
        if self.wobbles and self._random.random() < 0.1:
            self.behind_ms = self._random.randrange(WOBBLE_MS)
        return super().now()

    def trim(self, log: FakeLog, start: int) -> None:
        """Have a log begin at an offset."""
        self._archive[log.topic, log.partition] += [item for item in log.records if item.offset < start]
        log.trim(start)

    def history(self, topic: str, partition: int) -> list[LogRecord]:
        """Return every record that a partition ever held."""
        return self._archive[topic, partition] + self.log(topic, partition).records


def copy_of(stored: StoredPartition) -> StoredPartition:
    """Return a copy of what the store holds of a partition; its values are never changed in place."""
    return StoredPartition(
        dict(stored.progress), dict(stored.tenants), dict(stored.timers), stored.counts.copy(), set(stored.open),
        dict(stored.operations), list(stored.ended), dict(stored.older), set(stored.receipts),
    )  # fmt: skip


async def _at_once() -> None:
    """A server does what it does in one step."""


def run_now(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    raise AssertionError("a server waits")
