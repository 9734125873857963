"""An installation moves from 4 to 8 partitions: all reads equal, tenants wake on time, and the old one stays."""

import asyncio
import json
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from sleepctl.commands.partitions import new_settings
from tests.services import Lacks, Namespace, Services, redis_client
from tests.support.administration import document_of, empty_redis, sleepctl, stop_workers
from tests.support.installation import ApiClient, Installation
from tests.support.load import rules_for_all, tenant_load
from tests.support.records import sent_breaker
from worker.recovery.move.move import Move

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka(Lacks.DELETING), pytest.mark.timeout(300)]

SEED: Final = 52
OLD: Final = 4
NEW: Final = 8
RAMP: Final = {"ramp_seconds": {"deepen": 600, "wake": 600}, "breakers": [{"match": "*", "open": "deep"}]}
SLEEPS: Final = 20.0
"""For how many seconds the tenants sleep that are to wake after the move."""
LATE_MS: Final = 10_000
"""How late a tenant may wake on a busy machine."""
COMMANDS: Final = {
    "pinned": ("POST", "/api/brain/sleep_mode", {"target_state": "light", "override": True, "ttl_seconds": 3_000}),
    "awake": ("POST", "/api/brain/sleep_mode", {"target_state": "active", "override": True, "ttl_seconds": 3_000}),
    "moded": ("POST", "/api/brain/sleep_mode", {"target_state": "deep"}),
    "slept": ("POST", "/api/util/sleep", {"target_state": "freeze", "ttl_seconds": 3_000, "reason": "a drill"}),
    "ramped": ("PUT", "/api/brain/sleep_policy", RAMP),
}
SENT_WITH: Final = {"Idempotency-Key": "before", "If-Match": "*"}


async def _read(door: ApiClient, tenant: str) -> dict[str, Any]:
    """What the API says of a tenant: state and policy, without what passes with time or is a position."""
    async with door.client(tenant) as client:
        mode = (await client.get("/api/brain/sleep_mode")).raise_for_status().json()
        policy = (await client.get("/api/brain/sleep_policy")).raise_for_status().json()
        operations = (await client.get("/api/util/sleep")).raise_for_status().json()["operations"]
    mode = {name: value for name, value in mode.items() if name not in ("now", "position", "parameters", "notes")}
    operations = [{**operation, "position": None} for operation in operations]
    return {"mode": mode, "policy": policy, "operations": operations}


async def _command(door: ApiClient, tenant: str) -> dict[str, Any]:
    method, path, body = COMMANDS[tenant]
    async with door.client(tenant) as client:
        answer = await client.request(method, path, json=body, headers=SENT_WITH)
    document: dict[str, Any] = answer.raise_for_status().json()
    return document


async def _dump(installation: Installation) -> dict[bytes, bytes]:
    """All keys of the partitions in Redis, receipts and limits aside."""
    redis = redis_client(installation.services.redis)
    try:
        keys = [key async for key in redis.scan_iter(f"{{{installation.settings.redis_prefix}:*", count=10_000)]
        kept = sorted(key for key in keys if b":limit:" not in key and b":receipt:" not in key)
        return {key: await redis.dump(key) for key in kept}
    finally:
        await redis.aclose()


async def _fails(answer: Awaitable[tuple[int, str, str]], told: str, code: int = 1) -> None:
    status, _, err = await answer
    assert (status, told in err) == (code, True), err


async def _slept(door: ApiClient, names: list[str]) -> dict[str, int]:
    """Put tenants to sleep for a while, and return when each wakes."""

    async def sleep(name: str) -> int:
        async with door.client(name) as client:
            body = {"target_state": "deep", "ttl_seconds": SLEEPS}
            expires_at: int = (await client.post("/api/util/sleep", json=body)).raise_for_status().json()["expires_at"]
            return expires_at

    return dict(zip(names, await asyncio.gather(*map(sleep, names)), strict=True))


async def test_an_installation_moves_to_more_partitions_and_may_go_back(  # noqa: PLR0915 - one long story
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Hundreds of tenants of all kinds; the move is refused, interrupted, repeated, used, and rebuilt."""
    there = Namespace.fresh().topic_prefix
    move = ("partitions", "move", "--partitions", str(NEW), "--topic-prefix", there)
    async with Installation.open(services, namespace, tmp_path, partitions=OLD) as old:
        old.start("worker")
        door = await old.open_door()
        now = time.time_ns() // 1_000_000
        await old.write(tenant_load(SEED, 1_200, tenants=300, partitions=OLD, now=now))
        await old.write(rules_for_all(1, {"policy": {"min_sleep_seconds": 2}}, OLD))
        await old.write(sent_breaker(f"frozen-{number}", partitions=OLD) for number in range(50))
        answers = {tenant: await _command(door, tenant) for tenant in COMMANDS}
        await old.write([sent_breaker("ramped", partitions=OLD)])
        await _fails(sleepctl(old, *move), "1 workers are in group")
        await old.caught_up()
        names = [*COMMANDS, *(f"tenant-{number}" for number in range(20)), "frozen-1"]
        before = {tenant: await _read(door, tenant) for tenant in names}
        short = await _slept(door, [f"short-{number}" for number in range(20)])
        await old.caught_up()
        await stop_workers(old)
        stays = await _dump(old), await old.ends(), await old.ends(old.settings.topics.states)

        planned = await document_of(old, *move, "--dry-run")
        assert (planned["dry_run"], planned["rules"]) == (True, 1)
        assert planned["tenants"] > 300
        assert len(planned["states"]) == 4
        await _interrupt(old, there)
        moved = await document_of(old, *move)
        assert moved["differences"] == []
        assert [each["found"] for each in moved["partitions"]].count(True) == 3
        assert all(each["tenants"] for each in moved["partitions"])
        assert [moved[name] for name in ("tenants", "commands", "policies", "states")] == [
            planned[name] for name in ("tenants", "commands", "policies", "states")
        ]
        assert moved["commands"] > 100
        assert moved["policies"] > 5
        assert stays == (await _dump(old), await old.ends(), await old.ends(old.settings.topics.states))
        again = await document_of(old, *move)
        assert all(each["found"] for each in again["partitions"])

        environment = {**old.environment, **moved["settings"]}
        other = Namespace(there, there, namespace.group)
        folder = tmp_path / "new"
        folder.mkdir()
        async with Installation.open(services, other, folder, partitions=NEW) as new:
            new.environment.update({name: environment[name] for name in moved["settings"]})
            new.key = old.key
            assert (await document_of(new, "verify"))["differences"] == []
            new.start("worker")
            door = await new.open_door()
            began = time.time_ns() // 1_000_000
            assert {tenant: await _read(door, tenant) for tenant in names} == before
            for tenant, answer in answers.items():
                repeated = await _command(door, tenant)
                gone = {"position", "actor", "reason", "trace_id", "now", "policy"}
                assert {name: value for name, value in repeated.items() if name not in gone} == {
                    name: value for name, value in answer.items() if name not in gone
                }
            await _wakes(new, short, began)
            await new.caught_up()
            await stop_workers(new)
            assert (await document_of(new, "verify"))["differences"] == []
            await _fails(sleepctl(old, *move), "is in use: its log and its progress have gone on")
            await empty_redis(new)
            await document_of(new, "rebuild")
            assert (await document_of(new, "verify"))["differences"] == []

        assert (await document_of(old, "verify"))["differences"] == []
        old.start("worker")
        door = await old.open_door()
        assert (await _read(door, "pinned")) == before["pinned"]


async def _interrupt(old: Installation, there: str) -> None:
    """Move until three partitions are written, as a process that is killed then."""
    written = 0

    def advance(_: int) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        async with Move.open(old.settings, new_settings(old.settings, NEW, there, there)) as begun:
            await begun.run(advance)
    assert written == 3


async def _wakes(new: Installation, short: dict[str, int], began: int) -> None:
    """Each tenant wakes at its time, by a timer on the new topics."""
    wanted = dict(short)
    async with asyncio.timeout(SLEEPS + 60):
        while wanted:
            await asyncio.sleep(0.5)
            for number in {partition_of(tenant, NEW) for tenant in wanted}:
                for record in await new.read(new.settings.topics.transitions, number):
                    row = from_json(record.value or b"")
                    if row["tenant"] not in wanted or row["kind"] != "transition":
                        continue
                    at = wanted.pop(row["tenant"])
                    assert (row["cause"]["kind"], row["at"]) == ("expired", at)
                    assert record.timestamp - max(at, began) < LATE_MS


async def test_what_no_worker_applied_is_not_left_behind(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """An event in the log, wrong arguments, and an empty installation, which moves too."""
    there = Namespace.fresh().topic_prefix
    move = ("partitions", "move", "--topic-prefix", there, "--partitions")
    async with Installation.open(services, namespace, tmp_path, partitions=1) as old:
        await old.write([sent_breaker("acme")])
        await _fails(sleepctl(old, *move, "2"), "partition 0 has 1 records that no worker has applied")
        await _fails(sleepctl(old, *move, "1"), "--partitions: there are 1 partitions already", 2)
        await _fails(
            sleepctl(old, *move[:3], namespace.topic_prefix, "--partitions", "2"), "is the present one; name a new", 2
        )
        await _fails(sleepctl(old, *move[:3], "a b", "--partitions", "2"), "'a b' is no prefix", 2)
        old.start("worker")
        await old.caught_up()
        await stop_workers(old)
        report = await document_of(old, *move, "2")
        assert (report["tenants"], report["states"], report["differences"]) == (1, {"freeze": 1}, [])
        code, out, _ = await sleepctl(old, *move, "2")
        assert code == 0
        assert "to go back: stop the new workers and APIs, and start them with SLEEP_TOPIC_PREFIX=" in out
        assert json.loads(report["settings"]["SLEEP_INGRESS"]) == [
            {"topic": f"{old.settings.topic_prefix}.breakers"},
            {"topic": f"{there}.breakers"},
        ]
