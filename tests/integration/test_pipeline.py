"""The pipeline on real services: whatever happens to the workers, the records are a fold of the log."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from pydantic_core import from_json

from schemas.domain.record import unpack
from tests.services import Namespace, Services
from tests.support.installation import Installation
from tests.support.load import rules_for_all, tenant_load

pytestmark = pytest.mark.smoke

SEED = 20_261
EVENTS = 20_000
TENANTS = 500


async def _assert_fold(installation: Installation) -> int:
    """Assert that Redis, the states topic and the audit are a plain fold of the log; return how many rows agree."""
    rows = 0
    topics = installation.settings.topics
    for partition, position in (await installation.applied()).items():
        plain = await installation.plain_fold(partition, position)
        packed = await installation.stored(partition)
        assert {tenant: unpack(each, plain.rules) for tenant, each in packed.items()} == plain.records

        states = {record.key: record.value for record in await installation.read(topics.states, partition)}
        assert states == plain.states

        audit = [from_json(record.value or b"") for record in await installation.read(topics.transitions, partition)]
        unique = {row["id"]: row for row in audit}
        assert len(unique) == len(plain.transitions)
        assert list(unique.values()) == plain.transitions
        rows += len(unique)
    return rows


async def _write_load(installation: Installation) -> None:
    """Write the seeded load in slices, with new rules after a third and after two thirds of it."""
    partitions = installation.settings.partitions
    load = list(tenant_load(SEED, EVENTS, tenants=TENANTS, partitions=partitions, now=time.time_ns() // 1_000_000))
    third = EVENTS // 3
    await installation.write(load[:third])
    await installation.write(rules_for_all(1, {"policy": {"ceiling": "deep"}}, partitions))
    await installation.write(load[third : 2 * third])
    quorum = [{"match": "pay*", "quorum": 2}]
    await installation.write(rules_for_all(2, {"policy": {"breakers": quorum, "min_sleep_seconds": 1}}, partitions))
    await installation.write(load[2 * third :])


async def _stop(installation: Installation) -> None:
    """Let the last timers of the load fall due, then stop the workers as an operator would."""
    await installation.caught_up()
    await asyncio.sleep(5)
    await installation.caught_up()
    for process in [process for process in installation.processes if process.running]:
        assert await asyncio.to_thread(process.stop) == 0


@pytest.mark.cluster
@pytest.mark.timeout(400)
async def test_two_workers_make_of_20_000_random_events_what_a_plain_fold_makes(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """All types, good and bad, 500 tenants, 8 partitions, rules changed twice on the way."""
    async with Installation.open(services, namespace, tmp_path) as installation:
        installation.start("worker")
        installation.start("worker")
        await _write_load(installation)
        await _stop(installation)
        assert await _assert_fold(installation) > EVENTS // 4


@pytest.mark.timeout(400)
async def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """`kill -9` while the load is folded; the other worker takes over, and the records are still the fold."""
    async with Installation.open(services, namespace, tmp_path) as installation:
        doomed = installation.start("worker")
        writing = asyncio.create_task(_write_load(installation))
        await _until_begun(installation)
        installation.start("worker")
        await asyncio.sleep(1)
        doomed.signal(signal.SIGKILL)
        await writing
        await _stop(installation)
        assert await _assert_fold(installation) > EVENTS // 4


async def _until_begun(installation: Installation) -> None:
    async with asyncio.timeout(60):
        while not any((await installation.applied()).values()):
            await asyncio.sleep(0.02)
