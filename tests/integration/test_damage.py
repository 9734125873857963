"""Damage on real services: each is found and named, nothing is folded on top of it, and the named cure heals it."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_core import from_json, to_json

from tests.services import Client, Lacks, Namespace, Services, redis_client
from tests.support.administration import assert_fold, document_of, sleepctl, stop_workers
from tests.support.installation import Installation
from tests.support.load import tenant_load
from tests.support.records import sent_breaker
from worker.ports import Output

SEED = 31
FLIPS = 20


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """One partition with the states of some tenants, and no worker at work."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as opened:
        opened.start("worker")
        await opened.write(tenant_load(SEED, 400, tenants=12, partitions=1, now=time.time_ns() // 1_000_000))
        await opened.write(
            [
                sent_breaker("acme", partitions=1),
                sent_breaker("globex", partitions=1),
            ]
        )
        await opened.caught_up()
        await asyncio.sleep(2)
        await opened.caught_up()
        await stop_workers(opened)
        yield opened


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[Client]:
    """A client of its own, to do damage with."""
    client = redis_client(services.redis)
    yield client
    await client.aclose()


async def finding_of(installation: Installation) -> str:
    """Start a worker, and return what stops its lane; end it again."""
    page = installation.start_worker()
    lane: dict[str, Any] = {}
    code = 0
    async with asyncio.timeout(40), httpx.AsyncClient(base_url=page, timeout=30) as client:
        while not lane.get("stopped"):
            await asyncio.sleep(0.1)
            try:
                answer = await client.get("/status")
            except httpx.TransportError:
                continue
            code, lane = answer.status_code, next(iter(answer.json()["lanes"]), {})
    assert code == httpx.codes.SERVICE_UNAVAILABLE
    await stop_workers(installation)
    return str(lane["finding"])


async def rebuilt(installation: Installation, finding: str) -> None:
    """Run the command that a finding names, and assert that it healed everything."""
    [command] = re.findall(r"run `sleepctl (rebuild[^`]*)`", finding)
    await document_of(installation, *command.split())
    assert (await document_of(installation, "verify"))["differences"] == []
    installation.start("worker")
    await installation.write([sent_breaker("initech", partitions=1)])
    await installation.caught_up()
    await stop_workers(installation)
    await assert_fold(installation)


def flipped(packed: bytes, chance: random.Random) -> bytes:
    """Return the same bytes but for one bit."""
    at, bit = chance.randrange(len(packed)), 1 << chance.randrange(8)
    return packed[:at] + bytes([packed[at] ^ bit]) + packed[at + 1 :]


@pytest.mark.needs_kafka(Lacks.GROUPS)
async def test_a_flipped_bit_in_a_tenant_s_record_is_named_by_all_and_read_by_none(
    installation: Installation, redis: Client
) -> None:
    """The API answers 503 for this tenant alone; the lane stops at its next event; `verify` names it."""
    key, chance = installation.store.keys(0).tenants, random.Random(SEED)
    good = (await installation.stored(0))["acme"]
    door = await installation.open_door()
    async with door.client("acme") as client:
        for _ in range(FLIPS):
            await redis.hset(key, "acme", flipped(good, chance))
            answer = await client.get("/api/brain/sleep_mode")
            assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
    async with door.client("globex") as client:
        assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "freeze"
    await stop_workers(installation)
    output = (installation.directory / "api.log").read_text()
    assert output.count("what it holds cannot be read: damaged: its checksum is wrong") == FLIPS

    code, out, _ = await sleepctl(installation, "verify", "--json")
    assert code == 1
    assert [entry["tenant"] for entry in from_json(out)["differences"]] == ["acme"]

    damaged, stood = (await installation.stored(0))["acme"], await installation.applied()
    await installation.write([sent_breaker("acme", partitions=1)])
    finding = await finding_of(installation)
    assert "the record of tenant acme cannot be read: damaged: its checksum is wrong" in finding
    assert (await installation.stored(0))["acme"] == damaged
    assert await installation.applied() == stood
    await rebuilt(installation, finding)


@pytest.mark.needs_kafka(Lacks.GROUPS)
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("next", b"3", "another record at offset 2 where the last one before 3 was applied"),
        ("next", b"soon", "progress cannot be used"),
        ("records", b"1", "tenant records where progress says 1"),
        ("layout", b"99", "layout 99 is newer than"),
    ],
)
async def test_a_progress_edited_by_hand_is_named(
    installation: Installation, redis: Client, field: str, value: bytes, words: str
) -> None:
    """And nothing is folded, whatever waits. The unit tests of the lane have more edits."""
    before = await installation.stored(0)
    await redis.hset(installation.store.keys(0).progress, field, value)
    await installation.write([sent_breaker("acme", partitions=1)])
    finding = await finding_of(installation)
    assert words in finding
    assert (await installation.stored(0)) == before
    assert await redis.hget(installation.store.keys(0).progress, field) == value
    if field != "layout":
        if value == b"soon":
            code, _, err = await sleepctl(installation, "rebuild", "--force")
            assert (code, "delete the Redis key" in err) == (1, True)
            await redis.delete(installation.store.keys(0).progress)
        await rebuilt(installation, finding)


@pytest.mark.needs_kafka(Lacks.GROUPS)
async def test_a_state_from_the_future_of_the_log_is_named_and_repaired(
    installation: Installation, redis: Client
) -> None:
    """Someone else wrote to the states topic: `verify` and `rebuild` name it, and a worker appends what is true."""
    topic = installation.settings.topics.states
    states = {record.key: record.value for record in await installation.read(topic, 0)}
    end = (await installation.applied())[0]
    future = from_json(states[b"acme"] or b"") | {"position": f"0:{end + 1_000}", "state": "active", "version": 10**6}
    await installation.outputs.send(topic, 0, [Output(b"acme", to_json(future))])

    code, out, _ = await sleepctl(installation, "verify", "--json")
    named = {(entry["tenant"], entry["where"], entry["what"]) for entry in from_json(out)["differences"]}
    assert (code, named) == (1, {("acme", "states", "is from the future")})
    before, progress = await installation.stored(0), installation.store.keys(0).progress
    former: Any = await redis.hgetall(progress)
    await redis.delete(progress)
    code, _, err = await sleepctl(installation, "rebuild")
    print(f"\nrebuild, exit status {code}: {err.strip()}")
    assert (code, f"tenant acme has a state from 0:{end + 1_000}" in err) == (1, True)
    assert await installation.stored(0) == before

    await redis.hset(progress, mapping=former)
    installation.start("worker")
    async with asyncio.timeout(40):
        while (await installation.read(topic, 0))[-1].value != states[b"acme"]:
            await asyncio.sleep(0.2)
    await stop_workers(installation)
    assert (await installation.stored(0)) == before
