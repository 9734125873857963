"""The Faust app and its wiring: who feeds the lanes, who forwards ingress, and what Faust is kept from."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import AgentT
from faust.types.enums import ProcessingGuarantee
from structlog.testing import capture_logs

from schemas.settings import Settings
from tests.fakes import settle
from tests.world import World, breaker
from worker.app import build_app
from worker.ingress import Ingress
from worker.intake import Fetched
from worker.transport import BatchConsumer


def settings_of(**more: object) -> Settings:
    """Return settings with these deviations."""
    return Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis"} | more)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """One partition, one worker, nothing in the log."""
    async with World() as world:
        yield world


def app_of(world: World, **settings: object) -> faust.App:
    """Return the Faust app of this world's worker."""
    return build_app(
        settings_of(**settings), world.worker.lanes, Ingress(world.outputs, world.partitions, world.worker.metrics)
    )


async def test_the_app_is_the_consumer_group_and_speaks_to_all_brokers(world: World) -> None:
    """Names and addresses come from the settings."""
    app = app_of(world, consumer_group="ours", kafka_bootstrap="a:1, b:2")
    assert app.conf.id == "ours"
    assert server_list(app.transport.url, 9092) == ["a:1", "b:2"]


async def test_faust_serves_nothing_declares_nothing_and_transacts_nothing(world: World) -> None:
    """Its web server, its topics, its tables and its transactions are not used."""
    app = app_of(world)
    assert not app.boot_strategy.enable_web
    assert not app.conf.web_enabled
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader
    guarantee: object = app.conf.processing_guarantee
    assert guarantee is ProcessingGuarantee.AT_LEAST_ONCE
    assert str(app.conf.store) == "memory:"


async def test_what_faust_is_told_about_time_and_room(world: World) -> None:
    """A lane's last batch fits into a session, and few batches are ever queued."""
    conf = app_of(world).conf
    assert conf.broker_session_timeout > 15 + 1
    assert conf.broker_rebalance_timeout == 60
    assert conf.broker_max_poll_records == 2_000
    assert conf.broker_max_poll_interval == 86_400
    assert conf.broker_commit_interval == 1
    assert conf.stream_buffer_maxsize == 64
    assert conf.consumer_auto_offset_reset == "earliest"
    assert not conf.stream_wait_empty


async def test_the_consumer_feeds_the_lanes_from_the_events_topic(world: World) -> None:
    """Of this worker and no other."""
    consumer = cast("type[BatchConsumer]", app_of(world, topic_prefix="ours").transport.Consumer)
    assert consumer.lanes is world.worker.lanes
    assert consumer.events_topic == "ours.events"


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        (None, {"lanes": ["sleep.events"], "ingress-sleep.breakers": ["sleep.breakers"]}),
        ([], {"lanes": ["sleep.events"]}),
        (
            [{"topic": "a"}, {"topic": "b"}],
            {"lanes": ["sleep.events"], "ingress-a": ["a"], "ingress-b": ["b"]},
        ),
    ],
)
async def test_there_is_one_agent_for_the_events_and_one_for_each_ingress_topic(
    world: World, ingress: object, expected: dict[str, list[str]]
) -> None:
    """Each with its own topic, in one task."""
    app = app_of(world, ingress=ingress)
    assert {name: list(agent.channel.topics) for name, agent in app.agents.items()} == expected
    assert {agent.concurrency for agent in app.agents.values()} == {1}


class _Event:
    """An event as an agent sees it."""

    def __init__(self, partition: int, value: Fetched) -> None:
        self.message = SimpleNamespace(topic="sleep.breakers", partition=partition)
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


async def drain(agent: AgentT[Fetched], *events: _Event) -> None:
    """Let an agent work through events."""
    async for _ in cast("Any", agent).fun(_Stream(*events)):
        pass


async def test_a_batch_is_passed_on_as_it_came(world: World) -> None:
    """Faust neither decodes nor copies it."""
    agent = app_of(world).agents["lanes"]
    batch = Fetched(1, [])
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
    ours = _Event(0, Fetched(lane.intake.generation, cast("Any", world.events().read(0, 10))))
    foreign = _Event(3, Fetched(1, ours.value.records))
    await drain(app_of(world).agents["lanes"], ours, foreign)
    await settle()
    assert (ours.acknowledged, foreign.acknowledged) == (0, 1)
    committing.set()
    await settle()
    assert ours.acknowledged == 1
    assert world.held().next == 1


def ingress_batch(world: World) -> Fetched:
    """Return a batch of an ingress topic with one good record and one bad one."""
    log = world.kafka.log("sleep.breakers")
    log.append([breaker("acme", "open")._replace(key=b"any"), breaker("acme", "open")._replace(value=b"rubbish")])
    return Fetched(0, cast("Any", log.read(0, 10)))


async def test_an_ingress_batch_is_published_and_then_acknowledged(world: World) -> None:
    """Events to the events topic, the rest to the dead letters."""
    event = _Event(0, ingress_batch(world))
    await drain(app_of(world).agents["ingress-sleep.breakers"], event)
    assert event.acknowledged == 1
    assert [record.key for record in world.kafka.records("sleep.events")] == [b"acme"]
    assert [record.value for record in world.kafka.records("sleep.deadletter")] == [b"rubbish"]


async def test_ingress_waits_for_a_kafka_that_is_away_and_says_so_once(world: World, waits: list[float]) -> None:
    """Nothing is acknowledged before it is published."""
    event = _Event(0, ingress_batch(world))
    world.outputs.faults.down.add("send")
    with capture_logs() as logs:
        forwarding = asyncio.create_task(drain(app_of(world).agents["ingress-sleep.breakers"], event))
        while len(waits) < 12:
            await asyncio.sleep(0)
        assert event.acknowledged == 0
        world.outputs.faults.heal()
        await forwarding
    assert event.acknowledged == 1
    assert [(line["event"], line["topic"]) for line in logs] == [("ingress_waiting", "sleep.breakers")]
    assert waits[0] < waits[5] <= 5
    assert max(waits) <= 5


async def test_ingress_does_not_die_of_a_defect_of_ours_and_says_so(
    world: World, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is tried again, and nothing of it is lost."""
    ingress = Ingress(world.outputs, 1, world.worker.metrics)
    agent = build_app(settings_of(), world.worker.lanes, ingress).agents["ingress-sleep.breakers"]
    event = _Event(0, ingress_batch(world))
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("worker.ingress.normalise", lambda _: 1 / 0)
        forwarding = asyncio.create_task(drain(agent, event))
        while len(waits) < 3:
            await asyncio.sleep(0)
        found = ingress.findings["sleep.breakers"]
        assert found == "a batch could not be forwarded: ZeroDivisionError('division by zero'); see the log"
    await forwarding
    assert [line["event"] for line in logs] == ["ingress_failed"]
    assert (event.acknowledged, ingress.findings) == (1, {})


async def test_what_ingress_waits_for_is_told_until_it_ends(world: World, waits: list[float]) -> None:
    """A partition that has moved on leaves no finding behind."""
    ingress = Ingress(world.outputs, 1, world.worker.metrics)
    agent = build_app(settings_of(), world.worker.lanes, ingress).agents["ingress-sleep.breakers"]
    world.outputs.faults.down.add("send")
    forwarding = asyncio.create_task(drain(agent, _Event(0, ingress_batch(world))))
    while not waits:
        await asyncio.sleep(0)
    assert ingress.findings == {"sleep.breakers": "KafkaError: kafka is away"}
    forwarding.cancel()
    await asyncio.wait([forwarding])
    assert ingress.findings == {}


async def test_without_security_faust_gets_no_credentials(world: World) -> None:
    """As every other client."""
    assert app_of(world).conf.broker_credentials is None


async def test_faust_encrypts_where_the_other_clients_do(world: World) -> None:
    """With a context that verifies."""
    credentials = app_of(world, kafka_security_protocol="SSL").conf.broker_credentials
    assert isinstance(credentials, SSLCredentials)
    assert credentials.context.verify_mode is ssl.CERT_REQUIRED
    assert credentials_to_aiokafka_auth(credentials)["security_protocol"] == "SSL"


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_faust_signs_in_as_the_other_clients_do(world: World, protocol: str) -> None:
    """User, password, mechanism, and encryption where it is wanted."""
    app = app_of(
        world,
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="sleep",
        kafka_sasl_password="secret",
    )
    assert isinstance(app.conf.broker_credentials, SASLCredentials)
    told = credentials_to_aiokafka_auth(app.conf.broker_credentials)
    assert told["security_protocol"] == protocol
    assert told["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (told["sasl_plain_username"], told["sasl_plain_password"]) == ("sleep", "secret")
    assert ("ssl_context" in told and told["ssl_context"] is not None) is (protocol == "SASL_SSL")
