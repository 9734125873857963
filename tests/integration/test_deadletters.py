"""Rubbish is set aside and stops nobody; what was set aside can be put back."""

import asyncio
import time
from pathlib import Path
from statistics import median

import pytest
from pydantic_core import from_json

from schemas.domain.record import unpack
from schemas.kafka.partitioner import partition_of
from tests.services import Client, Namespace, Services, redis_client
from tests.support.administration import document_of, sleepctl, stop_workers
from tests.support.installation import Installation
from tests.support.records import Sent, sent_breaker

RUBBISH = 50_000
PROBES = 40


def tenants_on(partition: int, partitions: int, prefix: str, count: int) -> list[str]:
    """Return tenants whose partition this is."""
    names = (f"{prefix}-{number}" for number in range(100 * count))
    return [name for name in names if partition_of(name, partitions) == partition][:count]


async def latency(installation: Installation, redis: Client, partition: int, tenant: str) -> float:
    """Return how long a tenant's event takes from the producer into Redis, in milliseconds."""
    began = time.monotonic()
    await installation.write([sent_breaker(tenant, "open", partition)])
    while not await redis.hexists(installation.store.keys(partition).tenants, tenant):
        await asyncio.sleep(0.002)
    return (time.monotonic() - began) * 1000


def told(taken: list[float]) -> str:
    """Return latencies in words."""
    return f"p50 {median(taken):.0f} ms, worst {max(taken):.0f} ms"


@pytest.mark.timeout(400)
async def test_a_flood_of_one_emitters_rubbish_stops_nobody(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """50,000 undecodable records on one partition: each is set aside, and the other tenants' latency is printed."""
    async with Installation.open(services, namespace, tmp_path, partitions=4) as installation:
        installation.start("worker")
        redis = redis_client(services.redis)
        try:
            early, late = (tenants_on(1, 4, name, PROBES) for name in ("early", "late"))
            behind = tenants_on(0, 4, "behind", PROBES)
            await latency(installation, redis, 1, early.pop())  # The first waits for the worker to start.
            before = [await latency(installation, redis, 1, tenant) for tenant in early]

            async def flood() -> None:
                for start in range(0, RUBBISH, 250):
                    rubbish = [Sent("emitter", b"rubbish %d" % (start + number), 0) for number in range(250)]
                    await installation.write(rubbish)
                    # The tenants' events come from this process too, and have their turn.
                    await asyncio.sleep(0.02)

            flooding = asyncio.create_task(flood())
            beside: list[float] = []
            same: list[float] = []
            for beside_it, behind_it in zip(late, behind, strict=True):
                if flooding.done():
                    break
                beside.append(await latency(installation, redis, 1, beside_it))
                same.append(await latency(installation, redis, 0, behind_it))
            await flooding
        finally:
            await redis.aclose()
        await installation.caught_up()
        assert await installation.length(installation.settings.topics.deadletter) == RUBBISH
        print(
            f"\nlatency of {len(before)} tenants before: {told(before)}; of {len(beside)} while {RUBBISH} undecodable "
            f"records arrive on another partition: {told(beside)}; of {len(same)} on that very partition: {told(same)}"
        )
        assert median(beside) < 1_000
        assert median(same) < 1_000
        await stop_workers(installation)
        listed = await document_of(installation, "deadletters", "list", "--limit", "3")
        assert [(letter["code"], letter["key"]) for letter in listed] == [("undecodable", "emitter")] * 3


async def test_records_on_a_wrong_partition_are_redriven_in_order_to_the_right_one(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """What was cut is refused, and the rest goes back all the same."""
    async with Installation.open(services, namespace, tmp_path, partitions=4) as installation:
        right = partition_of("acme", 4)
        wrong = (right + 1) % 4
        strays = [sent_breaker("acme", state, wrong) for state in ("open", "half_open", "closed", "open", "half_open")]
        await installation.write([*strays, Sent("acme", b"x" * 70_000, right)])
        installation.start("worker")
        await installation.caught_up()
        code, out, err = await sleepctl(installation, "deadletters", "redrive", "--all", "--json")
        assert (code, err) == (1, "sleepctl: 1 dead letters could not be put back\n")
        done = from_json(out)
        assert [back["partition"] for back in done["redriven"]] == [right] * len(strays)
        assert "it had 70000 bytes" in done["refused"][0]["reason"]
        await installation.caught_up()
        await stop_workers(installation)
        [packed] = (await installation.stored(right)).values()
        progress = (await installation.store.partition_status(right)).progress
        record = unpack(packed, progress.rules)
        assert (record.state.label, record.version) == ("light", len(strays))

        # Another process knows what was put back; what was cut stays refused.
        code, out, _ = await sleepctl(installation, "deadletters", "redrive", "--all", "--json")
        again = from_json(out)
        assert (code, again["redriven"], again["skipped"], len(again["refused"])) == (1, [], len(strays), 1)
        listed = await document_of(installation, "deadletters", "list")
        assert [letter["redriven"] for letter in listed] == [letter["code"] == "wrong_partition" for letter in listed]
        [shown] = [letter for letter in listed if letter["code"] == "oversize"]
        document = await document_of(installation, "deadletters", "list", "--show", shown["place"])
        assert document["value"] == "x" * 65_536

        place = done["redriven"][0]["place"].split(":")
        one = await document_of(installation, "deadletters", "redrive", "--partition", place[0], "--offset", place[1])
        assert len(one["redriven"]) == 1
        code, _, err = await sleepctl(installation, "deadletters", "redrive", "--partition", "0", "--offset", "999")
        assert (code, err) == (1, "sleepctl: there is no such dead letter\n")
