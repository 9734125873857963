"""Redis is emptied, or was never there: a rebuild brings back what the workers had made of the log."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from tests.services import Lacks, Namespace, Services
from tests.support.administration import assert_fold, document_of, empty_redis, sleepctl, stop_workers
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.load import rules_for_all, tenant_load
from tests.support.records import Sent, sent_breaker

pytestmark = pytest.mark.needs_kafka(Lacks.GROUPS)

SEED = 4_711


@pytest.mark.cluster
@pytest.mark.timeout(400)
async def test_an_emptied_redis_is_rebuilt_while_the_api_says_503_and_workers_go_on(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """All types of events, rules changed on the way: records, commands and answers are what they were."""
    async with Installation.open(services, namespace, tmp_path, partitions=4) as installation:
        installation.start("worker")
        partitions, now = installation.settings.partitions, time.time_ns() // 1_000_000
        load = list(tenant_load(SEED, 3_000, tenants=200, partitions=partitions, now=now))
        await installation.write(load[:1_500])
        await installation.write(rules_for_all(1, {"policy": {"min_sleep_seconds": 1}}, partitions))
        await installation.write(load[1_500:])
        door = await installation.open_door()
        await installation.caught_up()
        async with door.client("acme") as client:
            asked = {"target_state": "deep", "ttl_seconds": 600}
            slept = await client.post("/api/util/sleep", json=asked)
            assert slept.status_code == httpx.codes.OK
            path = f"/api/operations/{slept.json()['operation_id']}"
            before = (await client.get(path)).json()

            code, _, err = await sleepctl(installation, "rebuild", "--force")
            assert (code, "1 workers are in group" in err) == (1, True)
            worker = installation.processes[0]
            assert await asyncio.to_thread(worker.stop) == 0
            stood = await installation.applied()
            await empty_redis(installation)

            for unread in ("/api/brain/sleep_mode", path, "/api/util/sleep"):
                answer = await client.get(unread)
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert answer.json()["code"] == "redis_unavailable"
            result = await document_of(installation, "rebuild")
            assert (result["left"], len(result["rebuilt"])) == ([], partitions)
            assert await installation.applied() == stood
            await assert_fold(installation)

            assert (await client.get(path)).json() == before
            assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "deep"
            assert (await document_of(installation, "verify"))["differences"] == []
            code, _, err = await sleepctl(installation, "rebuild")
            assert (code, "nothing was done: there is progress already" in err) == (1, True)

            installation.start("worker")
        repeat = _command("acme", before["operation_id"], partitions)
        await installation.write([repeat])
        await installation.write(tenant_load(SEED + 1, 1_000, tenants=200, partitions=partitions, now=now))
        await installation.caught_up()
        await asyncio.sleep(3)
        await installation.caught_up()
        await stop_workers(installation)
        await assert_fold(installation)
        rows = await installation.read(installation.settings.topics.transitions, repeat.partition)
        codes = [from_json(row.value or b"")["code"] for row in rows if row.key == b"acme"]
        assert codes[-1] == "duplicate_operation"
        assert (await document_of(installation, "verify"))["differences"] == []


async def test_an_interrupted_rebuild_is_refused_by_workers_and_can_be_run_again(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Its partition is marked until the last slice is in."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        await installation.write(tenant_load(SEED, 300, tenants=20, partitions=1, now=time.time_ns() // 1_000_000))
        installation.start("worker")
        await installation.caught_up()
        await stop_workers(installation)
        assert await installation.store.clear(0, (await installation.applied())[0], -7)

        page = installation.start_worker()
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            findings = ""
            while "sleepctl rebuild" not in findings:
                await asyncio.sleep(0.2)
                try:
                    findings = (await client.get(f"{page}/status")).text
                except httpx.TransportError:
                    continue
        await stop_workers(installation)
        assert (await document_of(installation, "rebuild"))["left"] == []
        await assert_fold(installation)
        assert (await document_of(installation, "verify"))["differences"] == []


def _command(tenant: str, operation_id: str, partitions: int) -> Sent:
    data = {"operation_id": operation_id, "target": "deep", "ttl_ms": 600_000, "actor": "tests"}
    return Sent(tenant, event_bytes(events.OPERATION, data, tenant), partition_of(tenant, partitions))


@pytest.mark.timeout(400)
async def test_a_hundred_thousand_tenants_are_rebuilt(services: Services, namespace: Namespace, tmp_path: Path) -> None:
    """From the states topic and the log of a worker; the time is printed, and Redis is what it was."""
    tenants = 100_000
    async with Installation.open(services, namespace, tmp_path, partitions=8) as installation:
        await installation.write(sent_breaker(f"tenant-{number}", partitions=8) for number in range(tenants))
        installation.start("worker")
        began = time.monotonic()
        await installation.caught_up()
        folded = time.monotonic() - began
        await stop_workers(installation)
        before = {partition: await installation.stored(partition) for partition in range(8)}
        await empty_redis(installation)

        began = time.monotonic()
        result = await document_of(installation, "rebuild")
        took = time.monotonic() - began
        after = {partition: await installation.stored(partition) for partition in range(8)}
        assert sum(len(each) for each in after.values()) == tenants
        assert after == before

        began = time.monotonic()
        verified = await document_of(installation, "verify", "--partition", "0")
        print(
            f"\n{tenants} tenants: a worker folded them in {folded:.1f} s, `rebuild` took {took:.1f} s "
            f"({sum(entry['seconds'] for entry in result['rebuilt']):.1f} s without its start), "
            f"`verify` of the {verified['tenants']} on one partition {time.monotonic() - began:.1f} s"
        )
        assert (verified["differences"], verified["tenants"]) == ([], len(before[0]))
