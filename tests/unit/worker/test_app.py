"""The Faust app and its wiring, and how a worker starts, stops and starts afresh."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import AgentT
from faust.types.enums import ProcessingGuarantee
from structlog.testing import capture_logs

from schemas.names import Topics
from schemas.settings import Settings
from tests.fakes import FakeStore, settle
from tests.world import World, breaker
from worker.app import Worker, _wait, build_app, serve
from worker.clock import Backoff
from worker.ingress import Ingress
from worker.intake import Fetched
from worker.topics import TopicsError
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


class _Impatient(Backoff):
    """Waits for nothing, and notes for how long it would have."""

    waits: list[float]

    def next(self) -> float:
        self.waits.append(super().next())
        return 0.0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the worker would have waited."""
    _Impatient.waits = []
    monkeypatch.setattr("worker.app.Backoff", _Impatient)
    monkeypatch.setattr("worker.app._wait", lambda *_: asyncio.sleep(0))
    return _Impatient.waits


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


class _App:
    """A Faust app that only notes what happens to it; `dies` lets it give up."""

    def __init__(self, steps: list[str], failure: Exception | None = None) -> None:
        self.steps = steps
        self.failure = failure
        self.crash_reason: Exception | None = None
        self.started = asyncio.Event()
        self.stopping: Callable[[], object] = lambda: None
        self._crashed = asyncio.Event()
        self._stopped = asyncio.Event()
        self.consumer = SimpleNamespace(bounds=self._bounds)

    async def _bounds(self, partition: int) -> tuple[int, int]:
        return partition, 99

    async def start(self) -> None:
        self.steps.append("app starts")
        if self.failure is not None:
            raise self.failure
        self.started.set()

    async def stop(self) -> None:
        self.stopping()
        self.steps.append("app stops")

    async def wait_until_stopped(self) -> None:
        await self._stopped.wait()

    def crash(self, reason: Exception) -> None:
        self.crash_reason = reason
        self._crashed.set()


class _Store(FakeStore):
    """A store that notes its end."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self._steps = steps

    async def info(self) -> dict[str, dict[str, object]]:
        return {"": {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}}

    async def close(self) -> None:
        self._steps.append("store closes")


class _Rig:
    """A worker whose every surrounding is noted: `steps` in the order in which they happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.apps: list[_App] = []
        self.failures: dict[str, list[Exception]] = {"verify": [], "connect": [], "app": []}
        monkeypatch.setattr("worker.app.StatusPage", lambda *_: self._service("page"))
        monkeypatch.setattr("worker.app.verify_topics", self._verify)
        monkeypatch.setattr("worker.app.build_app", self._build)
        monkeypatch.setattr("worker.app.Outputs", lambda _: self._service("outputs"))
        monkeypatch.setattr("worker.app.Reader", lambda _: self._service("reader"))
        monkeypatch.setattr("worker.app.Store", SimpleNamespace(connect=lambda _: _Store(self.steps)))
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()

    def _service(self, name: str) -> SimpleNamespace:
        async def start() -> None:
            if name == "outputs" and self.failures["connect"]:
                raise self.failures["connect"].pop(0)
            self.steps.append(f"{name} starts")

        async def stop() -> None:
            self.steps.append(f"{name} stops")

        async def end(*_: object) -> int:
            return 0

        return SimpleNamespace(start=start, stop=stop, end=end, topics=Topics.of("sleep"))

    async def _verify(self, _: Settings) -> None:
        if self.failures["verify"]:
            raise self.failures["verify"].pop(0)
        self.steps.append("topics verified")

    def _build(self, *_: object) -> _App:
        self.apps.append(_App(self.steps, self.failures["app"].pop(0) if self.failures["app"] else None))
        return self.apps[-1]

    def worker(self, *, embedded: bool = False) -> Worker:
        """Return the worker; it has to be made after its surroundings."""
        return Worker(settings_of(), embedded=embedded)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let everybody work until something is so."""
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> _Rig:  # noqa: ARG001 - it must not wait
    """The surroundings of a worker."""
    return _Rig(monkeypatch)


async def test_a_worker_starts_from_the_outside_in_and_stops_the_other_way(rig: _Rig) -> None:
    """Nothing is consumed before the topics are right and the outputs stand."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop, rig.ready))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    assert rig.ready.is_set()
    assert worker.kafka_finding is None
    assert rig.steps == ["page starts", "topics verified", "outputs starts", "app starts"]
    rig.stop.set()
    await running
    assert rig.steps[4:] == ["app stops", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_the_lanes_finish_before_the_group_is_left(rig: _Rig) -> None:
    """What is in hand is committed while the partitions are still ours."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    worker.lanes.assign([0])
    left: list[int] = []
    rig.apps[0].stopping = lambda: left.extend(lane.partition for lane in worker.lanes)
    rig.stop.set()
    await running
    assert left == []


async def test_lanes_that_come_while_the_consumer_stops_are_ended_too(rig: _Rig) -> None:
    """A rebalance may be under way; the next consumer's lanes must be its own."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    rig.apps[0].stopping = lambda: worker.lanes.assign([0])
    rig.stop.set()
    await running
    assert list(worker.lanes) == []


async def test_a_kafka_that_is_away_at_the_start_is_waited_for_and_said_once(rig: _Rig, waits: list[float]) -> None:
    """Whichever step finds it away, all are taken again."""
    rig.failures["verify"] = [KafkaConnectionError("no broker")] * 3
    rig.failures["connect"] = [OSError("refused")] * 2
    worker = rig.worker()
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run(rig.stop, rig.ready))
        await rig.until(lambda: len(waits) == 5)
        meanwhile = worker.kafka_finding
        assert meanwhile == "OSError: refused"
        assert not rig.ready.is_set()
        await rig.until(rig.ready.is_set)
        assert (worker.joined, worker.kafka_finding) == (False, "starting: waits for the other members of its group")
        await rig.until(lambda: worker.joined)
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["waiting_for_kafka"]
    assert worker.kafka_finding is None
    rig.stop.set()
    await running


async def test_a_worker_that_waits_for_kafka_can_be_stopped(rig: _Rig, waits: list[float]) -> None:
    """It was never ready."""
    rig.failures["verify"] = [KafkaConnectionError("no broker")] * 1_000_000
    running = asyncio.create_task(rig.worker().run(rig.stop, rig.ready))
    await rig.until(lambda: len(waits) == 3)
    rig.stop.set()
    await running
    assert not rig.ready.is_set()
    assert rig.steps == ["page starts", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_wrong_topics_end_the_worker_at_once(rig: _Rig) -> None:
    """Waiting would not mend them; everything that was opened is closed."""
    rig.failures["verify"] = [TopicsError("topic sleep.events is missing")]
    with pytest.raises(TopicsError, match=r"sleep\.events is missing"):
        await rig.worker().run(rig.stop, rig.ready)
    assert rig.steps == ["page starts", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_the_embedded_broker_is_not_asked_about_its_topics(rig: _Rig) -> None:
    """It could not answer."""
    running = asyncio.create_task(rig.worker(embedded=True).run(rig.stop, rig.ready))
    await rig.until(rig.ready.is_set)
    rig.stop.set()
    await running
    assert "topics verified" not in rig.steps


async def test_a_consumer_that_crashes_is_started_afresh_and_the_page_says_so_meanwhile(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With new lanes; nobody has to restart the worker."""
    found: list[str | None] = []
    worker = rig.worker()

    async def wait(*_: object) -> None:
        found.append(worker.kafka_finding)

    monkeypatch.setattr("worker.app._wait", wait)
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run(rig.stop))
        await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
        worker.lanes.assign([0])
        rig.apps[0].crash(RuntimeError("a bug in the consumer"))
        await rig.until(lambda: len(rig.apps) == 2 and rig.apps[1].started.is_set())
        await settle()
    assert found == ["the consumer stopped: RuntimeError('a bug in the consumer'); it is started afresh"]
    assert worker.kafka_finding is None
    assert list(worker.lanes) == []
    assert [line["reason"] for line in logs if line["event"] == "consumer_restarts"] == found
    rig.stop.set()
    await running


async def test_a_consumer_that_finds_no_broker_is_tried_again_until_it_does(rig: _Rig, waits: list[float]) -> None:
    """And then the page is clean again."""
    rig.failures["app"] = [KafkaConnectionError("no broker"), OSError("refused")]
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: len(waits) == 1)
    assert "no broker" in str(worker.kafka_finding)
    await rig.until(lambda: len(rig.apps) == 3 and rig.apps[2].started.is_set())
    await settle()
    assert worker.kafka_finding is None
    rig.stop.set()
    await running
    assert rig.steps.count("app stops") == 3


async def test_a_consumer_that_does_not_stop_does_not_keep_the_worker(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the broker away it may never."""
    monkeypatch.setattr("worker.app.STOP_SECONDS", 0.0)
    running = asyncio.create_task(rig.worker().run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(rig.apps[0], "stop", never)
    rig.stop.set()
    with capture_logs() as logs:
        await running
    assert [(line["event"], line["what"]) for line in logs] == [("not_stopped", "consumer")]


@pytest.mark.parametrize("error", [None, KafkaError("the consumer's thread has ended")])
async def test_a_consumer_that_swallows_its_end_or_fails_at_it_does_not_keep_the_worker(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Faust, told to give up a commit, makes another one."""
    running = asyncio.create_task(rig.worker().run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    told = 0

    async def stop() -> None:
        nonlocal told
        if error is not None:
            raise error
        while told < 2:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                told += 1

    monkeypatch.setattr("worker.app.STOP_SECONDS", 0.01)
    monkeypatch.setattr(rig.apps[0], "stop", stop)
    rig.stop.set()
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await running
    assert [(line["event"], line["what"]) for line in logs] == [("not_stopped", "consumer")]
    for task in asyncio.all_tasks():
        if task.get_name() == "stop-consumer":
            task.cancel()


async def test_the_lanes_ask_the_present_consumer_for_the_bounds_of_the_log(rig: _Rig) -> None:
    """While there is none, Kafka counts as away."""
    worker = rig.worker()
    with pytest.raises(KafkaError, match="the consumer is not running"):
        await worker._bounds(3)  # noqa: SLF001 - what the lanes are given
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    assert await worker._bounds(3) == (3, 99)  # noqa: SLF001 - as above
    rig.stop.set()
    await running


async def test_serving_runs_one_worker_with_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one call that `sleepctl` makes."""
    made: list[tuple[Any, ...]] = []

    class _Worker:
        def __init__(self, *arguments: object, **options: object) -> None:
            made.append((*arguments, options))

        async def run(self, *arguments: object) -> None:
            made.append(arguments)

    monkeypatch.setattr("worker.app.Worker", _Worker)
    for name in ("gc.freeze", "gc.set_threshold", "asyncio.set_event_loop_policy"):
        monkeypatch.setattr(name, lambda *_: None)  # what holds for the whole process
    settings, stop, ready = settings_of(), asyncio.Event(), asyncio.Event()
    await serve(settings, stop=stop, ready=ready, embedded=True)
    assert made == [(settings, {"embedded": True}), (stop, ready)]


async def test_waiting_ends_early_when_the_worker_is_stopped() -> None:
    """However long the wait."""
    stop = asyncio.Event()
    waiting = asyncio.create_task(_wait(stop, 3_600))
    await settle()
    assert not waiting.done()
    stop.set()
    await waiting
    await _wait(asyncio.Event(), 0.0)


@pytest.mark.parametrize(("embedded", "expected"), [(False, ["the AOF is off", "no replica"]), (True, [])])
async def test_a_worker_looks_at_how_its_redis_is_run(
    monkeypatch: pytest.MonkeyPatch, *, embedded: bool, expected: list[str]
) -> None:
    """Beside its work; an embedded one is to survive nothing."""

    async def info(_: object) -> dict[str, dict[str, object]]:
        return {"": {"maxmemory_policy": "noeviction", "aof_enabled": 0, "connected_slaves": 0}}

    monkeypatch.setattr(_Store, "info", info)
    rig = _Rig(monkeypatch)
    worker = rig.worker(embedded=embedded)
    running = asyncio.create_task(worker.run(rig.stop, rig.ready))
    with capture_logs():
        await rig.ready.wait()
        await settle()
    assert [warning.split(":")[0].partition(" is connected")[0] for warning in worker.redis_watch.health.warnings] == (
        expected
    )
    rig.stop.set()
    await running
