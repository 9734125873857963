"""Faust's consumer without Kafka: the thread in it answers from the log in memory."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from schemas.settings import Settings
from tests.world import World, breaker, tenants_on
from worker.app import build_app
from worker.consumer_thread import BatchConsumerThread
from worker.ingress import Ingress
from worker.intake import Fetched
from worker.transport import BatchConsumer

SETTINGS = Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis", "partitions": 4})
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
        self.away = False
        self.error: Exception | None = None
        self.given_up: set[TP] = set()
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
        found: dict[TopicPartition, list[Any]] = {}
        for tp in partitions:
            if tp.topic != EVENTS:
                found[TopicPartition(*tp)] = [_Record(offset=6, timestamp=7_000, timestamp_type=1, topic=tp.topic)]
                continue
            records = records_of(self._world, tp.partition, self._positions.get(tp, 0))
            found[TopicPartition(*tp)] = records
            if records:
                self._positions[tp] = records[-1].offset + 1
        return found

    async def committed(self, tp: TP) -> int:
        self.asked.append(tp)
        if self.away:
            raise KafkaConnectionError("the coordinator is away")
        return self.offsets.get(tp, 0)

    def assignment(self) -> set[TP]:
        return {TP(EVENTS, partition) for partition in range(4)} | {INGRESS} - self.given_up

    def highwater(self, tp: TP) -> int:
        return self._world.events(tp.partition).end

    async def bounds(self, tp: TP) -> tuple[int, int]:
        log = self._world.events(tp.partition)
        return log.start, log.end

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return not self.failing


class Consumer:
    """Faust's consumer over a thread of ours; `steps` is what Faust was told, and when."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, list[int]]] = []
        self.naps: list[float] = []
        self.app = build_app(SETTINGS, world.worker.lanes, Ingress(world.outputs, 4, world.worker.metrics))
        self.thread = Thread(world)
        self.lanes = world.worker.lanes

        async def told(name: str) -> None:
            self.steps.append((name, [lane.partition for lane in self.lanes]))

        consumer = self.app.transport.create_consumer(
            callback=lambda _: told("message"),
            on_partitions_revoked=lambda _: told("revoked"),
            on_partitions_assigned=lambda *_: told("assigned"),
        )
        self.consumer = cast("BatchConsumer", consumer)
        self.real_thread = self.consumer._thread
        self.consumer._thread = cast("BatchConsumerThread", self.thread)

        async def nap(seconds: float) -> None:
            self.naps.append(seconds)

        async def flushed() -> None:
            """Faust's own producer sends nothing."""

        monkeypatch.setattr(self.consumer, "sleep", nap)
        monkeypatch.setattr(self.app.producer, "flush", flushed)

    async def fetch(self, *partitions: int, more: tuple[TP, ...] = ()) -> dict[TP, list[Fetched]]:
        """Fetch once from these partitions, all of them active."""
        return await self.consumer._getmany({TP(EVENTS, partition) for partition in partitions} | set(more), 1.0)

    async def commit(self) -> None:
        """Commit for the group, as Faust does every second."""
        await self.consumer.force_commit()


def fill(world: World, partition: int, count: int = 3) -> None:
    """Put records of a partition's own tenants into it."""
    for tenant in tenants_on(partition, 4, count):
        world.log(breaker(tenant, "open"), partition=partition)
