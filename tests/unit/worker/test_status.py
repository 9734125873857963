"""The worker's page: alive, ready, what it finds, which build, metrics."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
import uvicorn
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.redis_health import RedisHealth
from schemas.settings import Settings
from tests.world import World, breaker
from worker.ingress import Ingress
from worker.ports import OutputError
from worker.process import Worker
from worker.status import StatusPage

SETTINGS = Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis"})
ANSWERS = {"up": True, "finding": "answers"}


class _Server:
    """A uvicorn that binds nothing, and serves until it is to exit."""

    def __init__(self, config: uvicorn.Config) -> None:
        self.config = config
        self.lifespan: object = None
        self.should_exit = False
        self.steps: list[str] = []
        self._exits = asyncio.Event()

    async def startup(self) -> None:
        self.steps.append("startup")

    async def main_loop(self) -> None:
        while not self.should_exit:
            await asyncio.sleep(0)
        self.steps.append("exit")

    async def shutdown(self) -> None:
        self.steps.append("shutdown")


class _Pinged:
    """Something that answers, or not."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Two partitions, one worker, nothing in the log."""
    async with World(partitions=2) as world:
        yield world


@pytest.fixture
def worker(world: World) -> SimpleNamespace:
    """A worker as the page sees it."""
    ours = world.worker
    return SimpleNamespace(
        store=_Pinged(),
        outputs=_Pinged(),
        lanes=ours.lanes,
        metrics=ours.metrics,
        kafka_finding=None,
        joined=True,
        redis_watch=SimpleNamespace(health=RedisHealth()),
        ingress=Ingress(world.outputs, 2, ours.metrics),
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


async def test_an_ingress_topic_that_is_not_forwarded_is_a_finding(page: StatusPage, worker: SimpleNamespace) -> None:
    """By its name."""
    worker.ingress.findings["sleep.breakers"] = "a batch could not be forwarded"
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
    worker.kafka_finding = "TopicsError: topic sleep.events is missing"
    worker.outputs.error = AssertionError("asked")
    answer = await get(page, "/status")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["kafka"]["finding"] == "TopicsError: topic sleep.events is missing"


async def test_a_stopped_lane_is_a_finding(page: StatusPage, world: World) -> None:
    """With the command to run."""
    world.held(1).progress[b"next"] = b"5"
    world.worker.lanes.assign([0, 1])
    await world.run()
    answer = await get(page, "/status")
    assert answer.status_code == 503
    [_, lane] = answer.json()["lanes"]
    assert lane["stopped"] is True
    assert "sleepctl rebuild" in lane["finding"]


async def test_a_lane_in_an_outage_is_a_finding_until_it_recovers(page: StatusPage, world: World) -> None:
    """Nobody has to restart anything."""
    world.store.faults.down.add("standing")
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
    worker.joined, worker.kafka_finding = False, "KafkaConnectionError: no broker"
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

    def make(config: uvicorn.Config) -> _Server:
        servers.append(_Server(config))
        return servers[0]

    monkeypatch.setattr("worker.status.uvicorn.Server", make)
    page = StatusPage(cast("Worker", worker), SETTINGS)
    await page.start()
    [server] = servers
    assert (server.config.host, server.config.port, server.steps) == ("127.0.0.1", 8081, ["startup"])
    await page.stop()
    assert server.steps == ["startup", "exit", "shutdown"]


async def test_a_port_that_is_taken_is_an_error_that_names_it(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn would end the process by itself, and `sleepctl` could not say why."""

    async def startup(_: uvicorn.Server) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("worker.status.uvicorn.Server.startup", startup)
    page = StatusPage(cast("Worker", worker), SETTINGS)
    with pytest.raises(OSError, match=r"port 8081 of 127\.0\.0\.1 cannot be bound"):
        await page.start()
