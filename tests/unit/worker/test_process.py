"""A worker process: how it starts, stops, and starts its consumer afresh."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from structlog.testing import capture_logs

from schemas.names import Topics
from schemas.settings import Settings
from tests.fakes import FakeStore, settle
from worker.process import Worker, _wait, serve
from worker.topics import TopicsError


def settings_of(**more: object) -> Settings:
    """Return settings with these deviations."""
    return Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis"} | more)


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
        self.failures: dict[str, list[Exception]] = {"verify": [], "connect": [], "build": [], "app": []}
        monkeypatch.setattr("worker.process.StatusPage", lambda *_: self._service("page"))
        monkeypatch.setattr("worker.process.verify_topics", self._verify)
        monkeypatch.setattr("worker.process.build_app", self._build)
        monkeypatch.setattr("worker.process.Outputs", lambda _: self._service("outputs"))
        monkeypatch.setattr("worker.process.Reader", lambda _: self._service("reader"))
        monkeypatch.setattr("worker.process.Store", SimpleNamespace(connect=lambda _: _Store(self.steps)))
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
        if self.failures["build"]:
            raise self.failures["build"].pop(0)
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

    monkeypatch.setattr("worker.process._wait", wait)
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


async def test_a_consumer_that_cannot_be_made_is_waited_for(rig: _Rig) -> None:
    """Its certificate may be away for a moment, while another takes its place."""
    rig.failures["build"] = [OSError("SLEEP_KAFKA_SSL_CAFILE: the file cannot be read")]
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: worker.joined)
    rig.stop.set()
    await running
    assert rig.steps.count("app stops") == 1


async def test_a_consumer_that_does_not_stop_does_not_keep_the_worker(
    rig: _Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the broker away it may never."""
    monkeypatch.setattr("worker.process.STOP_SECONDS", 0.0)
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

    monkeypatch.setattr("worker.process.STOP_SECONDS", 0.01)
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

    monkeypatch.setattr("worker.process.Worker", _Worker)
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
