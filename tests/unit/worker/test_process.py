"""A worker process: how it starts, stops, and starts its consumer afresh."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from structlog.testing import capture_logs

from schemas.redis.health import RedisHealth
from tests.support.fakes import settle
from tests.support.settings import settings_of
from tests.unit.worker.process_rig import NotedStore, ProcessRig
from worker.adapters.kafka_topics import TopicsError
from worker.runtime.faust.consumer_supervisor import wait as wait_for
from worker.runtime.worker import serve


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> ProcessRig:  # noqa: ARG001 - it must not wait
    """The surroundings of a worker."""
    return ProcessRig(monkeypatch)


async def test_a_worker_starts_from_the_outside_in_and_stops_the_other_way(rig: ProcessRig) -> None:
    """Nothing is consumed before the topics are right and the outputs stand."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop, rig.ready))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    assert rig.ready.is_set()
    assert worker.kafka_problem is None
    assert rig.steps == ["page starts", "topics verified", "outputs starts", "app starts"]
    rig.stop.set()
    await running
    assert rig.steps[4:] == ["app stops", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_the_lanes_finish_before_the_group_is_left(rig: ProcessRig) -> None:
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


async def test_lanes_that_come_while_the_consumer_stops_are_ended_too(rig: ProcessRig) -> None:
    """A rebalance may be under way; the next consumer's lanes must be its own."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    rig.apps[0].stopping = lambda: worker.lanes.assign([0])
    rig.stop.set()
    await running
    assert list(worker.lanes) == []


async def test_a_kafka_that_is_away_at_the_start_is_waited_for_and_said_once(
    rig: ProcessRig, waits: list[float]
) -> None:
    """Whichever step finds it away, all are taken again."""
    rig.failures["verify"] = [KafkaConnectionError("no broker")] * 3
    rig.failures["connect"] = [OSError("refused")] * 2
    worker = rig.worker()
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run(rig.stop, rig.ready))
        await rig.until(lambda: len(waits) == 5)
        meanwhile = worker.kafka_problem
        assert meanwhile == "OSError: refused"
        assert not rig.ready.is_set()
        await rig.until(rig.ready.is_set)
        assert (worker.joined, worker.kafka_problem) == (False, "starting: waits for the other members of its group")
        await rig.until(lambda: worker.joined)
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["waiting_for_kafka"]
    assert worker.kafka_problem is None
    rig.stop.set()
    await running


async def test_a_worker_that_waits_for_kafka_can_be_stopped(rig: ProcessRig, waits: list[float]) -> None:
    """It was never ready."""
    rig.failures["verify"] = [KafkaConnectionError("no broker")] * 1_000_000
    running = asyncio.create_task(rig.worker().run(rig.stop, rig.ready))
    await rig.until(lambda: len(waits) == 3)
    rig.stop.set()
    await running
    assert not rig.ready.is_set()
    assert rig.steps == ["page starts", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_a_page_that_cannot_be_served_ends_the_worker_and_leaves_nothing_open(rig: ProcessRig) -> None:
    """The port is taken: the producer and the store were made before."""
    rig.failures["page"] = [OSError("taken")]
    with pytest.raises(OSError, match="taken"):
        await rig.worker().run(rig.stop, rig.ready)
    assert rig.steps == ["outputs stops", "store closes"]


async def test_wrong_topics_end_the_worker_at_once(rig: ProcessRig) -> None:
    """Waiting would not mend them; everything that was opened is closed."""
    rig.failures["verify"] = [TopicsError("topic sleep.events is missing")]
    with pytest.raises(TopicsError, match=r"sleep\.events is missing"):
        await rig.worker().run(rig.stop, rig.ready)
    assert rig.steps == ["page starts", "outputs stops", "reader stops", "store closes", "page stops"]


async def test_the_embedded_broker_is_not_asked_about_its_topics(rig: ProcessRig) -> None:
    """It could not answer."""
    running = asyncio.create_task(rig.worker(embedded=True).run(rig.stop, rig.ready))
    await rig.until(rig.ready.is_set)
    rig.stop.set()
    await running
    assert "topics verified" not in rig.steps


async def test_a_consumer_that_crashes_is_restarted_and_the_status_page_says_so(
    rig: ProcessRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With new lanes; nobody has to restart the worker."""
    seen: list[str | None] = []
    worker = rig.worker()

    async def wait(*_: object) -> None:
        seen.append(worker.kafka_problem)

    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor.wait", wait)
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run(rig.stop))
        await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
        worker.lanes.assign([0])
        rig.apps[0].crash(RuntimeError("a bug in the consumer"))
        await rig.until(lambda: len(rig.apps) == 2 and rig.apps[1].started.is_set())
        await settle()
    assert seen == ["the consumer stopped: RuntimeError('a bug in the consumer'); it is restarted"]
    assert worker.kafka_problem is None
    assert list(worker.lanes) == []
    assert [line["reason"] for line in logs if line["event"] == "consumer_restarts"] == seen
    rig.stop.set()
    await running


async def test_a_consumer_that_finds_no_broker_is_tried_again_until_it_does(
    rig: ProcessRig, waits: list[float]
) -> None:
    """And then the page is clean again."""
    rig.failures["app"] = [KafkaConnectionError("no broker"), OSError("refused")]
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: len(waits) == 1)
    assert "no broker" in str(worker.kafka_problem)
    await rig.until(lambda: len(rig.apps) == 3 and rig.apps[2].started.is_set())
    await settle()
    assert worker.kafka_problem is None
    rig.stop.set()
    await running
    assert rig.steps.count("app stops") == 3


async def test_a_consumer_that_cannot_be_made_is_waited_for(rig: ProcessRig) -> None:
    """Its certificate may be away for a moment, while another takes its place."""
    rig.failures["build"] = [OSError("SLEEP_KAFKA_SSL_CAFILE: the file cannot be read")]
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: worker.joined)
    rig.stop.set()
    await running
    assert rig.steps.count("app stops") == 1


async def test_a_consumer_that_does_not_stop_does_not_keep_the_worker(
    rig: ProcessRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the broker away it may never."""
    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor.STOP_SECONDS", 0.0)
    running = asyncio.create_task(rig.worker().run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(rig.apps[0], "stop", never)
    rig.stop.set()
    with capture_logs() as logs:
        await running
    assert [(line["event"], line["what"]) for line in logs] == [("not_stopped", "worker")]


@pytest.mark.parametrize("error", [None, KafkaError("the consumer's thread has ended")])
async def test_a_consumer_that_does_not_stop_cleanly_does_not_keep_the_worker(
    rig: ProcessRig, monkeypatch: pytest.MonkeyPatch, error: Exception | None
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

    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor.STOP_SECONDS", 0.01)
    monkeypatch.setattr(rig.apps[0], "stop", stop)
    rig.stop.set()
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await running
    assert [(line["event"], line["what"]) for line in logs] == [("not_stopped", "worker")]
    for task in asyncio.all_tasks():
        if task.get_name() == "stop-worker":
            task.cancel()


@pytest.mark.parametrize("cancels", [1, 1_000_000])
async def test_a_watch_that_swallows_its_cancel_does_not_keep_the_worker(
    rig: ProcessRig, monkeypatch: pytest.MonkeyPatch, cancels: int
) -> None:
    """redis-py waits with `asyncio.wait_for`, which swallows one on Python 3.11; a task may swallow each."""
    monkeypatch.setattr("schemas.tasks.CANCEL_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor._TASK_SECONDS", 0.1)
    release = asyncio.Event()
    swallowed = 0

    async def run() -> None:
        nonlocal swallowed
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > cancels:
                    raise

    worker = rig.worker()
    monkeypatch.setattr(worker.redis_watch, "run", run)
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: worker.joined)
    rig.stop.set()
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await running
    lines = [line for line in logs if line["event"] == "task_not_ended"]
    assert len(lines) == (cancels > 1)
    assert all("redis-watch" in line["task"] for line in lines)
    release.set()
    await asyncio.sleep(0)


async def test_the_lanes_ask_the_present_consumer_for_the_bounds_of_the_log(rig: ProcessRig) -> None:
    """While there is none, Kafka counts as away."""
    worker = rig.worker()
    with pytest.raises(KafkaError, match="the consumer is not running"):
        await worker._offset_range(3)  # noqa: SLF001 - what the lanes are given
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: rig.apps and rig.apps[0].started.is_set())
    assert await worker._offset_range(3) == (3, 99)  # noqa: SLF001 - as above
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

    monkeypatch.setattr("worker.runtime.worker.Worker", _Worker)
    monkeypatch.setattr("asyncio.set_event_loop_policy", lambda *_: None)  # which holds for the whole process
    settings, stop, ready = settings_of(), asyncio.Event(), asyncio.Event()
    await serve(settings, stop=stop, ready=ready, embedded=True)
    assert made == [(settings, {"embedded": True, "member": None, "tracing": None}), (stop, ready)]


async def test_waiting_ends_early_when_the_worker_is_stopped() -> None:
    """However long the wait."""
    stop = asyncio.Event()
    waiting = asyncio.create_task(wait_for(stop, 3_600))
    await settle()
    assert not waiting.done()
    stop.set()
    await waiting
    await wait_for(asyncio.Event(), 0.0)


@pytest.mark.parametrize(("embedded", "expected"), [(False, ["the AOF is off", "no replica"]), (True, [])])
async def test_a_worker_looks_at_how_its_redis_is_run(
    monkeypatch: pytest.MonkeyPatch, *, embedded: bool, expected: list[str]
) -> None:
    """Beside its work; an embedded one is to survive nothing."""

    async def info(_: object) -> dict[str, dict[str, object]]:
        return {"": {"maxmemory_policy": "noeviction", "aof_enabled": 0, "connected_slaves": 0}}

    monkeypatch.setattr(NotedStore, "info", info)
    rig = ProcessRig(monkeypatch)
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


async def test_findings_on_redis_are_metrics_of_the_worker(rig: ProcessRig) -> None:
    """Bad ones and warnings apart, so that an alert may wait longer for one of them."""
    worker = rig.worker()
    worker.redis_watch.health = RedisHealth(bad=("maxmemory-policy is allkeys-lru",), warnings=("a", "b"))
    shown = [
        worker.metrics.registry.get_sample_value("sleep_worker_redis_findings", {"severity": severity})
        for severity in ("bad", "warning")
    ]
    assert shown == [1, 2]


async def test_without_an_ingress_topic_nobody_joins_its_group(rig: ProcessRig) -> None:
    """There would be nothing to read."""
    worker = rig.worker()
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: worker.joined)
    rig.stop.set()
    await running
    assert rig.ingress_apps == []
    assert worker.ingress_problems == {}


@pytest.mark.usefixtures("waits")
async def test_whatever_becomes_of_ingress_the_lanes_go_on(rig: ProcessRig) -> None:
    """Its consumer crashes, or cannot be started, or we have a defect: it is restarted, and they are not."""
    rig.ingress_failures = [KafkaError("not authorised"), ZeroDivisionError("a defect")]
    worker = rig.worker(ingress=True)
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: len(rig.ingress_apps) == 3 and worker.ingress_consumer.joined)
    rig.ingress_apps[2].crash(RuntimeError("unparseable"))
    await rig.until(lambda: len(rig.ingress_apps) == 4 and rig.ingress_apps[3].started.is_set())
    await rig.until(lambda: worker.ingress_consumer.problem is None)
    assert (len(rig.apps), rig.steps.count("app stops"), worker.kafka_problem) == (1, 0, None)
    rig.stop.set()
    await running


@pytest.mark.usefixtures("waits")
async def test_what_becomes_of_the_lanes_consumer_is_nothing_to_ingress(rig: ProcessRig) -> None:
    """And a worker is ready once its lanes have a group."""
    rig.failures["app"] = [KafkaError("no coordinator")]
    worker = rig.worker(ingress=True)
    running = asyncio.create_task(worker.run(rig.stop))
    await rig.until(lambda: worker.joined)
    rig.apps[-1].crash(RuntimeError("a bug"))
    await rig.until(lambda: len(rig.apps) == 3 and rig.apps[2].started.is_set())
    assert len(rig.ingress_apps) == 1
    rig.stop.set()
    await running


async def test_what_keeps_the_consumer_of_ingress_is_told_of_each_topic(rig: ProcessRig) -> None:
    """Until it runs; a finding of a topic's own is more to the point."""
    worker = rig.worker(ingress=True)
    assert worker.ingress_problems == {"sleep.breakers": "starting: waits for the other members of its group"}
    worker.ingress.problems["sleep.breakers"] = "a batch could not be forwarded"
    assert worker.ingress_problems == {"sleep.breakers": "a batch could not be forwarded"}


async def test_every_way_to_serve_mends_aiokafka(rig: ProcessRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line is not the only one."""
    mended: list[bool] = []
    monkeypatch.setattr("worker.runtime.worker.mend_aiokafka", lambda: mended.append(True))
    rig.stop.set()
    await serve(settings_of(ingress=[]), stop=rig.stop)
    assert mended == [True]
