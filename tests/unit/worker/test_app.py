"""The Faust app and its wiring: who feeds the lanes, who forwards ingress, and what Faust is kept from."""
# ruff: noqa: SLF001 - a member of a group does not tell its name

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types import TP, AgentT
from faust.types.enums import ProcessingGuarantee

from tests.support.environments import FAUST
from tests.support.fakes import settle
from tests.support.outputs import breaker
from tests.support.settings import settings_of
from tests.support.world import World
from worker.ingress.ingress import Ingress
from worker.partition.fetch_buffer import FetchedBatch
from worker.runtime.faust.app import build_app, build_ingress_app
from worker.runtime.faust.transport import LaneConsumer
from worker.runtime.unreadable_batches import UnreadableBatches


def app_of(world: World, **settings: object) -> faust.App:
    """Return the Faust app of this world's worker."""
    return build_app(settings_of(**settings), world.worker.lanes)


def ingress_of(world: World) -> Ingress:
    """Return what forwards ingress in this world."""
    return Ingress(world.outputs, world.partitions, world.worker.metrics, UnreadableBatches(), clock=world.clock)


def ingress_app_of(world: World, **settings: object) -> faust.App:
    """Return the Faust app that reads ingress for this world's worker."""
    return build_ingress_app(settings_of(**settings), ingress_of(world))


async def test_the_app_is_the_consumer_group_of_the_settings(world: World) -> None:
    """Its consumer joins the group under the app's name."""
    app = app_of(world, consumer_group="ours", kafka_bootstrap="a:1,b:2")
    consumer = cast("LaneConsumer", app.consumer)
    assert app.conf.id == consumer.kafka._name == "ours"
    assert consumer.settings.kafka_bootstrap == "a:1,b:2"


async def test_faust_takes_nothing_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's BROKER_URL would else take the place of the brokers, and a Service called `web` end the worker."""
    plain = app_of(world).conf
    for name, value in FAUST.items():
        monkeypatch.setenv(name, value)
    conf = app_of(world).conf
    names = ("broker_commit_interval", "processing_guarantee", "web_port", "debug", "topic_allow_declare")
    assert [getattr(conf, name) for name in names] == [getattr(plain, name) for name in names]


async def test_faust_serves_nothing_declares_nothing_and_transacts_nothing(world: World) -> None:
    """Its web server, its producer, its topics, its tables and its transactions are not used."""
    app = app_of(world)
    assert not app.boot_strategy.enable_web
    assert app.producer not in list(app.boot_strategy.server())
    assert not app.conf.web_enabled
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader
    guarantee: object = app.conf.processing_guarantee
    assert guarantee is ProcessingGuarantee.AT_LEAST_ONCE
    assert str(app.conf.store) == "memory:"


async def test_what_faust_is_told_about_time_and_room(world: World) -> None:
    """Few batches are ever queued, and a stop does not wait for them."""
    conf = app_of(world).conf
    assert conf.broker_commit_interval == 1
    assert conf.stream_buffer_maxsize == 64
    assert not conf.stream_wait_empty


async def test_the_consumer_feeds_the_lanes_from_the_events_topic(world: World) -> None:
    """Of this worker and no other."""
    consumer = cast("type[LaneConsumer]", app_of(world, topic_prefix="ours").transport.Consumer)
    assert consumer.lanes is world.worker.lanes
    assert consumer.settings.topics.events == "ours.events"


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        (None, {"ingress-sleep.breakers": ["sleep.breakers"]}),
        (
            [{"topic": "a"}, {"topic": "b"}],
            {"ingress-a": ["a"], "ingress-b": ["b"]},
        ),
    ],
)
async def test_there_is_one_agent_for_the_events_and_one_for_each_ingress_topic(
    world: World, ingress: object, expected: dict[str, list[str]]
) -> None:
    """Each with its own topic, in one task."""
    app, apart = app_of(world, ingress=ingress), ingress_app_of(world, ingress=ingress)
    assert {name: list(agent.channel.topics) for name, agent in app.agents.items()} == {"lanes": ["sleep.events"]}
    assert {name: list(agent.channel.topics) for name, agent in apart.agents.items()} == expected
    assert {agent.concurrency for agent in [*app.agents.values(), *apart.agents.values()]} == {1}
    assert (app.conf.id, apart.conf.id) == ("sleep-worker", "sleep-worker-ingress")


class _Event:
    """An event as an agent sees it."""

    def __init__(self, partition: int, value: FetchedBatch) -> None:
        self.message = SimpleNamespace(partition=partition, tp=TP("sleep.breakers", partition))
        self.value = value
        self.acknowledged = 0

    def ack(self) -> None:
        self.acknowledged += 1


class _Stream:
    """A stream of such events, which are not acknowledged by passing by."""

    def __init__(self, *events: _Event) -> None:
        self._events = events
        self._noack = False

    def noack(self) -> "_Stream":
        self._noack = True
        return self

    async def events(self) -> AsyncIterator[_Event]:
        assert self._noack
        for event in self._events:
            yield event


async def drain(agent: AgentT[FetchedBatch], *events: _Event) -> None:
    """Let an agent work through events."""
    await cast("Any", agent).fun(_Stream(*events))


async def test_a_batch_is_passed_on_as_it_came(world: World) -> None:
    """Faust neither decodes nor copies it."""
    agent = app_of(world).agents["lanes"]
    batch = FetchedBatch(1, [])
    schema = agent.channel.schema
    message = SimpleNamespace(value=batch)
    assert schema.loads_value(None, message) is batch
    assert schema.loads_key(None, message) is None


async def test_the_agent_hands_each_batch_to_its_lane_and_waits_for_none(world: World) -> None:
    """The lane acknowledges, when it has applied it."""
    lane = world.assign()
    await settle()
    world.log(breaker("acme", "open"))
    committing = world.store.faults.hold("commit")
    ours = _Event(0, FetchedBatch(lane.fetch_buffer.generation, cast("Any", world.events().read(0, 10))))
    foreign = _Event(3, FetchedBatch(1, ours.value.records))
    await drain(app_of(world).agents["lanes"], ours, foreign)
    await settle()
    assert (ours.acknowledged, foreign.acknowledged) == (0, 1)
    committing.set()
    await settle()
    assert ours.acknowledged == 1
    assert world.stored().next == 1


async def test_the_agent_hands_each_ingress_batch_to_its_forwarder_and_waits_for_none(world: World) -> None:
    """A batch of an earlier assignment, or of a partition that is somebody else's, is dropped: it is read again."""
    ingress = ingress_of(world)
    tp = TP("sleep.breakers", 0)
    await ingress.assign([tp], 7)
    world.outputs.faults.down.add("send")
    log = world.kafka.log("sleep.breakers")
    log.append([breaker("acme", "open")._replace(key=b"any")])
    ours, former, foreign = (
        _Event(partition, FetchedBatch(assignment, cast("Any", log.read(0, 10))))
        for partition, assignment in ((0, 7), (0, 6), (1, 7))
    )
    await drain(build_ingress_app(settings_of(), ingress).agents["ingress-sleep.breakers"], former, ours, foreign)
    assert [event.acknowledged for event in (ours, former, foreign)] == [1, 1, 1]
    await settle()
    assert ingress.position(tp) is None
    world.outputs.faults.heal()
    await world.advance(1)
    assert [record.key for record in world.kafka.records("sleep.events")] == [b"acme"]
    assert (ingress.position(tp), ingress.position(TP("sleep.breakers", 1))) == (1, None)
    await ingress.end()
