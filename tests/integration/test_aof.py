"""An append-only file that was cut, or damaged: Redis goes back or does not start, and the pipeline heals or waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.installation import Installation
from tests.integration.test_rebuild import _opened, assert_fold, document_of, stop_workers
from tests.load import tenant_load
from tests.services import Namespace, ServiceError, Services, UnavailableError
from tests.services.append_only import FOLDER, append_only_file
from tests.services.fixtures import pass_over
from tests.services.processes import RedisProcess, find

pytestmark = pytest.mark.needs_kafka

SEED = 77


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis of this test alone, whose files are at hand."""
    try:
        program = find("redis-server", "redis-server")
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
        await _load(opened, 500)
        yield opened


async def _load(installation: Installation, count: int) -> None:
    now = time.time_ns() // 1_000_000
    await installation.write(tenant_load(SEED, count, tenants=40, partitions=2, now=now))
    await installation.caught_up()


async def test_a_file_cut_within_a_command_is_a_rollback_and_heals(
    installation: Installation, own_redis: RedisProcess
) -> None:
    """Redis loads what is whole (aof-load-truncated yes); the lanes are refused, read again and seek."""
    file = append_only_file(own_redis)
    [(name, size)] = file.sizes().items()
    await _load(installation, 1_000)
    applied = sum((await installation.applied()).values())
    await asyncio.to_thread(own_redis.kill)
    grown = file.sizes()[name] - size
    lost = file.cut({name: size + grown // 2 + 3})
    await asyncio.to_thread(own_redis.start)
    back = sum((await installation.applied()).values())
    await installation.write([_opened("acme", 2)])
    await installation.caught_up()
    await asyncio.sleep(3)
    await installation.caught_up()
    await stop_workers(installation)
    assert lost > 0
    print(f"\nseed {SEED}: {lost} bytes cut off, applied {applied}, at the next start {back}, and all in the end")
    log = (installation.directory / "worker.log").read_text()
    assert "lane_stopped" not in log
    assert "lane_failed" not in log
    await assert_fold(installation)
    assert (await document_of(installation, "verify"))["differences"] == []


async def test_a_file_damaged_in_its_middle_is_refused_by_redis_and_waited_out(
    installation: Installation, own_redis: RedisProcess
) -> None:
    """Redis does not start and says why; both pages say that it is away; nothing goes on until a person has helped."""
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
