"""Faust's consumer without Kafka: the thread in it answers from the log in memory."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka import TopicPartition
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
from worker.runtime.faust.consumer_thread import BatchConsumerThread
from worker.runtime.unreadable_batches import UnreadableBatches

SETTINGS = settings_of(partitions=4)
EVENTS = SETTINGS.topics.events
INGRESS = TP(SETTINGS.topics.breakers, 1)


class _Record(SimpleNamespace):
    """A record as aiokafka hands it over, which knows whose timestamp it has."""


def records_of(world: World, partition: int, offset: int = 0) -> list[Any]:
    """Return what the log holds of a partition, as aiokafka does."""
    return [_Record(**asdict(record), timestamp_type=1) for record in world.events(partition).read(offset, 2_000)]


class Thread:
    """The thread with aiokafka in it: notes what it is asked, and answers from the log."""

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
        self._world = world
        self._positions: dict[TP, int] = {}

    async def seek_and_fetch(
        self, seeks: Mapping[TP, int], partitions: set[TP], seconds: float
    ) -> Mapping[TopicPartition, list[Any]]:
        self.fetches.append((dict(seeks), set(partitions), seconds))
        self._positions.update(seeks)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        seen: dict[TopicPartition, list[Any]] = {}
        for tp in partitions:
            if tp.topic != EVENTS:
                seen[TopicPartition(*tp)] = [_Record(offset=6, timestamp=7_000, timestamp_type=1, topic=tp.topic)]
                continue
            records = records_of(self._world, tp.partition, self._positions.get(tp, 0))
            seen[TopicPartition(*tp)] = records
            if records:
                self._positions[tp] = records[-1].offset + 1
        return seen

    def refused_topics(self) -> set[str]:
        return self.refused

    async def committed(self, tp: TP) -> int | None:
        self.asked.append(tp)
        if self.away:
            raise KafkaConnectionError("the coordinator is away")
        return self.offsets.get(tp, self.default)

    def assignment(self) -> set[TP]:
        return {TP(EVENTS, partition) for partition in range(4)} | {INGRESS} - self.given_up

    def highwater(self, tp: TP) -> int:
        return self._world.events(tp.partition).end

    async def offset_range(self, tp: TP) -> tuple[int, int]:
        log = self._world.events(tp.partition)
        return log.start, log.end

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return not self.failing


class Consumer:
    """Faust's consumer over a thread of ours; `steps` is what Faust was told, and when."""

    @staticmethod
    def _build(world: World) -> faust.App:
        return build_app(SETTINGS, world.worker.lanes)

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, list[int]]] = []
        self.naps: list[float] = []
        self.app = self._build(world)
        self.thread = Thread(world)
        self.lanes = world.worker.lanes
        self.outputs = world.outputs

        async def told(name: str) -> None:
            self.steps.append((name, [lane.partition for lane in self.lanes]))

        consumer: Any = self.app.transport.create_consumer(
            callback=lambda _: told("message"),
            on_partitions_revoked=lambda _: told("revoked"),
            on_partitions_assigned=lambda *_: told("assigned"),
        )
        self.consumer: Any = consumer
        self.real_thread = self.consumer._thread
        self.consumer._thread = cast("BatchConsumerThread", self.thread)

        async def nap(seconds: float) -> None:
            self.naps.append(seconds)

        async def flushed() -> None:
            """Faust's own producer sends nothing."""

        monkeypatch.setattr(self.consumer, "sleep", nap)
        monkeypatch.setattr(self.app.producer, "flush", flushed)

    async def fetch(self, *partitions: int, more: tuple[TP, ...] = ()) -> dict[TP, list[FetchedBatch]]:
        """Fetch once from these partitions, all of them active."""
        batches: dict[TP, list[FetchedBatch]] = await self.consumer._getmany(
            {TP(EVENTS, partition) for partition in partitions} | set(more), 1.0
        )
        return batches

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
