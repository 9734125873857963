"""The worker's page: alive, ready, what it finds, which build, metrics."""

import asyncio
import errno
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.kafka.topic_check import TopicHealth
from schemas.redis.health import RedisHealth
from tests.support.outputs import breaker
from tests.support.settings import settings_of
from tests.support.world import World
from worker.ports import OutputError
from worker.runtime.status_server import StatusPage
from worker.runtime.unreadable_batches import UnreadableBatches
from worker.runtime.worker import Worker

pytestmark = pytest.mark.partitions(2)

SETTINGS = settings_of()
ANSWERS = {"up": True, "finding": "answers"}


class _Server:
    """A server that serves nothing until it is stopped."""

    def __init__(self, _app: object, listener: object, *_: object, **__: object) -> None:
        self.listener = listener
        self.ended = False
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def run_until_stopped(self) -> None:
        await self._stopped.wait()
        self.ended = True


class _Pinged:
    """Something that answers, or not."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error

    def skew_finding(self) -> str | None:
        return None


@pytest.fixture
def worker(world: World) -> SimpleNamespace:
    """A worker as the page sees it."""
    ours = world.worker
    return SimpleNamespace(
        store=_Pinged(),
        outputs=_Pinged(),
        lanes=ours.lanes,
        metrics=ours.metrics,
        kafka_problem=None,
        joined=True,
        redis_watch=SimpleNamespace(health=RedisHealth(), skew_finding=lambda: None),
        ingress_problems={},
        unreadable=UnreadableBatches(),
        topic_watch=SimpleNamespace(health=TopicHealth({}, {})),
    )


@pytest.fixture
def page(worker: SimpleNamespace) -> StatusPage:
    """The page of this worker, not yet served."""
    return StatusPage(cast("Worker", worker), SETTINGS)


async def get(page: StatusPage, path: str) -> httpx.Response:
    """Ask the page."""
    transport = httpx.ASGITransport(app=page.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        return await client.get(path)


async def test_a_worker_with_nothing_wrong_says_so(page: StatusPage, world: World) -> None:
    """With its partitions and how far they are."""
    world.log(breaker("tenant-1", "open"), partition=0)
    world.worker.lanes.assign([0, 1])
    await world.run()
    answer = await get(page, "/status")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "dependencies": {"redis": ANSWERS, "kafka": ANSWERS},
        "warnings": [],
        "lanes": [
            {"partition": 0, "position": 1, "stopped": False, "finding": None},
            {"partition": 1, "position": 0, "stopped": False, "finding": None},
        ],
        "ingress": {},
        "unreadable": [],
    }


async def test_a_redis_that_does_not_answer_is_a_finding(page: StatusPage, worker: SimpleNamespace) -> None:
    """With what the client said."""
    worker.store.error = RedisConnectionError("connection refused")
    answer = await get(page, "/status")
    assert answer.status_code == 503
    assert answer.json()["status"] == "bad"
    redis = {"up": False, "finding": "ConnectionError: connection refused"}
    assert answer.json()["dependencies"] == {"redis": redis, "kafka": ANSWERS}


async def test_a_redis_that_evicts_is_bad_and_one_without_a_replica_is_told(
    page: StatusPage, worker: SimpleNamespace
) -> None:
    """Only what may lose records silently makes the page fail."""
    worker.redis_watch.health = RedisHealth(warnings=("no replica is connected",))
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["warnings"] == ["no replica is connected"]
    worker.redis_watch.health = RedisHealth(bad=("maxmemory-policy is allkeys-lru", "and so on the other"))
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (503, "bad")
    assert answer.json()["dependencies"]["redis"]["finding"] == "maxmemory-policy is allkeys-lru; and so on the other"


async def test_topics_that_are_not_as_they_must_be_are_findings(page: StatusPage, worker: SimpleNamespace) -> None:
    """What stops the lanes is bad; a topic with fewer partitions than asked for is only weak."""
    worker.topic_watch.health = TopicHealth({}, {"sleep.deadletter": "has 1 of 8 partitions"})
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["warnings"] == ["has 1 of 8 partitions"]
    worker.topic_watch.health = TopicHealth({"sleep.states": "topic sleep.states is missing"}, {})
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (503, "bad")
    assert answer.json()["dependencies"]["kafka"]["finding"] == "topic sleep.states is missing"


async def test_a_clock_that_differs_is_told_and_stops_nothing(
    page: StatusPage, worker: SimpleNamespace, world: World
) -> None:
    """A record from the future tells of a clock that is behind, an acknowledgement of one that is ahead."""
    world.log(breaker("acme", "open"), at=world.clock.now() + 45_000)
    world.worker.lanes.assign([0])
    await world.run()
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "45 s behind" in answer.json()["warnings"][0]
    worker.redis_watch.skew_finding = lambda: "ahead"
    assert (await get(page, "/status")).json()["warnings"][1:] == ["ahead"]


async def test_an_ingress_topic_that_is_not_forwarded_is_a_finding(page: StatusPage, worker: SimpleNamespace) -> None:
    """By its name."""
    worker.ingress_problems["sleep.breakers"] = "a batch could not be forwarded"
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["status"]) == (503, "bad")
    assert answer.json()["ingress"] == {"sleep.breakers": "a batch could not be forwarded"}


async def test_a_lane_that_waits_for_a_record_from_the_future_says_so(page: StatusPage, world: World) -> None:
    """Somebody must set a clock."""
    world.log(breaker("acme", "open"), at=world.clock.now() + 90_000)
    world.worker.lanes.assign([0])
    await world.run()
    answer = await get(page, "/status")
    assert answer.status_code == 503
    [lane] = answer.json()["lanes"]
    assert lane["finding"] == (
        "the record at offset 0 is 90000 ms ahead of this clock; set the clocks of broker and worker"
    )


async def test_a_broker_that_does_not_answer_is_a_finding(page: StatusPage, worker: SimpleNamespace) -> None:
    """It is asked each time."""
    worker.outputs.error = OutputError("no broker")
    answer = await get(page, "/status")
    assert answer.status_code == 503
    assert "no broker" in answer.json()["dependencies"]["kafka"]["finding"]


async def test_what_the_worker_itself_has_found_about_kafka_comes_first(
    page: StatusPage, worker: SimpleNamespace
) -> None:
    """A producer that was never started is not asked."""
    worker.kafka_problem = "TopicsError: topic sleep.events is missing"
    worker.outputs.error = AssertionError("asked")
    answer = await get(page, "/status")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["kafka"]["finding"] == "TopicsError: topic sleep.events is missing"


async def test_a_stopped_lane_is_a_finding(page: StatusPage, world: World) -> None:
    """With the command to run."""
    world.stored(1).progress[b"next"] = b"5"
    world.worker.lanes.assign([0, 1])
    await world.run()
    answer = await get(page, "/status")
    assert answer.status_code == 503
    [_, lane] = answer.json()["lanes"]
    assert lane["stopped"] is True
    assert "sleepctl rebuild" in lane["finding"]


async def test_a_lane_in_an_outage_is_a_finding_until_it_recovers(page: StatusPage, world: World) -> None:
    """Nobody has to restart anything."""
    world.store.faults.down.add("partition_status")
    world.worker.lanes.assign([0])
    await world.advance(3)
    answer = await get(page, "/status")
    assert (answer.status_code, answer.json()["lanes"][0]["finding"]) == (503, "ConnectionError: redis is away")
    world.store.faults.heal()
    await world.advance(6)
    assert (await get(page, "/status")).status_code == 200


async def test_a_worker_is_alive_whatever_it_finds(page: StatusPage, worker: SimpleNamespace) -> None:
    """Killing it would help nobody."""
    worker.store.error = RedisConnectionError("connection refused")
    answer = await get(page, "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_worker_is_ready_from_when_it_joined_its_group_until_its_end(
    page: StatusPage, worker: SimpleNamespace
) -> None:
    """A rolling deploy goes on only then. An outage does not make it unready again."""
    worker.joined, worker.kafka_problem = False, "KafkaConnectionError: no broker"
    answer = await get(page, "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
    worker.joined = True
    assert (await get(page, "/readyz")).json() == {"status": "ready"}
    await page.stop()
    answer = await get(page, "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})


async def test_the_page_tells_its_build(page: StatusPage) -> None:
    """As the API's does."""
    answer = (await get(page, "/version")).json()
    assert set(answer) == {"version", "python", "build"}
    assert answer["version"][0].isdigit()


async def test_metrics_are_those_of_this_worker(page: StatusPage, world: World) -> None:
    """In the format of Prometheus."""
    world.worker.lanes.assign([0])
    await world.run()
    answer = await get(page, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'sleep_worker_lanes{state="running"} 1.0' in answer.text


async def test_there_is_nothing_else(page: StatusPage) -> None:
    """No documentation, no Faust."""
    assert (await get(page, "/")).status_code == 404


async def test_the_page_is_served_on_its_port_until_it_is_stopped(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping waits for the requests under way."""
    servers: list[_Server] = []

    def make(*arguments: object, **options: object) -> _Server:
        servers.append(_Server(*arguments, **options))
        return servers[0]

    monkeypatch.setattr("worker.runtime.status_server.HttpServer", make)
    monkeypatch.setattr("worker.runtime.status_server.listen", lambda *asked: asked)
    page = StatusPage(cast("Worker", worker), SETTINGS)
    await page.start()
    [server] = servers
    assert server.listener == (SETTINGS, "worker_metrics_port")
    await page.stop()
    assert server.ended


async def test_a_port_that_is_taken_is_an_error_that_names_it(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings that name it."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr("schemas.http.server.socket.create_server", refuse)
    page = StatusPage(cast("Worker", worker), SETTINGS)
    with pytest.raises(OSError, match=r"port 8081 of 127\.0\.0\.1 cannot be bound .*SLEEP_WORKER_METRICS_PORT"):
        await page.start()
    await page.stop()
