"""What one client gets of the states: a snapshot or what it missed, and then every change."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from typing import Final

from api.errors.problems import ProblemError
from api.states import events
from api.states.audience import Client
from api.states.board import PartitionList, rules_event_key
from api.states.events import ResetError
from api.states.feed import StatesFeed
from api.streaming import sse
from api.streaming.session import CHUNK_BYTES, RETRY_MS
from schemas.kafka.partitioner import partition_of

AT_ONCE: Final = 4
"""Large snapshots, or large answers to an id, that are sent at the same time."""
LARGE: Final = 1_000
"""Tenants of a large snapshot. A smaller one takes about a megabyte, and needs no place."""
_RETRY_AFTER: Final = {"Retry-After": "2"}


_Tenants = tuple[PartitionList, list[str]]


class SnapshotPlaces:
    """The places for large snapshots of one process."""

    def __init__(self) -> None:
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for the block.

        Raises:
            ProblemError: `overloaded`, if there is none.
        """
        if self._taken >= AT_ONCE:
            raise ProblemError("overloaded", f"{AT_ONCE} snapshots are being sent; try again", headers=_RETRY_AFTER)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class StatesSession:
    """The content of a stream, without HTTP.

    Args:
        feed: keeps the list.
        places: for large snapshots.
        tenants: the tenants of the stream, None for all.
        last_id: the `Last-Event-ID` that the client sent.
    """

    def __init__(
        self, feed: StatesFeed, places: SnapshotPlaces, *, tenants: Sequence[str] | None, last_id: str | None
    ) -> None:
        self._feed = feed
        self._places = places
        self._tenants = tenants
        self._last_id = last_id
        numbers = range(feed.partitions)
        self._partitions = (
            list(numbers) if tenants is None else sorted({partition_of(tenant, feed.partitions) for tenant in tenants})
        )
        self._lists: list[PartitionList] = []

    async def chunks(self, client: Client, time_seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the stream's bytes for ever. The first chunk comes once the stream can begin.

        Args:
            client: gets the changes.
            time_seconds: how often the log's time is sent.

        Raises:
            UnavailableError: if a dependency does not answer, or a partition is not whole.
            ProblemError: `overloaded`, if too many snapshots are being sent.
        """
        async with aclosing(self._begin(client)) as start:
            async for chunk in start:
                yield chunk
        async with aclosing(self._changes(client, time_seconds)) as changes:
            async for chunk in changes:
                yield chunk

    async def _begin(self, client: Client) -> AsyncGenerator[bytes, None]:
        """Yield the snapshot, or what the client missed, up to `ready`."""
        await self._feed.complete()
        await self._feed.require_whole(self._partitions)
        begin = sse.retry(RETRY_MS)
        since: Mapping[int, int] | None = None
        if self._last_id:
            try:
                since = self._parse(self._last_id)
                await self._feed.reach(since)
            except ResetError as error:
                begin += events.reset(error)
        # Nothing is awaited until the client gets changes and the names are known, so no change comes in between.
        self._lists = self._feed.attach(client, self._keys())
        changed: list[_Tenants] | None = None
        if since is not None:
            try:
                changed = self._changed(since)
            except ResetError as error:
                begin += events.reset(error)
        snapshot = changed is None
        names = self._all() if changed is None else changed
        large = sum(len(of_list) for _, of_list in names) > LARGE
        with self._places.place() if large else nullcontext():
            yield begin + b"".join(self._lists[number].rules().body for number in self._partitions)
            for chunk in self._events(names, snapshot=snapshot):
                yield chunk
        offsets, left = self._offsets(), client.waiting
        while left:
            taken = client.take(left)
            left -= len(taken)
            yield b"".join(taken)
        yield events.id_line(offsets) + events.ready(self._feed.clock())

    async def _changes(self, client: Client, time_seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield what changes, and the log's time every so many seconds, for ever."""
        loop = asyncio.get_running_loop()
        next_time = loop.time() + time_seconds
        while True:
            if loop.time() >= next_time:
                next_time = loop.time() + time_seconds
                line = b"" if client.waiting else events.id_line(self._offsets())
                yield line + events.time(self._feed.clock())
            # What waits now is all until these offsets. An event that is replaced meanwhile keeps its place.
            offsets, left = self._offsets(), client.waiting
            while left:
                taken = client.take(left)
                left -= len(taken)
                if not left:
                    taken[-1] = events.id_line(offsets) + taken[-1]
                yield b"".join(taken)
            try:
                async with asyncio.timeout_at(next_time):
                    await client.wake.wait()
            except TimeoutError:
                continue

    def _parse(self, text: str) -> dict[int, int]:
        offsets = events.parse_id(text, self._feed.partitions)
        return {number: offsets[number] for number in self._partitions}

    def _keys(self) -> list[str] | None:
        if self._tenants is None:
            return None
        return [*self._tenants, *(rules_event_key(number) for number in self._partitions)]

    def _changed(self, since: Mapping[int, int]) -> list[_Tenants]:
        """Return the tenants that have changed, by partition.

        Raises:
            ResetError: if that is not known.
        """
        changed = [(self._lists[number], self._lists[number].changed(offset)) for number, offset in since.items()]
        if self._tenants is None:
            return changed
        wanted = frozenset(self._tenants)
        return [(states, [tenant for tenant in tenants if tenant in wanted]) for states, tenants in changed]

    def _all(self) -> list[_Tenants]:
        """Return the tenants of a snapshot, by partition."""
        if self._tenants is None:
            return [(states, list(states.entries)) for states in self._lists]
        return [(self._lists[partition_of(tenant, self._feed.partitions)], [tenant]) for tenant in self._tenants]

    def _events(self, names: list[_Tenants], *, snapshot: bool) -> Iterator[bytes]:
        """Yield the latest events of these tenants, in chunks: in a snapshot only of those that are listed.

        A tenant that changes meanwhile waits for the client too.
        """
        parts: list[bytes] = []
        size = 0
        for states, tenants in names:
            for tenant in tenants:
                body = states.listed(tenant, self._feed.clock()) if snapshot else states.latest(tenant)
                if not body:
                    continue
                parts.append(body)
                size += len(body)
                if size >= CHUNK_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
        if parts:
            yield b"".join(parts)

    def _offsets(self) -> list[int]:
        return [states.resumable for states in self._lists]
