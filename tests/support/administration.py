"""What an operator does with an installation of processes, and checks of what the workers made of its log."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import httpx
from pydantic_core import from_json

from schemas.domain.record import unpack
from tests.services import redis_client
from tests.support.installation import Installation
from worker.recovery.dead_letters import DeadLetter


async def sleepctl(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    """Run a command of ours as an operator does, and return its exit status, stdout and stderr."""
    command = Path(sys.executable).with_name("sleepctl")
    process = await asyncio.create_subprocess_exec(
        command, *arguments, env=os.environ | installation.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def document_of(installation: Installation, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a command that succeeds prints as JSON."""
    code, out, err = await sleepctl(installation, *arguments, "--json")
    assert code == 0, err
    return from_json(out)


async def empty_redis(installation: Installation) -> None:
    """Take away this installation's keys in Redis, and nobody else's."""
    redis = redis_client(installation.services.redis)
    try:
        async for key in redis.scan_iter(f"{{{installation.settings.redis_prefix}:*", count=10_000):
            await redis.unlink(key)
    finally:
        await redis.aclose()


async def stop_workers(installation: Installation) -> None:
    """Stop every process as an operator would."""
    for process in [process for process in installation.processes if process.running]:
        assert await asyncio.to_thread(process.stop) == 0


async def assert_fold(installation: Installation) -> None:
    """Assert that each partition's records in Redis are a plain fold of its log, up to where Redis stands."""
    for partition, position in (await installation.applied()).items():
        plain = await installation.plain_fold(partition, position)
        packed = await installation.stored(partition)
        assert {tenant: unpack(record, plain.rules) for tenant, record in packed.items()} == plain.records


async def dead_letters_of(installation: Installation) -> list[DeadLetter]:
    """Return all dead letters."""
    topic, partitions = installation.settings.topics.deadletter, installation.settings.partitions
    return [DeadLetter.of(record) for number in range(partitions) for record in await installation.read(topic, number)]


async def status_of(page: str) -> httpx.Response:
    """Ask a worker's page, once it is there."""
    async with httpx.AsyncClient(timeout=30) as client:
        while True:
            try:
                return await client.get(f"{page}/status")
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def wait_until_forwarded(installation: Installation, count: int) -> None:
    """Wait until so many records have come to the events topic, and are applied."""
    async with asyncio.timeout(120):
        while await installation.length(installation.settings.topics.events) < count:
            await asyncio.sleep(0.1)
    await installation.caught_up()
