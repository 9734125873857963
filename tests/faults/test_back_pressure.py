"""A store ten times slower than usual makes a real worker slower, not bigger, and costs it no partition."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas.domain.record import unpack
from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from tests.services import Lacks, Namespace, Services
from tests.services.cluster import RedisClusterService
from tests.services.relay import Relay
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.records import Sent
from tests.support.resident import resident_mib
from worker.partition.fetch_buffer import _MAX_BYTES, _QUEUED_BYTES

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka(Lacks.GROUPS)]

PARTITIONS = 2
TENANTS = 400
SMALL = 20_000
LARGE = 3 * SMALL
SLOWER = 10
# A worker mostly waits for its own fold; with every answer so late it waits for the store.
LATE_SECONDS = 0.5
# Of each partition: what is queued, one fetch on top of it (aiokafka fetches 1 MiB of a partition at a time, and
# holds as much again), and the batch in hand. Python's objects weigh some six times the bytes that they came from.
BOUND_MIB = PARTITIONS * 6 * (_QUEUED_BYTES + 2 * _MAX_BYTES + _MAX_BYTES) / (1 << 20)


class Run(NamedTuple):
    """How a worker went through a backlog: records a second, memory at its first batch and at most, longest answer."""

    rate: float
    first_mib: float
    most_mib: float
    longest: float

    @property
    def grown(self) -> float:
        """How many MiB it had more at most than when its first batch had been applied."""
        return self.most_mib - self.first_mib


def backlog(count: int) -> list[Sent]:
    """Return breaker events of many tenants, each of which changes its tenant's state."""
    seen = []
    for number in range(count):
        tenant = f"tenant-{number % TENANTS}"
        state = ("open", "half_open", "closed")[number // TENANTS % 3]
        data = {"breaker": "payments", "instance": "pod-1", "state": state, "cause": "x" * 200}
        value = event_bytes(events.BREAKER, data, tenant, id_=str(number), source="urn:t")
        seen.append(Sent(tenant, value, partition_of(tenant, PARTITIONS)))
    return seen


async def members(installation: Installation) -> list[str]:
    """Return who is in the group, by the names that Kafka gave them: a member that was lost comes back as another."""
    admin = AIOKafkaAdminClient(bootstrap_servers=installation.settings.kafka_bootstrap)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([installation.settings.consumer_group])
        _, _, _, _, _, result, *_ = answer.groups[0]
        return sorted(member[0] for member in result)
    finally:
        await admin.close()


async def worked_through(services: Services, directory: Path, count: int, slower: float, late: float) -> Run:
    """Let a worker go through a backlog over a store so slow, and check that nothing was lost by it."""
    address = urlsplit(services.redis)
    async with (
        Relay.to(str(address.hostname), int(address.port or 0)) as relay,
        Installation.open(services, Namespace.fresh(), directory, partitions=PARTITIONS) as installation,
    ):
        records = backlog(count)
        for start in range(0, count, 5_000):
            await installation.write(records[start : start + 5_000])
        relay.slower, relay.late = slower, late
        worker = installation.start("worker", SLEEP_REDIS_URL=f"redis://127.0.0.1:{relay.port}/0")
        while not any((await installation.applied()).values()):
            await asyncio.sleep(0.02)
        began, first, joined = time.monotonic(), resident_mib(worker.pid), await members(installation)
        most = first
        while sum((await installation.applied()).values()) < count:
            most = max(most, resident_mib(worker.pid))
            await asyncio.sleep(0.05)
        rate = count / (time.monotonic() - began)

        assert len(joined) == 1
        assert await members(installation) == joined, "it lost its session, or left"
        assert worker.running
        assert await asyncio.to_thread(worker.stop) == 0
        log = (directory / "worker.log").read_text()
        for trouble in (
            "refused",
            "waiting",
            "batch_lost",
            "lane_",
            "consumer_restarts",
            "eartbeat",
            "ebalanc",
            "error",
        ):
            assert trouble not in log, log
        for partition, position in (await installation.applied()).items():
            plain = await installation.plain_fold(partition, position)
            stored = await installation.stored(partition)
            assert {tenant: unpack(packed, plain.rules) for tenant, packed in stored.items()} == plain.records
            # Nothing was emitted twice either: no batch was begun again.
            rows = await installation.read(installation.settings.topics.transitions, partition)
            assert len(rows) == len(plain.transitions)
        return Run(rate, first, most, relay.longest)


@pytest.mark.timeout(400)
async def test_a_store_ten_times_slower_makes_the_worker_slower_not_bigger(services: Services, tmp_path: Path) -> None:
    """Its memory grows by what its queues hold, whether a backlog is waiting or three times as much."""
    if isinstance(services.store, RedisClusterService):
        pytest.skip("a cluster's nodes name their own addresses, and nobody would ask the relay")
    runs: dict[str, Run] = {}
    for name, count, slower, late in (
        ("usual", SMALL, 1, 0),
        ("slow", SMALL, SLOWER, 0),
        ("slow, three times as much", LARGE, SLOWER, 0),
        ("late", SMALL, 1, LATE_SECONDS),
    ):
        folder = tmp_path / name
        folder.mkdir()
        run = runs[name] = await worked_through(services, folder, count, slower, late)
        print(
            f"\n{name}: {count} records at {run.rate:.0f}/s, longest answer of the store {run.longest * 1000:.0f} ms, "
            f"memory {run.first_mib:.0f} MiB at the first batch, {run.most_mib:.0f} MiB at most ({run.grown:+.1f})"
        )
    raw = sum(len(record.value) for record in backlog(LARGE)) / (1 << 20)
    print(f"bound {BOUND_MIB:.0f} MiB; the larger backlog is {raw:.0f} MiB of JSON")
    slow, large = runs["slow"], runs["slow, three times as much"]
    assert runs["late"].rate < runs["usual"].rate
    assert max(run.grown for run in runs.values()) <= BOUND_MIB
    assert large.most_mib - slow.most_mib <= BOUND_MIB / PARTITIONS
