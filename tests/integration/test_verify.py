"""Verifying on real services: a live system has no differences, and damage is named."""

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from pydantic_core import from_json

from schemas.domain.record import pack, unpack
from tests.services import Namespace, Services, redis_client
from tests.support.administration import document_of, sleepctl, stop_workers
from tests.support.installation import Installation
from tests.support.load import tenant_load
from worker.ports import Output

pytestmark = pytest.mark.cluster

SEED = 99


async def test_a_live_system_has_no_differences_and_damage_is_named(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Compared while events are folded; then a record changed by hand, one lost, and a stale state."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as installation:
        installation.start("worker")
        now = time.time_ns() // 1_000_000
        load = list(tenant_load(SEED, 50_000, tenants=100, partitions=2, now=now))
        await installation.write(load[:1_000])
        await installation.caught_up()

        async def write() -> None:
            for start in range(1_000, len(load), 25):
                if verified.is_set():
                    return
                await installation.write(load[start : start + 25])
                await asyncio.sleep(0.02)

        verified = asyncio.Event()
        writing = asyncio.create_task(write())
        live = await document_of(installation, "verify")
        assert not writing.done()
        verified.set()
        assert (live["ok"], live["differences"]) == (True, [])
        print(f"\nlooked at again since they moved: {[entry['again'] for entry in live['partitions']]} tenants")
        await writing
        await installation.caught_up()
        await stop_workers(installation)

        partition, records = 0, await installation.stored(0)
        rules = (await installation.store.partition_status(0)).progress.rules
        changed, lost = sorted(records)[:2]
        record = unpack(records[changed], rules)
        schedule = rules[record.rules_number].terms_for(record.policy).schedule
        redis = redis_client(services.redis)
        try:
            key = installation.store.keys(0).tenants
            await redis.hset(key, changed, pack(replace(record, version=record.version + 1), schedule))
            await redis.hdel(key, lost)
        finally:
            await redis.aclose()
        states = await installation.read(installation.settings.topics.states, 0)
        last = {state.key: state.value for state in states}
        stale = next(
            state for state in states if state.value != last[state.key] and not (state.key or b"*").startswith(b"*")
        )
        await installation.outputs.send(
            installation.settings.topics.states, partition, [Output(stale.key, stale.value, stale.headers)]
        )

        code, out, err = await sleepctl(installation, "verify", "--json")
        document = {(entry["tenant"], entry["where"], entry["what"]) for entry in from_json(out)["differences"]}
        assert (code, "differences" in err) == (1, True)
        assert document == {
            (None, "redis", "records"),
            (changed, "redis", "differs"),
            (lost, "redis", "is missing"),
            ((stale.key or b"").decode(), "states", "differs"),
        }
