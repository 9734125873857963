"""Real readers of the Python client that follow all states while everything fails, through any API that runs.

A reader has one address, and an API that was killed comes back at another one. So a relay stands before the APIs, as a
load balancer does: it sends a connection to one of those that run, and the connection ends with that API.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from schemas.domain.state import SleepState
from sleep_client import AsyncSleepReader, ReaderStatus, SleepReader, TenantState
from sleep_client.open_reader import Change, OpenReader
from sleep_client.reading.intake import Changed, Intake
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.sse import EventParser
from sleep_client.reading.tenants import Tenants
from sleep_client.runtime.clock import seconds
from tests.faults.fleet import Fleet
from tests.faults.past import Past
from tests.support.states_server import event, ready

AGREEING_SECONDS: Final = 90.0
"""Longer than a reader waits after its last failure."""
_AHEAD_MS: Final = (0, 1_000, 60_000, 3_600_000)
"""Answers of forecasts are compared, too."""
_CHUNK: Final = 65_536


class Relay:
    """Forwards connections to the APIs that run, in turn: so two readers begin at two APIs."""

    def __init__(self, fleet: Fleet) -> None:
        self.connections = 0
        self._fleet = fleet

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve, and yield the address. Connections end with the block."""
        forwarding: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._forward(reader, writer))
            forwarding.add(task)
            task.add_done_callback(forwarding.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in forwarding:
                task.cancel()
            await asyncio.gather(*forwarding, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError):
            if self._fleet.doors:
                door = self._fleet.doors[self.connections % len(self._fleet.doors)]
                port = int(door.url.rpartition(":")[2])
                upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
                pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((reader, downstream), (upstream, writer))]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    downstream.transport.abort()
        writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()


class Watched:
    """What a reader has shown: the highest position of each tenant, and each step back.

    Attributes:
        changes: how often something has changed.
        lost: how often the stream was lost.
        back: the steps back, for people.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.changes = self.lost = 0
        self.back: list[str] = []
        self._highest: dict[str, int] = {}

    def see(self, offsets: dict[str, int], change: Change) -> None:
        """Take what a reader knows after a change, with the offset of each listed tenant."""
        self.changes += 1
        self.lost += change.tenants is None and change.status is ReaderStatus.STALE
        for tenant in offsets if change.tenants is None else change.tenants & offsets.keys():
            offset, before = offsets[tenant], self._highest.get(tenant, -1)
            if offset < before:
                self.back.append(f"{self.name}: {tenant} went from {before} back to {offset}")
            self._highest[tenant] = max(offset, before)


class Readers:
    """A reader with a thread and one for asyncio.

    Attributes:
        watched: what each has shown.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.watched: list[Watched] = []
        self._fleet = fleet
        self._relay = Relay(fleet)
        self._readers: list[OpenReader] = []

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[None]:
        """Follow all states until the end of the block."""
        token = self._fleet.doors[0].token("watcher", "sleep:read-any")
        async with self._relay.serve() as url:
            threaded = SleepReader(url, token, on_change=self._watch(0))
            self._readers.append(threaded)
            try:
                async with AsyncSleepReader(url, token, on_change=self._watch(1)) as looped:
                    self._readers.append(looped)
                    await looped.wait_ready(AGREEING_SECONDS)
                    await asyncio.to_thread(threaded.wait_ready, AGREEING_SECONDS)
                    yield
            finally:
                await asyncio.to_thread(threaded.close)

    def _watch(self, number: int) -> Callable[[Change], None]:
        watched = Watched(("SleepReader", "AsyncSleepReader")[number])
        self.watched.append(watched)

        def changed(change: Change) -> None:
            # Called where the reader writes, so nothing changes meanwhile; maybe before the caller has the reader.
            if len(self._readers) > number:
                watched.see(_offsets(self._readers[number]), change)

        return changed

    async def agree(self, pasts: Sequence[Past]) -> None:
        """Wait until each reader is ready, and answers as the fold of the whole log does.

        Raises:
            AssertionError: if one went back on its way, or does not come to the fold.
        """
        back = [step for watched in self.watched for step in watched.back]
        assert not back, back[:10]
        deadline = time.monotonic() + AGREEING_SECONDS
        while True:
            await asyncio.gather(*(past.read_on() for past in pasts))
            expected = await asyncio.to_thread(fold_of, pasts)
            found = [text for reader in self._readers for text in differences(reader, expected, pasts)]
            if not found:
                return
            assert time.monotonic() < deadline, found[:10]
            await asyncio.sleep(1)

    @property
    def lost(self) -> int:
        """How often streams were lost."""
        return sum(watched.lost for watched in self.watched)


def fold_of(pasts: Sequence[Past]) -> Tenants:
    """Return what a reader must know of these logs, from the second fold."""
    tenants, parser = Tenants(None, None), EventParser()
    intake = Intake(tenants, LogClock(), ParameterReader(), Changed(), "")
    parts = []
    for past in pasts:
        reference, number = past.reference, past.partition
        active = reference.rules[-1].terms.schedule[SleepState.active].as_json()
        rules = {"partition": number, "partitions": len(pasts), "number": 0, "position": None, "active": active}
        parts.append(event("rules", rules))
        parts += [event("state", reference.document(tenant)) for tenant in reference.tenants]
    for each in parser.feed(b"".join(parts) + ready(max(past.reference.highest for past in pasts))):
        intake.take(each, seconds())
    tenants.stale = False
    return tenants


def differences(reader: OpenReader, expected: Tenants, pasts: Sequence[Past]) -> list[str]:
    """Return where a reader answers otherwise than expected, now and later."""
    if reader.status is not ReaderStatus.READY:
        return [f"{type(reader).__name__} is {reader.status.value}"]
    now = reader._log_time(seconds())  # noqa: SLF001 - nobody else has to know it
    found = []
    for tenant in (tenant for past in pasts for tenant in past.reference.tenants):
        for at in (now + ahead for ahead in _AHEAD_MS):
            said: tuple[TenantState, TenantState] = (_tenants(reader).at(tenant, at), expected.at(tenant, at))
            if said[0] != said[1]:
                found.append(f"{type(reader).__name__} says of {tenant} at {at}: {said[0]}, and the fold {said[1]}")
    return found


def _tenants(reader: OpenReader) -> Tenants:
    return reader._tenants  # noqa: SLF001 - positions and later answers are not for callers


def _offsets(reader: OpenReader) -> dict[str, int]:
    known = _tenants(reader)._known  # noqa: SLF001 - as above
    return {} if known is None else {tenant: listed.offset for tenant, listed in known.records.items()}
