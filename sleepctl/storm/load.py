"""Sends a storm at a rate, for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

from schemas.kafka.partitioner import partition_of
from sleepctl.io.breaker_events import breaker_event
from sleepctl.io.kafka import Appended
from sleepctl.storm.mix import Reported, Storm
from sleepctl.ui.errors import CommandError

TICK_SECONDS: Final = 0.05
MOST_WAITING: Final = 10_000
"""How many events may wait for their acknowledgement. Above that the storm is slower than asked."""
EMBEDDED_RATE: Final = 500.0
"""Events a second on the embedded broker, which keeps at most 100,000 records of a partition."""
EMBEDDED_EVENTS: Final = 50_000


class Events(Protocol):
    """A topic's log; see `KafkaLog`."""

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        ...

    async def appended(self, topic: str, partition: int, key: bytes | None, value: bytes) -> Appended:
        """Append a record, and return its place."""
        ...


class Sent(NamedTuple):
    """What a storm came to.

    Attributes:
        sent: how many events were acknowledged.
        failed: how many were not.
        seconds: how long it took.
        calmed: how many breakers were closed at the end.
        capped: whether the embedded broker lowered rate or number.
        failure: the first reason of a failure.
    """

    sent: int
    failed: int
    seconds: float
    calmed: int
    capped: bool
    failure: str | None


class Load:
    """Sends events.

    Args:
        log: takes them.
        topic: the topic.
        advance: gets the number of events that were acknowledged since the last call.
        seconds: a clock that nobody sets, in seconds.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        log: Events,
        topic: str,
        advance: Callable[[int], object] = id,
        seconds: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._topic = topic
        self._advance = advance
        self._seconds = seconds
        self._pause = pause
        self._partitions = 0
        self._sent = self._failed = 0
        self._failure: str | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    async def send(self, storm: Storm, rate: float, seconds: float, *, calm: bool) -> Sent:
        """Send a storm.

        Args:
            storm: its events.
            rate: how many begin in a second.
            seconds: for how long they begin.
            calm: whether all breakers are closed at the end.

        Raises:
            CommandError: if the topic is missing, or the first event is not acknowledged.
        """
        self._partitions = await self._log.partitions(self._topic)
        began = self._seconds()
        most = max(1, round(rate * seconds))
        # The first acknowledgement tells which broker it is.
        embedded = not (await self._append(*storm.next())).stamped
        self._sent += 1
        self._advance(1)
        asked = (rate, most)
        if embedded:
            rate, most = min(rate, EMBEDDED_RATE), min(most, EMBEDDED_EVENTS)
        begun = 1
        while True:
            passed = min(self._seconds() - began, seconds)
            due = min(most, int(passed * rate) + 1)
            for _ in range(min(due - begun, MOST_WAITING - len(self._waiting))):
                self._begin(*storm.next())
                begun += 1
            if begun >= most or passed >= seconds:
                break
            await self._pause(TICK_SECONDS)
        await self._all_acknowledged()
        took = self._seconds() - began
        counted = self._sent
        calmed = await self._calm(storm.calm()) if calm else 0
        return Sent(counted, self._failed, took, calmed, (rate, most) != asked, self._failure)

    async def _calm(self, events: Iterable[tuple[Reported, dict[str, Any]]]) -> int:
        count = 0
        for who, data in events:
            self._begin(who, data)
            count += 1
            if len(self._waiting) >= MOST_WAITING:
                await self._all_acknowledged()
        await self._all_acknowledged()
        return count

    def _begin(self, who: Reported, data: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._one(who, data))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _one(self, who: Reported, data: dict[str, Any]) -> None:
        try:
            await self._append(who, data)
        except CommandError as error:
            self._failed += 1
            self._failure = self._failure or str(error)
            return
        self._sent += 1
        self._advance(1)

    async def _append(self, who: Reported, data: dict[str, Any]) -> Appended:
        value = breaker_event(who.tenant, data, str(uuid4()))
        partition = partition_of(who.tenant, self._partitions)
        return await self._log.appended(self._topic, partition, who.tenant.encode(), value)

    async def _all_acknowledged(self) -> None:
        while self._waiting:
            await asyncio.wait(self._waiting)
