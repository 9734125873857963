"""Faust's consumer without Kafka: the member of the group in it answers from the log in memory."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from tests.support.events import breaker as breaker_event
from tests.support.fakes import settle
from tests.support.outputs import breaker, tenants_on
from tests.support.records import Source
from tests.support.settings import settings_of
from tests.support.times import T
from tests.support.world import World
from worker.ingress.ingress import Ingress
from worker.partition.fetch_buffer import FetchedBatch
from worker.runtime.faust.app import build_app, build_ingress_app
from worker.runtime.unreadable_batches import UnreadableBatches

SETTINGS = settings_of(partitions=4)
EVENTS = SETTINGS.topics.events
INGRESS = TP(SETTINGS.topics.breakers, 1)


class _Record(SimpleNamespace):
    """A record as aiokafka hands it over, which knows whose timestamp it has."""


def records_of(world: World, partition: int, offset: int = 0) -> list[Any]:
    """Return what the log holds of a partition, as aiokafka does."""
    return [_Record(**asdict(record), timestamp_type=1) for record in world.events(partition).read(offset, 2_000)]


class Kafka:
    """The member of the group: notes what it is asked, and answers from the log."""

    def __init__(self, world: World) -> None:
        self.fetches: list[tuple[Mapping[TP, int], set[TP], float]] = []
        self.commits: list[Mapping[TP, int]] = []
        self.asked: list[TP] = []
        self.offsets: dict[TP, int] = {}
        self.default: int | None = 0
        self.away = False
        self.error: Exception | None = None
        self.given_up: set[TP] = set()
        self.refused: set[str] = set()
        self.failing = False
        self.gate: asyncio.Event | None = None
        self.committing: asyncio.Event | None = None
        self.next_round: asyncio.Event | None = None
        self.generation = 7
        self.stopped = False
        self.subscribed: tuple[Iterable[str], Any] = ((), None)
        self._world = world
        self._positions: dict[TP, int] = {}

    async def seek_and_fetch(
        self, seeks: Mapping[TP, int], partitions: Iterable[TP], seconds: float
    ) -> Mapping[TP, list[Any]]:
        self.fetches.append((dict(seeks), set(partitions), seconds))
        self._positions.update(seeks)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        seen: dict[TP, list[Any]] = {}
        for tp in partitions:
            if tp.topic != EVENTS:
                seen[tp] = [_Record(offset=6, timestamp=7_000, timestamp_type=1, topic=tp.topic)]
                continue
            records = records_of(self._world, tp.partition, self._positions.get(tp, 0))
            seen[tp] = records
            if records:
                self._positions[tp] = records[-1].offset + 1
        if not any(seen.values()):
            await self.rest()
        return seen

    async def rest(self) -> None:
        """Wait for the next round, where rounds are counted."""
        if self.next_round is not None:
            await self.next_round.wait()
            self.next_round.clear()

    def refused_topics(self) -> set[str]:
        return self.refused

    async def committed(self, tp: TP) -> int | None:
        self.asked.append(tp)
        if self.away:
            raise KafkaConnectionError("the coordinator is away")
        return self.offsets.get(tp, self.default)

    def assignment(self) -> set[TP]:
        return ({TP(EVENTS, partition) for partition in range(4)} | {INGRESS}) - self.given_up

    def subscribe(self, topics: Iterable[str], listener: object) -> None:
        self.subscribed = topics, listener

    async def offset_range(self, tp: TP) -> tuple[int, int]:
        log = self._world.events(tp.partition)
        return log.start, log.end

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        if self.committing is not None:
            await self.committing.wait()
        return not self.failing

    async def stop(self) -> None:
        self.stopped = True


class Consumer:
    """Faust's consumer over such a member; `steps` is what Faust was told, and when."""

    @staticmethod
    def _build(world: World) -> faust.App:
        return build_app(SETTINGS, world.worker.lanes)

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, list[int]]] = []
        self.messages: list[Any] = []
        self.fetcher = SimpleNamespace(should_stop=False)
        self.naps: list[float] = []
        self.app = self._build(world)
        self.kafka = Kafka(world)
        self.lanes = world.worker.lanes
        self.outputs = world.outputs

        async def told(name: str) -> None:
            self.steps.append((name, [lane.partition for lane in self.lanes]))

        async def receive(message: object) -> None:
            self.messages.append(message)

        consumer: Any = self.app.transport.create_consumer(
            callback=receive,
            on_partitions_revoked=lambda _: told("revoked"),
            on_partitions_assigned=lambda *_: told("assigned"),
        )
        self.consumer: Any = consumer
        self.consumer.kafka = self.kafka

        async def nap(seconds: float) -> None:
            self.naps.append(seconds)
            await self.kafka.rest()

        monkeypatch.setattr(self.consumer, "sleep", nap)

    async def fetch(self, *partitions: int, more: tuple[TP, ...] = ()) -> dict[TP, FetchedBatch]:
        """Fetch once from these partitions, all of them active."""
        batches: dict[TP, FetchedBatch] = await self.consumer.fetch(
            {TP(EVENTS, partition) for partition in partitions} | set(more), 1.0
        )
        return batches

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        """Pass on what is fetched, as Faust's fetcher does, until the end of the block."""
        next_round = self.kafka.next_round = asyncio.Event()
        draining = asyncio.create_task(self.consumer._drain_messages(self.fetcher))
        await settle()
        yield
        self.fetcher.should_stop = True
        next_round.set()
        await draining

    async def assign(self, *partitions: int) -> None:
        """Assign these partitions."""
        await self.consumer.on_partitions_assigned({TP(EVENTS, partition) for partition in partitions}, 1)

    async def commit(self) -> None:
        """Commit for the group, as Faust does every second."""
        await self.consumer.force_commit()


class IngressConsumer(Consumer):
    """The same over the consumer of ingress topics; `ingress` is what forwards them."""

    ingress: Ingress

    @staticmethod
    def _build(world: World) -> faust.App:
        IngressConsumer.ingress = Ingress(
            world.outputs, 4, world.worker.metrics, UnreadableBatches(), clock=world.clock
        )
        return build_ingress_app(SETTINGS, IngressConsumer.ingress)

    @property
    def problems(self) -> dict[str, str]:
        """What keeps topics from being read."""
        return self.ingress.problems

    async def forwarded(self, offset: int, *, assignment: int | None = None, size: int = 0) -> None:
        """Hand over a batch that ends with this offset, as the agent does, and let it be forwarded.

        Args:
            offset: that of its last record.
            assignment: the number of the assignment under which it was fetched, by default the present one.
            size: of its last record's headers, in bytes.
        """
        value = json.dumps(breaker_event("open")).encode()
        headers = [("padding", bytes(size))]
        records = [Source(offset, T, None, value, headers, INGRESS.topic, INGRESS.partition)]
        assignment = self.consumer._assignment_number if assignment is None else assignment
        self.ingress.offer(INGRESS, FetchedBatch(assignment, records))
        await settle()


def fill(world: World, partition: int, count: int = 3) -> None:
    """Put records of a partition's own tenants into it."""
    for tenant in tenants_on(partition, 4, count):
        world.log(breaker(tenant, "open"), partition=partition)
