"""An append-only file that was cut, or damaged: Redis goes back or does not start, and the pipeline heals or waits."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.services import Namespace, ServiceError, Services, UnavailableError, redis_client
from tests.services.append_only import FOLDER, append_only_file
from tests.services.processes import RedisProcess
from tests.services.skips import pass_over
from tests.services.valkey import redis_program
from tests.support.administration import assert_fold, document_of, stop_workers
from tests.support.installation import Installation, Process
from tests.support.load import tenant_load
from tests.support.records import sent_breaker
from worker.ports import StoreError

SEED = 77


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis of this test alone, whose files are at hand."""
    try:
        program = redis_program()
    except UnavailableError as error:
        pass_over(f"needs a Redis whose files are at hand: {error}")
    redis = RedisProcess(tmp_path, program)
    redis.start()
    yield redis
    redis.close()


@pytest.fixture
async def installation(
    services: Services, own_redis: RedisProcess, namespace: Namespace, tmp_path: Path
) -> AsyncIterator[Installation]:
    """A worker at work on two partitions."""
    on_it = replace(services, store=own_redis)
    async with Installation.open(on_it, namespace, tmp_path, partitions=2) as opened:
        opened.start("worker")
        yield opened


async def _load(installation: Installation, count: int) -> None:
    now = time.time_ns() // 1_000_000
    await installation.write(tenant_load(SEED, count, tenants=40, partitions=2, now=now))
    await installation.caught_up()


@contextmanager
def paused(process: Process) -> Iterator[None]:
    """Stop a process where it is, so that what Redis lacks can be looked at before the process heals it."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


async def written(redis: RedisProcess) -> dict[str, int]:
    """Return how long the file is once all is in it: Redis waits with a write while it syncs, for up to two seconds."""
    client = redis_client(redis.address)
    try:
        async with asyncio.timeout(30):
            while (await client.info("persistence"))["aof_buffer_length"]:
                await asyncio.sleep(0.01)
    finally:
        await client.aclose()
    return append_only_file(redis).sizes()


async def rolled_back(installation: Installation, redis: RedisProcess, sizes: dict[str, int]) -> dict[int, int]:
    """Have Redis crash and come back with a shorter file; return the positions that it then has."""
    await written(redis)
    await asyncio.to_thread(redis.kill)
    lost = append_only_file(redis).cut(sizes)
    assert lost > 0
    await asyncio.to_thread(redis.start)
    async with asyncio.timeout(30):
        while True:
            try:
                return await installation.applied()
            except StoreError:
                await asyncio.sleep(0.05)


def assert_nothing_stopped(installation: Installation) -> None:
    """No lane has asked for a person."""
    log = (installation.directory / "worker.log").read_text()
    assert "lane_stopped" not in log
    assert "lane_failed" not in log


async def test_a_file_cut_within_a_command_is_a_rollback_and_heals(
    installation: Installation, own_redis: RedisProcess
) -> None:
    """Redis loads the complete commands (aof-load-truncated yes), and the lanes replay the rest."""
    await _load(installation, 500)
    [(name, size)] = (await written(own_redis)).items()
    await _load(installation, 1_000)
    applied = await installation.applied()
    [worker] = installation.processes
    with paused(worker):
        grown = (await written(own_redis))[name] - size
        back = await rolled_back(installation, own_redis, {name: size + grown // 2 + 3})
    assert all(back[partition] <= applied[partition] for partition in applied)
    assert sum(back.values()) < sum(applied.values())
    await installation.write([sent_breaker("acme", partitions=2)])
    await installation.caught_up()
    await asyncio.sleep(3)
    await installation.caught_up()
    await stop_workers(installation)
    assert_nothing_stopped(installation)
    await assert_fold(installation)
    assert (await document_of(installation, "verify"))["differences"] == []


async def test_what_an_idle_partition_lost_comes_back_without_a_new_event(
    installation: Installation, own_redis: RedisProcess
) -> None:
    """Meanwhile callers see the older state, and 404 for a command that had got 200; then all is as it was."""
    [worker] = installation.processes
    door = await installation.open_door()
    async with door.client("acme") as client:

        async def sleep(state: str, key: str) -> httpx.Response:
            headers = {"Idempotency-Key": key, "Prefer": "wait=30"}
            return await client.post(
                "/api/util/sleep", json={"target_state": state, "ttl_seconds": 600}, headers=headers
            )

        async def seen(operation_id: str) -> tuple[int, str, int]:
            mode = await client.get("/api/brain/sleep_mode")
            operation = await client.get(f"/api/operations/{operation_id}")
            return mode.status_code, mode.json().get("state", mode.text), operation.status_code

        assert (await sleep("light", "first")).status_code == httpx.codes.OK
        await installation.caught_up()
        sizes = await written(own_redis)
        slept = await sleep("deep", "second")
        assert slept.status_code == httpx.codes.OK
        operation_id = slept.json()["operation_id"]
        await installation.caught_up()
        applied = await installation.applied()
        assert await seen(operation_id) == (200, "deep", 200)

        with paused(worker):
            back = await rolled_back(installation, own_redis, sizes)
            assert sum(back.values()) < sum(applied.values())
            assert await seen(operation_id) == (200, "light", 404)

        async with asyncio.timeout(60):
            while await seen(operation_id) != (200, "deep", 200):
                await asyncio.sleep(0.05)
        assert await installation.applied() == applied == await installation.ends()
        again = await sleep("deep", "second")
        assert (again.status_code, again.json()["position"]) == (httpx.codes.OK, slept.json()["position"])
    await stop_workers(installation)
    assert_nothing_stopped(installation)
    await assert_fold(installation)
    assert (await document_of(installation, "verify"))["differences"] == []


async def test_a_file_damaged_in_its_middle_is_refused_by_redis_and_waited_out(
    installation: Installation, own_redis: RedisProcess
) -> None:
    """Redis does not start and says why; both pages say that it is away; nothing goes on until a person has helped."""
    await _load(installation, 500)
    await asyncio.to_thread(own_redis.kill)
    [name] = append_only_file(own_redis).sizes()
    path = own_redis.folder / FOLDER / name
    good = path.read_bytes()
    # Where a command begins. A value that is damaged Redis would load; its own checksum is for that.
    at = good.index(b"\r\n*", len(good) // 2) + 2
    path.write_bytes(good[:at] + b"\x00" + good[at + 1 :])
    with pytest.raises(ServiceError, match="Bad file format reading the append only file"):
        await asyncio.to_thread(own_redis.start)

    worker, door = installation.start_worker(), await installation.open_door()
    for url in (worker, door.url):
        async with asyncio.timeout(40), httpx.AsyncClient(base_url=url, timeout=30) as client:
            while True:
                try:
                    answer = await client.get("/status")
                except httpx.TransportError:
                    continue
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "ConnectionError" in answer.text:
                    break
                await asyncio.sleep(0.1)
    path.write_bytes(good)
    await asyncio.to_thread(own_redis.start)
    await _load(installation, 200)
    await asyncio.sleep(3)
    await installation.caught_up()
    await stop_workers(installation)
    await assert_fold(installation)
