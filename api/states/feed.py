"""The list of all tenants' states in this process: filled from Redis, and moved by one tail of the states topic.

It is kept while a client is connected, and for `LINGER_SECONDS` after the last one left. A client is served once the
topic was read to the end that it had when the list was filled.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

import structlog

from api.adapters.dependency import Dependency, UnavailableError
from api.adapters.redis_states import StateRows
from api.adapters.transitions import LOST, OffsetRange, OpenReader, Reader
from api.observability.metrics import Metrics
from api.states.audience import Audience, Client, End
from api.states.board import Event, PartitionList
from api.states.loading import load
from api.states.rows import TenantRow, row_of, row_of_record
from schemas.clock import Clock
from schemas.kafka.source_record import SourceRecord

REMEMBERED: Final = 65_536
"""Tenants of all partitions whose latest change is known. Each takes about 200 bytes."""
EARLIER_RECORDS: Final = 16_384
"""Records of all partitions that are read although Redis has them, so that clients of another process resume here."""
IDLE_SECONDS: Final = 1.0
"""After this long without a record the broker is asked whether it is still there."""
LINGER_SECONDS: Final = 30.0
"""How long the list is kept after the last client left. A client that reconnects comes back within seconds."""
START_SECONDS: Final = 20.0
"""How long a client waits for the list. It is filled further while the client tries again."""
REACH_SECONDS: Final = 2.0
"""How long a client waits until the topic is read up to its id, which another process gave."""
_STALE_SECONDS: Final = 3_600.0
"""After this long without Kafka the list is filled anew."""
_DOUBT_SECONDS: Final = 0.2
_READ: Final = "the states are read"
_IDLE: Final = "no client follows the states; they are read once one connects"
log = structlog.get_logger(__name__)


class StatesFeed:
    """Keeps the list for all clients.

    Args:
        open_reader: connects to the states topic.
        rows: the records in Redis.
        require_known: raises UnavailableError for a partition that is incomplete in Redis, and was used.
        partitions: how many there are.
        dependency: is marked up while the topic is read.
        metrics: counts the streams.
        clock: the log's time, in milliseconds.
        now: a monotonic clock, in seconds.
    """

    lost = (*LOST, UnavailableError)

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        open_reader: OpenReader,
        rows: StateRows,
        require_known: Callable[[int], Awaitable[None]],
        partitions: int,
        dependency: Dependency,
        metrics: Metrics,
        clock: Clock,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partitions = partitions
        self.clock = clock
        self._open_reader = open_reader
        self._rows = rows
        self._require_known = require_known
        self._dependency = dependency
        self._metrics = metrics
        self._now = now
        self._lists: list[PartitionList] = []
        self._audience = Audience()
        self._clients: set[Client] = set()
        self._released = False
        self._read_until = now()
        self._heard_at = now()
        self._opened = asyncio.Event()
        # Set while the list is complete, or after the last attempt to fill it has failed.
        self._settled = asyncio.Event()
        # Why Redis did not fill the list, None if it did.
        self._failure: UnavailableError | None = None
        self._moved = asyncio.Condition()

    # For clients

    @contextmanager
    def listener(self) -> Iterator[Client]:
        """Make a client for the block, afterwards forgotten with all that waits for it."""
        client = Client()
        if self._released:
            client.end("stopping")
        self._clients.add(client)
        self._opened.set()
        self._metrics.streams.inc()
        try:
            yield client
        finally:
            self._metrics.streams.dec()
            self._clients.discard(client)
            self._audience.leave(client)
            self._read_until = self._now() + LINGER_SECONDS

    async def complete(self) -> None:
        """Wait until the list is complete. A client must be there, since nothing is read without one.

        Raises:
            UnavailableError: if it is not complete in time, or cannot be filled.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._settled.wait()
        except TimeoutError:
            finding = f"the states were not read within {START_SECONDS:g} s, and are read further"
            raise UnavailableError("kafka" if self._lists else "redis", finding, finding) from None
        self.require()

    def require(self) -> None:
        """Go on only if the last attempt to read the states did not fail.

        Raises:
            UnavailableError: if it did.
        """
        if not self._dependency.up:
            failure = self._failure or UnavailableError("kafka", "")
            raise UnavailableError(failure.dependency, f"states: {self._dependency.finding}", failure.detail)

    async def require_whole(self, partitions: Sequence[int]) -> None:
        """Require that Redis still has all data of these partitions.

        Raises:
            UnavailableError: if not.
        """
        begun = [number for number in partitions if self._present()[number].begun]
        if begun and (reason := await self._rows.incomplete(begun)):
            raise UnavailableError("redis", reason, f"{reason}, so nothing is known of its tenants")

    async def reach(self, offsets: Mapping[int, int]) -> None:
        """Wait a moment until the topic is read up to an id of another process."""
        try:
            async with asyncio.timeout(REACH_SECONDS), self._moved:
                await self._moved.wait_for(
                    lambda: all(self._present()[number].next >= offset for number, offset in offsets.items())
                )
        except TimeoutError:
            return

    def attach(self, client: Client, keys: Sequence[str] | None) -> list[PartitionList]:
        """Give a client the events with these keys from now on, all with None, and return the lists by partition.

        Raises:
            UnavailableError: if the lists are being filled anew.
        """
        lists = self._present()
        self._audience.join(client, keys)
        return lists

    def _present(self) -> list[PartitionList]:
        """Return the lists.

        Raises:
            UnavailableError: if they are being filled anew; then all clients have been ended.
        """
        if not self._lists:
            finding = "the states topic is not where it was, and the states are read again"
            raise UnavailableError("kafka", finding, finding)
        return self._lists

    def release(self) -> None:
        """End all streams, present and to come: the process is stopping."""
        self._released = True
        self._end_all("stopping")

    def _end_all(self, reason: End) -> None:
        for client in self._clients:
            client.end(reason)

    # The tail

    async def run(self) -> NoReturn:
        """Keep the list while somebody follows it; for `dependency.keep`.

        Raises:
            UnavailableError: if Redis does not answer, or a partition is incomplete there.
        """
        try:
            while True:
                if not self._wanted():
                    self._rest()
                await self._opened.wait()
                self._failure = None
                async with self._open_reader() as reader:
                    await self._follow(reader)
                    # Before the reader closes, which takes a while: a client that comes now waits for the next one.
                    self._rest()
        finally:
            self._settled.set()

    def _wanted(self) -> bool:
        return bool(self._clients) or self._now() < self._read_until

    def _rest(self) -> None:
        """Forget everything: nobody follows."""
        self._lists = []
        self._opened.clear()
        self._settled.clear()
        self._dependency.mark_up(_IDLE)

    async def _follow(self, reader: Reader) -> None:
        """Fill the list if necessary, and move it until nobody follows."""
        bounds = await reader.bounds(range(self.partitions))
        if not self._goes_on(bounds):
            if self._lists:
                log.warning("states_not_where_they_were", streams=len(self._clients))
                self._end_all("lost")
            self._lists = []
            self._settled.clear()
            self._lists = await self._load(bounds)
            bounds = await reader.bounds(range(self.partitions))
        reader.seek({number: listed.next for number, listed in enumerate(self._lists)})
        complete = False
        doubted_at = self._now()
        while self._wanted():
            if not complete and all(self._lists[number].next >= offsets.end for number, offsets in bounds.items()):
                complete = True
                for listed in self._lists:
                    listed.caught_up()
                self._dependency.mark_up(_READ)
                self._settled.set()
            page = await reader.page(IDLE_SECONDS)
            self._heard_at = self._now()
            for record in page:
                self._take(record)
            async with self._moved:
                self._moved.notify_all()
            if not page:
                # Only this notices a broker that went away: an idle poll looks the same.
                await reader.bounds(range(self.partitions))
            for listed in self._lists:
                listed.expire(self.clock())
            if self._now() - doubted_at > _DOUBT_SECONDS:
                doubted_at = self._now()
                await self._settle_doubts()
            # A poll that finds records at once would let no stream send.
            await asyncio.sleep(0)

    async def _load(self, bounds: Mapping[int, OffsetRange]) -> list[PartitionList]:
        try:
            return await load(self._rows, self._require_known, bounds, self.clock, REMEMBERED, EARLIER_RECORDS)
        except UnavailableError as error:
            self._failure = error
            raise

    def _goes_on(self, bounds: Mapping[int, OffsetRange]) -> bool:
        """Tell whether the tail can continue where it ended."""
        return (
            bool(self._lists)
            and self._now() - self._heard_at < _STALE_SECONDS
            and all(offsets.start <= self._lists[number].next <= offsets.end for number, offsets in bounds.items())
        )

    def _take(self, record: SourceRecord) -> None:
        listed, now = self._lists[record.partition], self.clock()
        listed.pass_over(record.offset, record.timestamp, now)
        row = row_of(record)
        if isinstance(row, TenantRow):
            self._tell(listed.take(row, record.offset, now))
        elif row is not None:
            self._tell(listed.take_rules(row))

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            self._audience.tell(event)

    async def _settle_doubts(self) -> None:
        for listed in self._lists:
            if not listed.doubts:
                continue
            tenants = list(listed.doubts)[:500]
            try:
                doubted = await self._rows.doubted(listed.partition, tenants)
            except UnavailableError as error:
                log.warning("doubts_unsettled", partition=listed.partition, tenants=len(tenants), error=error.finding)
                return
            rows = {
                tenant: None if record is None else row_of_record(tenant, listed.partition, record, doubted.rules)
                for tenant, record in doubted.records.items()
            }
            for event in listed.settle(doubted.next, rows, self.clock()):
                self._tell(event)
