"""A Redis Cluster whose primaries fail under load: the pipeline heals, and loses and repeats nothing.

Any other test runs on a cluster too, with `SLEEP_TEST_REDIS=cluster`; CI runs those that are marked `cluster`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic_core import from_json
from redis.exceptions import RedisError

from schemas.domain.record import unpack
from schemas.kafka.partitioner import partition_of
from tests.services import Namespace, Services
from tests.services.cluster import ClusterNode, RedisClusterService
from tests.support.administration import document_of, stop_workers
from tests.support.installation import ApiClient, Installation
from tests.support.load import tenant_load

SEED = 7_001
EVENTS = 12_000
TENANTS = 300
CALLERS = 6
# 404: until the lanes have been there again, a Redis that went back does not know what it had answered.
NOT_YET = {httpx.codes.ACCEPTED, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.NOT_FOUND}
ASKED = {"target_state": "deep", "ttl_seconds": 600}


class Failover(NamedTuple):
    """What a failover took away: how many records Redis had applied and no longer has."""

    lost: int
    took: float


def positions(node: ClusterNode, keys: Iterable[str]) -> dict[str, int]:
    """Return `next` as one node knows it, a replica too; 0 for a key of other nodes."""
    seen: dict[str, int] = {}
    for key in keys:
        with suppress(RedisError):
            seen[key] = int(node.ask_readonly("HGET", key, "next") or 0)
    return seen


async def fail_over(cluster: RedisClusterService, primary: ClusterNode, keys: list[str], end: str) -> Failover:
    """Take a primary away after its replica has been cut off for a while, so that acknowledged commits are lost."""
    replica = await asyncio.to_thread(cluster.replica_of, primary)
    replica.pause()
    # What is under way to the replica still reaches it; nothing that comes after this does.
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    began = positions(primary, keys)
    async with asyncio.timeout(60):
        while sum(positions(primary, keys).values()) < sum(began.values()) + 50:
            await asyncio.sleep(0.02)
    stood = positions(primary, keys)
    if end == "killed":
        primary.kill()
    else:
        primary.pause()
    replica.resume()
    replicated = positions(replica, keys)
    clock = time.monotonic()
    await asyncio.to_thread(cluster.await_takeover, replica)
    return Failover(sum(stood[key] - replicated.get(key, 0) for key in stood), time.monotonic() - clock)


class Callers:
    """Careful callers: each sends sleeps, every one until it has its outcome, under a key of its own."""

    def __init__(self, door: ApiClient) -> None:
        self.door = door
        self.outcomes: dict[tuple[str, str], dict[str, Any]] = {}
        self.answers: Counter[int] = Counter()
        self.stop = asyncio.Event()

    async def run(self, number: int) -> None:
        """Send one sleep after another until told to stop; cancel each, so that none is refused for their number."""
        tenant = f"caller-{number}"
        async with self.door.client(tenant) as client:
            count = 0
            while not self.stop.is_set():
                count += 1
                slept = await self._insist(client, "POST", "/api/util/sleep", f"s-{count}", json=ASKED)
                self.outcomes[tenant, slept["operation_id"]] = slept
                path = f"/api/util/sleep/{slept['operation_id']}"
                assert (await self._insist(client, "DELETE", path, f"c-{count}"))["status"] == "cancelled"

    async def _insist(
        self, client: httpx.AsyncClient, method: str, path: str, key: str, json: object = None
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": key, "Prefer": "wait=2"}
        while True:
            answer = await client.request(method, path, json=json, headers=headers)
            self.answers[answer.status_code] += 1
            if answer.status_code == httpx.codes.OK:
                return dict(answer.json())
            assert answer.status_code in NOT_YET, answer.text
            await asyncio.sleep(0.1)


async def assert_fold(installation: Installation) -> Counter[str]:
    """Assert that Redis, the states topic and the audit are the plain fold; return how often each command ended."""
    topics = installation.settings.topics
    outcomes: Counter[str] = Counter()
    for partition, position in (await installation.applied()).items():
        plain = await installation.plain_fold(partition, position)
        packed = await installation.stored(partition)
        assert {tenant: unpack(each, plain.rules) for tenant, each in packed.items()} == plain.records
        states = {record.key: record.value for record in await installation.read(topics.states, partition)}
        assert states == plain.states
        audit = [from_json(record.value or b"") for record in await installation.read(topics.transitions, partition)]
        unique = {row["id"]: row for row in audit}
        assert list(unique.values()) == plain.transitions
        outcomes += Counter(
            f"{row['tenant']}/{row['operation_id']}" for row in unique.values() if row["kind"] == "outcome"
        )
    return outcomes


@pytest.mark.timeout(400)
@pytest.mark.parametrize("end", ["killed", "hung"])
async def test_a_primary_that_fails_under_load_loses_commits_but_no_records(
    on_cluster: Services, redis_cluster: RedisClusterService, namespace: Namespace, tmp_path: Path, end: str
) -> None:
    """Its replica lacks acknowledged commits: the lanes are refused, read again and seek; each command ends once."""
    async with Installation.open(on_cluster, namespace, tmp_path, partitions=4) as installation:
        installation.start_worker()
        door = await installation.open_door()
        keys = [installation.store.keys(partition).progress for partition in range(4)]
        load = list(tenant_load(SEED, EVENTS, tenants=TENANTS, partitions=4, now=time.time_ns() // 1_000_000))

        async def write() -> None:
            for start in range(0, EVENTS, 100):
                await installation.write(load[start : start + 100])
                await asyncio.sleep(0.05)

        callers = Callers(door)
        calling = [asyncio.create_task(callers.run(number)) for number in range(CALLERS)]
        writing = asyncio.create_task(write())
        async with asyncio.timeout(60):
            while sum((await installation.applied()).values()) < EVENTS // 10:
                await asyncio.sleep(0.05)
        primary = await asyncio.to_thread(redis_cluster.primary_of, keys[0])
        failover = await fail_over(redis_cluster, primary, keys, end)
        answered = callers.answers[200]
        async with asyncio.timeout(60):
            while callers.answers[200] < answered + 2 * CALLERS:
                await asyncio.sleep(0.05)
        if end == "hung":
            # It wakes, takes itself for the primary for a moment, and is told.
            primary.resume()
        await writing
        callers.stop.set()
        await asyncio.gather(*calling)
        await asyncio.to_thread(redis_cluster.heal)
        await installation.caught_up()
        await asyncio.sleep(4)  # The last timers of the load fall due.
        await installation.caught_up()
        await stop_workers(installation)

        print(
            f"\nseed {SEED}, primary {end}: its replica took over in {failover.took:.1f} s without {failover.lost} "
            f"records that had been applied; answers to {CALLERS} callers {dict(callers.answers)}"
        )
        assert failover.lost > 0
        worker_log = (tmp_path / "worker.log").read_text()
        assert "lane_failed" not in worker_log
        assert "lane_stopped" not in worker_log
        assert "dependency_task_failed" not in (tmp_path / "api.log").read_text()
        outcomes = await assert_fold(installation)
        for (tenant, operation_id), slept in callers.outcomes.items():
            assert outcomes[f"{tenant}/{operation_id}"] == 1
            assert slept["position"].startswith(f"{partition_of(tenant, 4)}:")
        assert set(outcomes.values()) == {1}
        assert (await document_of(installation, "verify"))["differences"] == []
