"""The reader beside the consumer, and a late append to the states topic that a real worker repairs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from pydantic_core import from_json, to_json

from schemas.settings import Settings
from tests.services import Lacks, Namespace, Services
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.records import Sent
from worker.adapters.kafka_reader import KafkaReader
from worker.ports import Output, OutputError


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics of one partition, nothing in them."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as opened:
        yield opened


@pytest.fixture
async def reader(installation: Installation) -> AsyncIterator[KafkaReader]:
    """A reader of its topics."""
    kafka_reader = KafkaReader(installation.settings)
    yield kafka_reader
    await kafka_reader.stop()


async def test_a_topic_is_read_page_by_page_to_its_end(installation: Installation, reader: KafkaReader) -> None:
    """From any offset, and from several topics in turn."""
    states, transitions = installation.settings.topics.states, installation.settings.topics.transitions
    assert await reader.end(states, 0) == 0
    assert await reader.read(states, 0, 0, 10) == ([], 0)
    await installation.outputs.send(states, 0, [Output(str(number).encode(), b"x") for number in range(25)])
    await installation.outputs.send(transitions, 0, [Output(b"t", b"y")])
    assert await reader.end(states, 0) == 25
    page = await reader.read(states, 0, 3, 10)
    assert ([record.offset for record in page.records], page.next) == ([*range(3, 13)], 13)
    assert (page.records[0].key, page.records[0].value) == (b"3", b"x")
    assert [record.key for record in (await reader.read(transitions, 0, 0, 10)).records] == [b"t"]
    offset, seen = 0, 0
    while (page := await reader.read(states, 0, offset, 10)).records:
        offset, seen = page.next, seen + len(page.records)
    assert (offset, seen) == (25, 25)
    assert await reader.read(states, 0, 30, 10) == ([], 25)


@pytest.mark.needs_kafka(Lacks.MARKERS)
async def test_markers_of_a_transaction_are_passed_over(installation: Installation, reader: KafkaReader) -> None:
    """They use up offsets, at the partition's end too."""
    topic = installation.settings.topics.events
    producer = AIOKafkaProducer(
        bootstrap_servers=installation.settings.kafka_bootstrap, transactional_id=installation.settings.topic_prefix
    )
    try:
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"in a transaction", partition=0)
    finally:
        await producer.stop()
    assert await reader.end(topic, 0) == 2
    assert [record.offset for record in (await reader.read(topic, 0, 0, 10)).records] == [0]
    assert await reader.read(topic, 0, 1, 10) == ([], 2)


async def test_a_broker_that_is_away_is_an_output_error(reader: KafkaReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the lane waits out; and it connects afresh when it is back."""
    assert isinstance(reader, KafkaReader)
    away = KafkaReader(Settings.model_validate({"kafka_bootstrap": "127.0.0.1:1", "redis_url": "redis://127.0.0.1:1"}))
    monkeypatch.setattr("worker.adapters.kafka_reader._ANSWER_SECONDS", 1.0)
    with pytest.raises(OutputError):
        await away.end("sleep.states", 0)
    with pytest.raises(OutputError):
        await away.read("sleep.states", 0, 0, 1)
    await away.stop()


def _breaker(tenant: str, state: str) -> Sent:
    data = {"breaker": "payments", "instance": "pod-1", "state": state}
    value = event_bytes("sleep.breaker.v1", data, tenant)
    return Sent(tenant, value, 0)


async def _settled(installation: Installation, end: int) -> None:
    async with asyncio.timeout(30):
        while (await installation.store.partition_status(0)).progress.states_next != end:
            await asyncio.sleep(0.1)


async def test_a_late_append_of_a_stale_owner_is_repaired_by_the_next_owner(
    installation: Installation,
) -> None:
    """Readers of the compacted topic end up with the present, and a tombstone for whom nobody knows."""
    topic = installation.settings.topics.states
    first = installation.start("worker")
    for state in ("open", "half_open"):  # One commit each, and so a state each.
        await installation.write([_breaker("acme", state)])
        await installation.caught_up()
    assert await asyncio.to_thread(first.stop) == 0
    published = await installation.read(topic, 0)
    late = to_json(from_json(published[0].value or b""))
    await installation.outputs.send(topic, 0, [Output(b"acme", late), Output(b"nobody", late)])

    installation.start("worker")
    await _settled(installation, 6)
    await installation.outputs.send(topic, 0, [Output(b"acme", late)])
    await _settled(installation, 8)

    states = {record.key: record.value for record in await installation.read(topic, 0)}
    assert states == {b"acme": published[-1].value, b"nobody": None}
    await installation.write([_breaker("acme", "closed")])
    await installation.caught_up()
    assert await installation.length(topic) == 9
