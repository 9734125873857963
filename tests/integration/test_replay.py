"""A range of a real log, replayed: as recorded, under other rules, explained, and after retention has cut the log."""

import json
import time
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from tests.services import Lacks, Namespace, Services
from tests.support.administration import document_of, sleepctl, stop_workers
from tests.support.installation import Installation
from tests.support.load import rules_for_all, tenant_load
from tests.support.records import sent_breaker

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka(Lacks.DELETING)]

SEED = 17
PARTITIONS = 2
EVENTS = 2_000
FROZEN = "frozen"


async def _trim(installation: Installation, partition: int, offset: int) -> None:
    """Delete all events before an offset, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=installation.settings.kafka_bootstrap)
    await admin.start()
    try:
        at = TopicPartition(installation.settings.topics.events, partition)
        await admin.delete_records({at: RecordsToDelete(offset)})
    finally:
        await admin.close()


@pytest.mark.timeout(300)
async def test_a_range_of_a_real_log_is_replayed_and_nothing_is_written(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """All types of events, rules changed on the way. The published rows are those of the replay, each time."""
    other = tmp_path / "rules.json"
    other.write_text(json.dumps({"policy": {"breakers": [{"match": "*", "open": "light"}]}}))
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as installation:
        topics, own = installation.settings.topics, partition_of(FROZEN, PARTITIONS)
        load = list(tenant_load(SEED, EVENTS, tenants=100, partitions=PARTITIONS, now=time.time_ns() // 1_000_000))
        await installation.write([sent_breaker(FROZEN, partitions=PARTITIONS), *load[: EVENTS // 2]])
        await installation.write(rules_for_all(1, {"policy": {"min_sleep_seconds": 1}}, PARTITIONS))
        await installation.write(load[EVENTS // 2 :])
        began = time.monotonic()
        installation.start("worker")
        await installation.caught_up()
        folded = time.monotonic() - began
        await stop_workers(installation)
        written = [await installation.ends(name) for name in topics]

        began = time.monotonic()
        everything = await document_of(installation, "replay")
        took = time.monotonic() - began
        assert (everything["audit"]["different"], everything["inexact"], everything["failed"]) == (0, [], 0)
        assert everything["audit"]["matched"] > EVENTS // 10, everything["audit"]
        print(
            f"\n{everything['events']} events: the worker took {folded:.1f} s with its start, the replay {took:.1f} s; "
            f"{everything['audit']['matched']} rows are the same"
        )

        events = (await installation.ends())[own]
        middle = f"{own}:{events // 2}"
        ranged = await document_of(installation, "replay", "--from", middle, "--to", f"{own}:{events - 10}")
        assert (ranged["audit"]["different"], ranged["inexact"]) == (0, [])
        assert 0 < ranged["events"] < events // 2

        different = await document_of(installation, "replay", "--rules", str(other), "--tenant", FROZEN)
        [tenant] = different["different"]
        asleep = tenant["seconds_asleep"]
        assert (asleep["recorded"]["light"], asleep["replayed"]["freeze"]) == (0.0, 0.0)
        assert asleep["recorded"]["freeze"] == asleep["replayed"]["light"] > 0

        rows = [from_json(row.value or b"") for row in await installation.read(topics.transitions, own)]
        row = next(row for row in reversed(rows) if row["kind"] == "transition")
        explained = await document_of(installation, "replay", "--explain", row["id"])
        assert row in explained["rows"]
        assert [step["step"] for step in explained["steps"]] == [1, 2, 3, 4, 5, 6]
        assert explained["after"]["decided"] == row["to"]

        await _trim(installation, own, events // 4)
        code, out, err = await sleepctl(installation, "replay", "--from", f"{own}:0", "--json")
        assert (code, out) == (1, "")
        begins = f"{own}:{events // 4}"
        assert f"the log of partition {own} begins at {begins}, " in err
        assert f"`--from {begins}`" in err
        # What renewals left unpublished went with the log, so only a tenant without any is certain to agree.
        cut = await document_of(installation, "replay", "--from", begins, "--tenant", FROZEN)
        assert (cut["audit"]["different"], cut["inexact"]) == (0, [])
        [range_] = cut["partitions"]
        assert cut["seconds_asleep"]["replayed"]["freeze"] == (range_["to_at"] - range_["from_at"]) / 1000
        assert [await installation.ends(name) for name in topics] == written
