"""Floods on an ingress topic: bounded in memory, in what they leave behind, and in what they cost other tenants."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from pydantic_core import from_json

from schemas.domain.record import unpack
from schemas.kafka.offset_ranges import count, joined
from schemas.kafka.source_record import UNREADABLE_BATCH, SourceRecord, size_of
from tests.services import Namespace, Services
from tests.support.administration import dead_letters_of, document_of, stop_workers
from tests.support.installation import Installation, Process
from tests.support.raw_batches import CODECS, RawBatch, RawRecord, numbered
from tests.support.raw_producer import RawProducer, batch_of
from tests.support.records import Sent, sent_breaker
from worker.ports import Output

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka, pytest.mark.timeout(300)]

GZIP: Final = CODECS["gzip"]
FLOOD: Final = 200_000
# What the worker may need on top of what it has at rest, whatever a client sends.
MOST_MIB: Final = 150


@asynccontextmanager
async def watched(worker: Process) -> AsyncIterator[list[float]]:
    """Note the largest memory of a worker inside the block, in MiB more than at its beginning."""
    began, grown = worker.resident_mib, [0.0]

    async def watch() -> None:
        while True:
            grown[0] = max(grown[0], worker.resident_mib - began)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(watch())
    try:
        yield grown
    finally:
        task.cancel()


async def until(condition: Any, seconds: float = 120.0) -> None:  # noqa: ANN401 - awaits a bool
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


async def tenants(installation: Installation) -> dict[str, bytes]:
    """Return every packed record, of all partitions."""
    seen: dict[str, bytes] = {}
    for partition in range(installation.settings.partitions):
        seen |= await installation.stored(partition)
    return seen


async def dead_letters(installation: Installation) -> list[SourceRecord]:
    """Return the records of the dead-letter topic."""
    topic, partitions = installation.settings.topics.deadletter, installation.settings.partitions
    return [record for number in range(partitions) for record in await installation.read(topic, number)]


async def arrived(installation: Installation, *names: str) -> None:
    """Wait until tenants have a record."""

    async def there() -> bool:
        return set(names) <= (await tenants(installation)).keys()

    await until(there)


async def committed(installation: Installation, partition: int = 0) -> int:
    """Return what the group of ingress has committed of the breakers topic, -1 for nothing."""
    settings = installation.settings
    at = TopicPartition(settings.topics.breakers, partition)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        return int((await admin.list_consumer_group_offsets(settings.ingress_group, partitions=[at]))[at].offset)
    finally:
        await admin.close()


def rubbish(number: int, *, codec: int = GZIP) -> bytes:
    """Return a batch of so many tiny records that are no events."""
    return RawBatch(numbered([RawRecord(b"x")] * number), codec=codec).encode()


async def test_a_flood_of_tiny_records_is_one_dead_letter(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """A few hundred kilobytes were 83 MB of dead letters; what comes before and behind it is folded."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as installation:
        topic = installation.settings.topics.breakers
        worker = installation.start("worker")
        async with RawProducer(installation) as producer:
            await producer.send(topic, [batch_of(sent_breaker("before")).encode()])
            await arrived(installation, "before")
            sent = [rubbish(20_000)] * (FLOOD // 20_000)
            async with watched(worker) as grown:
                assert await producer.send(topic, sent) == len(sent)
                assert await producer.send(topic, [batch_of(sent_breaker("behind")).encode()]) == 1
                assert await producer.send(topic, [batch_of(sent_breaker("beside")).encode()], 1) == 1
                await arrived(installation, "behind", "beside")

                async def is_set_aside() -> bool:
                    return bool(await dead_letters_of(installation))

                await until(is_set_aside)
        [letter] = await dead_letters_of(installation)
        size = sum([size_of(record) for record in await dead_letters(installation)])
        print(f"\n{sum(map(len, sent))} bytes of flood: {size} bytes of dead letters, {grown[0]:.0f} MiB more")
        assert (letter.code, letter.topic, letter.partition) == ("undecodable", topic, 0)
        assert (letter.offsets, letter.records, letter.value) == (f"1-{FLOOD}", FLOOD, b"x")
        assert size < 2_000
        assert grown[0] < MOST_MIB

        async def is_behind() -> bool:
            return await committed(installation) == FLOOD + 2

        await until(is_behind)


async def test_batches_that_expand_to_much_cost_little(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Below the bound of a batch and above it, in every codec, on every partition at once."""
    async with Installation.open(services, namespace, tmp_path, partitions=4) as installation:
        topic = installation.settings.topics.breakers
        worker = installation.start("worker")
        large = RawRecord(bytes(500_000))
        # Snappy makes a twentieth of them at best, and a broker takes a mebibyte.
        batches = [
            RawBatch(numbered([large] * size), codec=codec).encode()
            for name, codec in CODECS.items()
            for size in ((30,) if name == "snappy" else (60, 200))
            if codec
        ]
        async with RawProducer(installation) as producer:
            for number in range(4):
                await producer.send(topic, [batch_of(sent_breaker(f"before-{number}")).encode()], number)
            await arrived(installation, *(f"before-{number}" for number in range(4)))
            taken = 0
            async with watched(worker) as grown:
                for batch in batches:
                    for number in range(4):
                        taken += await producer.send(topic, [batch], number)
                for number in range(4):
                    await producer.send(topic, [batch_of(sent_breaker(f"behind-{number}")).encode()], number)
                await arrived(installation, *(f"behind-{number}" for number in range(4)))
        print(f"\n{taken} batches that expand to 15, 30 or 100 MB: {grown[0]:.0f} MiB more")
        assert taken == 4 * len(batches)
        assert grown[0] < 2 * MOST_MIB
        codes = {letter.code for letter in await dead_letters_of(installation)}
        assert codes <= {"oversize", "undecodable", UNREADABLE_BATCH}


def flapping(tenant: str, first: int, number: int) -> list[Output]:
    """Return events of a tenant's one breaker, which opens and closes."""
    sent: Sequence[Sent] = [sent_breaker(tenant, "open" if (first + one) % 2 else "closed", 0) for one in range(number)]
    return [Output(b"any", one.value, [("content-type", b"application/cloudevents+json")]) for one in sent]


async def test_a_tenants_flood_costs_other_tenants_nothing_and_its_last_state_counts(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """It is behind its limit; the others' events on the same partition go at once."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        worker = installation.start("worker", SLEEP_INGRESS_TENANT_LIMIT="5")
        await installation.outputs.send(topics.breakers, 0, flapping("calm-0", 1, 1))
        await arrived(installation, "calm-0")
        flood, taken = 40_000, []
        async with watched(worker) as grown:
            for number in range(1, 21):
                await installation.outputs.send(topics.breakers, 0, flapping("loud", 1, flood // 20))
                began = time.monotonic()
                await installation.outputs.send(topics.breakers, 0, flapping(f"calm-{number}", 1, 1))
                await arrived(installation, f"calm-{number}")
                taken.append(time.monotonic() - began)
            await installation.outputs.send(topics.breakers, 0, flapping("loud", 0, 1))
            end = flood + 22

            async def is_behind() -> bool:
                return await committed(installation) == end

            await until(is_behind)
        await installation.caught_up()
        print(f"\nothers waited {max(taken):.2f} s at most; {grown[0]:.0f} MiB more")
        # Five a second, and five at once: each of the others had to wait for none of them.
        log = [from_json(record.value or b"") for record in await installation.read(topics.events, 0)]
        loud = [event for event in log if event["subject"] == "loud"]
        assert len(loud) < flood / 20
        assert loud[-1]["data"]["state"] == "closed"
        assert grown[0] < MOST_MIB
        progress = (await installation.store.partition_status(0)).progress
        actual = {
            name: unpack(packed, progress.rules).state.label for name, packed in (await tenants(installation)).items()
        }
        assert actual == {"loud": "active"} | {f"calm-{number}": "freeze" for number in range(21)}
        assert await dead_letters_of(installation) == []


async def test_a_worker_that_is_killed_in_the_middle_of_a_flood_loses_nothing(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Its successor goes on from the first record that waited; each bad record is set aside, and put back once."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        started: dict[str, str] = {"SLEEP_INGRESS_TENANT_LIMIT": "5"}
        worker = installation.start("worker", **started)
        bad: list[int] = []
        at = 0
        for life in range(2):
            for _ in range(5):
                outputs = flapping("loud", 1, 500) + [Output(None, b"rubbish")] * 500
                await installation.outputs.send(topics.breakers, 0, outputs)
                bad += range(at + 500, at + 1_000)
                at += 1_000
            await installation.outputs.send(topics.breakers, 0, flapping(f"calm-{life}", 1, 1))
            at += 1
            await arrived(installation, f"calm-{life}")
            assert await committed(installation) < at
            worker.kill()
            worker = installation.start("worker", **started)
        await installation.outputs.send(topics.breakers, 0, flapping("loud", 0, 1))
        at += 1

        async def is_behind() -> bool:
            return await committed(installation) == at

        await until(is_behind)
        await installation.caught_up()
        listed = {
            offset
            for letter in await dead_letters_of(installation)
            for first, last in letter.ranges
            for offset in range(first, last + 1)
        }
        assert listed == set(bad)
        log = [from_json(record.value or b"") for record in await installation.read(topics.events, 0)]
        assert [event["data"]["state"] for event in log if event["subject"] == "loud"][-1] == "closed"
        assert {event["subject"] for event in log} == {"loud", "calm-0", "calm-1"}
        assert (await document_of(installation, "verify"))["differences"] == []

        done = await document_of(installation, "deadletters", "redrive", "--all")
        assert sum(back.get("records", 1) for back in done["redriven"]) == len(bad)
        assert await installation.length(topics.breakers) == at + count(joined(bad))
        again = await document_of(installation, "deadletters", "redrive", "--all")
        assert again["redriven"] == []
        await stop_workers(installation)
