"""The transport: batches instead of messages, the lanes' seeks, and a group offset that tells the truth."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from faust.types import TP, Message

from schemas.settings import Settings
from tests.fakes import settle
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


class _Thread:
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


class _Consumer:
    """Faust's consumer over a thread of ours; `steps` is what Faust was told, and when."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, list[int]]] = []
        self.naps: list[float] = []
        self.app = build_app(SETTINGS, world.worker.lanes, Ingress(world.outputs, 4, world.worker.metrics))
        self.thread = _Thread(world)
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


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Four partitions, one worker, nothing in the log."""
    async with World(partitions=4) as world:
        yield world


@pytest.fixture
async def faust(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Consumer]:
    """The consumer of this world's worker; it has to be made inside the loop."""
    found = _Consumer(world, monkeypatch)
    yield found
    found.real_thread.thread_loop.close()


def fill(world: World, partition: int, count: int = 3) -> None:
    """Put records of a partition's own tenants into it."""
    for tenant in tenants_on(partition, 4, count):
        world.log(breaker(tenant, "open"), partition=partition)


async def test_what_was_fetched_of_a_partition_is_one_batch(world: World, faust: _Consumer) -> None:
    """Faust costs the same for one record and for thousands."""
    fill(world, 0)
    fill(world, 1, 2)
    world.worker.lanes.assign([0, 1])
    await settle()
    found = await faust.fetch(0, 1)
    assert {tp.partition: [len(batch.records) for batch in batches] for tp, batches in found.items()} == {
        0: [3],
        1: [2],
    }
    assert all(type(tp) is TP for tp in found)


async def test_partitions_with_nothing_new_are_left_out(world: World, faust: _Consumer) -> None:
    """A batch is never empty."""
    world.worker.lanes.assign([0])
    await settle()
    assert await faust.fetch(0) == {}


async def test_a_lanes_seek_is_carried_out_once_before_the_fetch(world: World, faust: _Consumer) -> None:
    """And what comes is tagged with the generation of that seek."""
    fill(world, 0)
    world.held(0).progress[b"next"] = b"1"
    world.worker.lanes.assign([0])
    await settle()
    lane = world.worker.lanes.get(0)
    assert lane is not None
    first = await faust.fetch(0)
    fill(world, 0)
    second = await faust.fetch(0)
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{TP(EVENTS, 0): 1}, {}]
    [batch] = first[TP(EVENTS, 0)]
    assert (batch.generation, batch.records[0].offset) == (lane.intake.generation, 1)
    assert second[TP(EVENTS, 0)][0].records[0].offset == 3


async def test_the_batch_after_a_later_seek_has_a_later_generation(world: World, faust: _Consumer) -> None:
    """So that what was fetched before it can be told apart."""
    fill(world, 0)
    lane = world.assign(0)
    await settle()
    [before] = (await faust.fetch(0))[TP(EVENTS, 0)]
    lane.look_again()
    await settle()
    [after] = (await faust.fetch(0))[TP(EVENTS, 0)]
    assert after.generation > before.generation
    assert after.records[0].offset == before.records[0].offset == 0


async def test_faust_passes_on_what_comes_again_after_a_seek(world: World, faust: _Consumer) -> None:
    """It would drop a message below the last one that it saw."""
    fill(world, 0)
    lane = world.assign(0)
    await settle()
    await faust.fetch(0)
    faust.consumer._read_offset[TP(EVENTS, 0)] = 99
    lane.look_again()
    await settle()
    await faust.fetch(0)
    assert faust.consumer._read_offset[TP(EVENTS, 0)] is None


async def test_a_closed_lane_is_not_fetched_and_asked_again_soon(world: World, faust: _Consumer) -> None:
    """The others go on meanwhile, with a short wait."""
    looking = world.store.faults.hold("standing")
    world.worker.lanes.assign([0])
    await settle()
    del world.store.faults.held["standing"]
    world.worker.lanes.assign([1])
    await settle()
    await faust.fetch(0, 1, 2)
    assert faust.thread.fetches == [({TP(EVENTS, 1): 0}, {TP(EVENTS, 1)}, 0.02)]
    looking.set()


async def test_with_every_lane_open_the_fetch_may_take_its_time(world: World, faust: _Consumer) -> None:
    """It ends as soon as there is something."""
    world.worker.lanes.assign([0])
    await settle()
    await faust.fetch(0)
    assert faust.thread.fetches[0][2] == 1.0


async def test_nothing_wanted_is_no_fetch_at_all(faust: _Consumer) -> None:
    """To aiokafka no partition means every partition."""
    assert await faust.fetch(0, 1) == {}
    assert await faust.consumer._getmany(None, 1.0) == {}
    assert faust.thread.fetches == []
    assert faust.naps == [0.02, 0.02]


async def test_ingress_topics_are_fetched_whatever_the_lanes_do(faust: _Consumer) -> None:
    """They belong to no lane."""
    found = await faust.fetch(0, more=(INGRESS,))
    assert faust.thread.fetches[0][1] == {INGRESS}
    [batch] = found[INGRESS]
    assert batch.records[0].offset == 6


async def test_an_ingress_partition_begins_at_what_the_group_has_committed(faust: _Consumer) -> None:
    """Once, and then it is followed."""
    faust.thread.offsets[INGRESS] = 5
    await faust.fetch(more=(INGRESS,))
    await faust.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{INGRESS: 5}, {}]


async def test_after_an_assignment_ingress_begins_anew_and_what_was_fetched_before_is_dropped(faust: _Consumer) -> None:
    """Faust drops what it had queued at a rebalance, and the consumer may have read on: whatever is not committed."""
    await faust.fetch(more=(INGRESS,))
    gate = faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(more=(INGRESS,)))
    await settle()
    await faust.consumer.on_partitions_assigned({INGRESS}, 2)
    gate.set()
    assert await fetching == {}
    faust.thread.offsets[INGRESS] = 3
    [batch] = (await faust.fetch(more=(INGRESS,)))[INGRESS]
    assert batch.records
    assert faust.thread.fetches[-1][0] == {INGRESS: 3}


async def test_what_is_fetched_when_faust_no_longer_waits_is_handed_over_at_its_next_call(faust: _Consumer) -> None:
    """It cancels its call to stop the fetcher; the consumer in the thread has read on all the same."""
    gate = faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(more=(INGRESS,)))
    await settle()
    fetching.cancel()
    await asyncio.wait([fetching])
    gate.set()
    [batch] = (await faust.fetch(more=(INGRESS,)))[INGRESS]
    assert batch.records[0].offset == 6
    assert len(faust.thread.fetches) == 1


async def test_where_a_fetch_failed_ingress_is_sought_once_more(faust: _Consumer) -> None:
    """Whether the seek before it was carried out, nobody has said."""
    faust.thread.offsets[INGRESS] = 5
    faust.thread.error = KafkaConnectionError("the consumer's thread has ended")
    with pytest.raises(KafkaConnectionError):
        await faust.fetch(more=(INGRESS,))
    faust.thread.error = None
    await faust.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{INGRESS: 5}, {INGRESS: 5}]


async def test_an_ingress_partition_whose_offset_is_not_known_waits_and_keeps_nobody(
    world: World, faust: _Consumer
) -> None:
    """The lanes go on."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    faust.thread.away = True
    assert set(await faust.fetch(0, more=(INGRESS,))) == {TP(EVENTS, 0)}
    faust.thread.away = False
    assert INGRESS in await faust.fetch(0, more=(INGRESS,))


async def test_an_ingress_partition_that_was_given_up_meanwhile_is_not_sought(faust: _Consumer) -> None:
    """The consumer would raise, and the worker begin anew."""
    faust.thread.given_up = {INGRESS}
    assert await faust.fetch(more=(INGRESS,)) == {}
    assert faust.thread.fetches == []


async def test_a_fetch_under_way_ends_with_the_consumer(faust: _Consumer) -> None:
    """And nobody is told of it."""
    faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(more=(INGRESS,)))
    await settle()
    fetching.cancel()
    await asyncio.wait([fetching])
    await faust.consumer.on_stop()
    assert faust.consumer._fetch is None


async def test_what_was_fetched_for_a_lane_that_has_been_replaced_is_dropped(world: World, faust: _Consumer) -> None:
    """A new lane counts its generations from the beginning, and would take the batch for its own."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    gate = faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(0))
    await settle()
    await world.worker.lanes.revoke([0])
    world.worker.lanes.assign([0])
    await settle()
    gate.set()
    assert await fetching == {}


async def test_a_batch_becomes_one_message_at_its_last_offset(world: World, faust: _Consumer) -> None:
    """Faust hands it to the agent as it is."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    tp = TP(EVENTS, 0)
    faust.consumer._set_active_tps({tp})
    [(found, message)] = [item async for item in faust.consumer.getmany(1.0)]
    assert found == tp
    assert (message.topic, message.partition, message.offset) == (EVENTS, 0, 2)
    assert message.timestamp == world.clock.now() / 1000
    batch: object = message.value
    assert isinstance(batch, Fetched)
    assert len(batch.records) == 3


async def test_the_groups_offset_is_what_the_lane_has_applied(world: World, faust: _Consumer) -> None:
    """Not what was fetched or acknowledged; so the lag that others see is true."""
    fill(world, 0)
    world.assign(0)
    world.assign(1)
    await world.run()
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 3, TP(EVENTS, 1): 0}]
    committing = world.store.faults.hold("commit")
    fill(world, 0)
    await world.run()
    await faust.commit()
    assert len(faust.thread.commits) == 1
    committing.set()
    await world.run()
    await faust.commit()
    assert faust.thread.commits[1:] == [{TP(EVENTS, 0): 6}]


async def test_a_lane_without_a_position_commits_nothing_for_the_group(world: World, faust: _Consumer) -> None:
    """Nobody knows yet."""
    world.store.faults.hold("standing")
    world.assign(0)
    await settle()
    await faust.commit()
    assert faust.thread.commits == []
    assert faust.consumer._new_offset(TP(EVENTS, 3)) is None


async def test_a_commit_that_failed_is_tried_again_though_nothing_new_came(world: World, faust: _Consumer) -> None:
    """Otherwise an idle partition would show a lag for ever."""
    fill(world, 0)
    world.assign(0)
    await world.run()
    faust.thread.failing = True
    await faust.commit()
    faust.thread.failing = False
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 3}] * 2


def message_of(tp: TP, offset: int) -> Message:
    """Return a message as the agent acknowledges it."""
    return Message(tp.topic, tp.partition, offset, 0.0, 0, [], None, None, None, tp=tp)


async def test_an_ingress_batch_is_committed_when_it_was_acknowledged(faust: _Consumer) -> None:
    """Ingress has no place of its own to keep its position."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{INGRESS: 7}]


async def test_an_ingress_commit_that_failed_is_tried_again(faust: _Consumer) -> None:
    """Otherwise the batch would be forwarded again after the next start."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    faust.thread.failing = True
    await faust.commit()
    faust.thread.failing = False
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{INGRESS: 7}] * 2


async def test_an_acknowledgement_that_comes_after_the_partition_was_given_up_counts_for_nothing(
    faust: _Consumer,
) -> None:
    """Its present owner knows better; and nobody may commit for a partition that is somebody else's."""
    await faust.fetch(more=(INGRESS,))
    await faust.consumer.on_partitions_assigned(set(), 2)
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.commit()
    assert faust.thread.commits == []


async def test_what_was_acknowledged_under_an_earlier_assignment_is_not_committed(faust: _Consumer) -> None:
    """Another member may have gone further meanwhile."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.consumer.on_partitions_assigned({INGRESS}, 2)
    await faust.commit()
    assert faust.thread.commits == []


async def test_an_acknowledgement_counts_once(world: World, faust: _Consumer) -> None:
    """And that of an events batch moves nothing: the lane says what is applied."""
    await faust.fetch(more=(INGRESS,))
    message = message_of(INGRESS, 6)
    assert faust.consumer.ack(message)
    assert not faust.consumer.ack(message)
    world.assign(0)
    await world.run()
    assert faust.consumer.ack(message_of(TP(EVENTS, 0), 41))
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 0, INGRESS: 7}]


async def test_lanes_are_made_when_their_partitions_come(faust: _Consumer) -> None:
    """Of the events topic only."""
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0), TP(EVENTS, 2), INGRESS}, 1)
    assert faust.steps == [("assigned", [0, 2])]


async def test_lanes_have_ended_before_faust_gives_their_partitions_up(world: World, faust: _Consumer) -> None:
    """Whoever gets them next finds the batch in hand committed."""
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0), TP(EVENTS, 1)}, 1)
    await world.run()
    committing = world.store.faults.hold("commit")
    fill(world, 0)
    await world.run()
    revoking = asyncio.create_task(faust.consumer.on_partitions_revoked({TP(EVENTS, 0), INGRESS}))
    await settle()
    assert [name for name, _ in faust.steps] == ["assigned"]
    committing.set()
    await revoking
    assert faust.steps[1:] == [("revoked", [1])]
    assert world.held(0).next == 3


async def test_faust_does_not_seek_by_itself(faust: _Consumer) -> None:
    """Where to start is what Redis says."""
    assert await faust.consumer.seek_to_committed() == {}
    faust.consumer._read_offset[TP(EVENTS, 0)] = 5
    await faust.consumer.perform_seek()
    assert faust.consumer._read_offset[TP(EVENTS, 0)] == 5


async def test_faust_keeps_no_book_of_the_offsets_between_two_batches(faust: _Consumer) -> None:
    """It would be millions."""
    await faust.consumer._add_gap(TP(EVENTS, 0), 5, 5_000_000)
    assert TP(EVENTS, 0) not in faust.consumer._gap


async def test_the_bounds_of_a_partition_are_asked_of_the_broker(world: World, faust: _Consumer) -> None:
    """Where the log begins, and where it ends."""
    fill(world, 2)
    world.events(2).trim(1)
    assert await faust.consumer.bounds(2) == (1, 3)
