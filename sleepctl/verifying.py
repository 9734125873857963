"""What `sleepctl verify` does with a partition: reads its topics and Redis, folds, compares.

It looks at a cut: where Redis stood at first. Tenants that moved while they were read are looked at again, at the
place where Redis stands then, which one script reads together with their records. States from beyond the cut are a
worker's that has published and not committed yet, as long as Redis moves on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeVar

from schemas.errors import describe
from schemas.layout import NewerLayoutError
from schemas.settings import Settings
from sleepctl.errors import CommandError
from sleepctl.letters import Letters
from sleepctl.reader import Bounds, TopicReader
from sleepctl.rebuilding import now_ms
from worker.batch import OperationKey
from worker.ports import Index, Standing, StoreError
from worker.recovery.audit import Audit
from worker.recovery.found import Found
from worker.recovery.history import History, ImpossibleError
from worker.recovery.verify import Difference, Verification
from worker.start import OTHER_COUNT
from worker.store import Store
from worker.stored import REBUILD, rebuild_by_force

_PAGE: Final = 1_000
_LOOKS: Final = 100
_LOOK_PAGE: Final = 10_000
_PAUSE_SECONDS: Final = 0.05
Item = TypeVar("Item")


class Verified(NamedTuple):
    """A partition that was compared.

    Attributes:
        next: where Redis stood at first.
        behind: how many offsets before the log's end that was, None where it was not compared.
        tenants: how many tenants were compared.
        records: how many records of the log were folded.
        again: how many tenants moved meanwhile and were looked at again.
        believed: how many tenants began with a published state, since the log no longer reaches back.
    """

    partition: int
    next: int
    behind: int | None
    tenants: int
    records: int
    again: int
    believed: int
    differences: list[Difference]


class _Held(NamedTuple):
    """What Redis holds of some tenants and commands at one place."""

    records: dict[str, bytes | None]
    beside: Index
    operations: dict[OperationKey, bytes | None]


class Verifying:
    """A run of the command; see `open`."""

    def __init__(self, settings: Settings, reader: TopicReader, store: Store) -> None:
        self._settings = settings
        self._reader = reader
        self._store = store
        self._letters = Letters(settings, reader)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["Verifying"]:
        """Connect.

        Raises:
            CommandError: if Kafka does not answer.
        """
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(TopicReader(settings))
            store = Store.connect(settings)
            stack.push_async_callback(store.close)
            yield cls(settings, reader, store)

    async def verify(self, partition: int) -> Verified:
        """Compare a partition.

        Raises:
            CommandError: if something does not answer, or the topics hold what cannot be.
        """
        try:
            return await self._verify(partition)
        except ImpossibleError as error:
            raise CommandError(f"partition {partition} cannot be compared: {error}") from None
        except StoreError as error:
            raise CommandError(f"Redis does not answer: {describe(error)}") from None

    async def _verify(self, partition: int) -> Verified:
        try:
            standing = await self._store.standing(partition)
        except NewerLayoutError as error:
            return _unreadable(partition, f"progress: {error}")
        except ValueError as error:
            return _unreadable(partition, f"progress cannot be used: {error}; {rebuild_by_force(partition)}")
        cut = standing.progress.next
        start, end = (await self._bounds(self._settings.topics.events))[partition]
        if not start <= cut <= end:
            cure = rebuild_by_force(partition) if standing.begun and cut >= 0 else REBUILD
            what = f"progress is {cut} and the log holds {start} to {end}; {cure}"
            return _unreadable(partition, what, cut)
        verification = Verification(partition, self._settings.partitions, await self._found(partition, start, cut))
        # Asked after the states were read: a worker may have gone on.
        _, later = (await self._bounds(self._settings.topics.events))[partition]
        await self._fold(verification, partition, start, cut)
        differences = [
            *verification.progress(standing.progress, standing.records),
            *verification.states(),
            *verification.from_the_future(later),
        ]
        held = await self._held(partition, verification.remembered(now_ms()))
        tenants = verification.tenants() | held.records.keys()
        suspects, again = _compared(verification, tenants, held, standing), 0
        if suspects:
            commands = list(verification.operations(held.operations))
            again = len({suspect.tenant for suspect in suspects if suspect.tenant is not None})
            suspects, cut = await self._look_again(verification, partition, suspects, commands, cut)
        if (published := verification.published(later)) is not None:
            differences += await self._uncommitted(partition, standing, published)
        return Verified(
            partition=partition,
            next=standing.progress.next,
            behind=end - standing.progress.next,
            tenants=len(tenants),
            records=cut - start,
            again=again,
            believed=verification.believed,
            differences=[*differences, *suspects],
        )

    async def _found(self, partition: int, start: int, cut: int) -> Found:
        """Read dead letters, states and audit; all are appended before Redis moves on, so they reach the cut."""
        topics, aside = self._settings.topics, self._letters.of(partition)
        await self._letters.read_on()
        history = History(partition, self._settings.partitions, before=cut, settled=start, aside=aside)
        states = (await self._bounds(topics.states))[partition]
        async for page in self._reader.read(topics.states, partition, *states):
            for record in page:
                history.read(record)
        audit = Audit(partition, cut, aside)
        # With the whole log every command is judged anew, and the rows tell only what was folded after all.
        if start or aside:
            rows = (await self._bounds(topics.transitions))[partition]
            async for page in self._reader.read(topics.transitions, partition, *rows):
                for record in page:
                    audit.read(record)
        return Found(history, audit, start, cut, cut, aside)

    async def _bounds(self, topic: str) -> dict[int, Bounds]:
        found = await self._reader.bounds(topic)
        if len(found) != self._settings.partitions:
            raise CommandError(
                f"topic {topic} has {len(found)} partitions and SLEEP_PARTITIONS is {self._settings.partitions}: "
                f"{OTHER_COUNT}"
            )
        return found

    async def _fold(self, verification: Verification, partition: int, start: int, end: int) -> None:
        async for page in self._reader.read(self._settings.topics.events, partition, start, end):
            verification.fold.read(page)

    async def _held(self, partition: int, commands: list[OperationKey]) -> _Held:
        """Read all records, what stands beside them, and some commands, in pages and not at one place."""
        cursor, found = await self._store.scan(partition, 0, _PAGE)
        while cursor:
            cursor, page = await self._store.scan(partition, cursor, _PAGE)
            found |= page
        operations: dict[OperationKey, bytes | None] = {}
        for chunk in _chunks(commands, _PAGE):
            operations |= zip(chunk, await self._store.operations(partition, chunk), strict=True)
        records = {tenant.decode(errors="replace"): packed for tenant, packed in found.items()}
        return _Held(dict(records), await self._store.index(partition), operations)

    async def _held_at(
        self, partition: int, place: int, tenants: list[str], commands: list[OperationKey]
    ) -> _Held | None:
        """Read some records, what stands beside them, and some commands at one place; None where it is another."""
        held = _Held({}, Index({}, {}, set()), {})
        for names in _chunks(tenants, _LOOK_PAGE) or [[]]:
            loaded = await self._store.load(partition, place, names, [])
            index = await self._store.index_at(partition, place, names)
            if loaded is None or index is None:
                return None
            held.records.update(zip(names, loaded.records, strict=True))
            held.beside.timers.update(index.timers)
            held.beside.counts.update(index.counts)
            held.beside.open.update(index.open)
        for chunk in _chunks(commands, _LOOK_PAGE):
            if (loaded := await self._store.load(partition, place, [], chunk)) is None:
                return None
            held.operations.update(zip(chunk, loaded.operations, strict=True))
        return held

    async def _look_again(
        self,
        verification: Verification,
        partition: int,
        suspects: list[Difference],
        commands: list[OperationKey],
        cut: int,
    ) -> tuple[list[Difference], int]:
        """Compare what differs once more, where Redis stands now; return what still differs, and that place."""
        names = sorted({difference.tenant for difference in suspects if difference.tenant is not None})
        for _ in range(_LOOKS):
            try:
                standing: Standing = await self._store.standing(partition)
            except ValueError as error:
                return _unreadable(partition, f"progress cannot be used: {error}").differences, cut
            place = standing.progress.next
            # What has not moved was seen as it is; and what has lost records refuses every load.
            if place == cut or standing.records != standing.progress.records:
                return suspects, cut
            held = await self._held_at(partition, place, names, commands)
            if held is not None and place >= cut:
                await self._letters.read_on()
                await self._fold(verification, partition, cut, place)
                return _compared(verification, names, held, standing), place
            await asyncio.sleep(_PAUSE_SECONDS)
        who = f"{len(names)} tenants" if names else "the counts"
        what = f"{who} could not be compared: Redis did not stand still for a moment, or was rolled back"
        return [Difference(partition, None, "redis", what, {})], cut

    async def _uncommitted(self, partition: int, standing: Standing, published: int) -> list[Difference]:
        """Wait for a worker to commit what it has published; return what differs where none does."""
        stood = standing.progress.next
        for _ in range(_LOOKS):
            # A number that is none has not moved up, and the next run names it.
            with suppress(ValueError):
                # It need not have come all the way: whoever moves it is at work, and `behind` tells how far it was.
                if (await self._store.mark(partition) or 0) > stood:
                    return []
            await asyncio.sleep(_PAUSE_SECONDS)
        where = f"progress is {stood}" if standing.begun else "there is no progress"
        lost, cure = ("rolled back", rebuild_by_force(partition)) if standing.begun else ("emptied", REBUILD)
        what = (
            f"{where} and states were published up to {published}, and nobody commits them: a worker died before it "
            f"did, or Redis was {lost}; start a worker, or {cure}"
        )
        return [Difference(partition, None, "redis", what, {})]


def _compared(verification: Verification, tenants: Iterable[str], held: _Held, standing: Standing) -> list[Difference]:
    """Return what differs in Redis, of these tenants and of the commands that were read."""
    rules = standing.progress.rules
    beside = {*tenants, *held.beside.timers, *held.beside.open}
    return [
        *verification.redis(tenants, held.records, rules),
        *verification.index(sorted(beside), held.records, rules, held.beside),
        *verification.counts(held.beside),
        *verification.operations(held.operations).values(),
    ]


def _chunks(items: list[Item], most: int) -> list[list[Item]]:
    return [items[first : first + most] for first in range(0, len(items), most)]


def _unreadable(partition: int, what: str, cut: int = 0) -> Verified:
    return Verified(partition, cut, None, 0, 0, 0, 0, [Difference(partition, None, "redis", what, {})])
