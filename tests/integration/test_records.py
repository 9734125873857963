"""Whatever bytes a client puts on a topic, on a real broker: the partitions go on, and nothing legal is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from schemas.kafka.source_record import UNREADABLE_BATCH, UNREADABLE_HEADER
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.services import Namespace, Services
from tests.support.administration import (
    assert_fold,
    dead_letters_of,
    document_of,
    empty_redis,
    status_of,
    stop_workers,
    wait_until_forwarded,
)
from tests.support.installation import Installation
from tests.support.raw_batches import CODECS, RawBatch, RawRecord, mutated
from tests.support.raw_producer import _HEADERS, RawProducer, batch_of
from tests.support.records import sent_breaker
from tests.support.sse import events
from worker.recovery.dead_letters import DeadLetter

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(400)]

BATCHES: Final = 2_000


async def test_every_codec_is_read_on_ingress_and_on_the_log(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """As librdkafka writes it, and as the broker does where the topic says so; recovery reads it too."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        installation.start("worker")
        admin = AIOKafkaAdminClient(bootstrap_servers=installation.settings.kafka_bootstrap)
        await admin.start()
        try:
            for number, codec in enumerate(CODECS):
                names = {"none": "uncompressed"}
                resource = ConfigResource(
                    ConfigResourceType.TOPIC,
                    topics.events,
                    {"compression.type": names.get(codec, codec), "message.timestamp.type": "LogAppendTime"},
                )
                await admin.alter_configs([resource])
                producer = Producer(
                    {
                        "bootstrap.servers": installation.settings.kafka_bootstrap,
                        "compression.type": codec,
                        "linger.ms": 50,
                    }
                )
                for one in range(20):
                    producer.produce(
                        topics.breakers,
                        sent_breaker(f"{codec}-{one}").value,
                        headers=list(STRUCTURED_HEADERS),
                    )
                assert await asyncio.to_thread(producer.flush, 10) == 0
                await wait_until_forwarded(installation, 20 * (number + 1))
        finally:
            await admin.close()
        assert await dead_letters_of(installation) == []
        assert len(await installation.stored(0)) == 20 * len(CODECS)
        assert (await document_of(installation, "verify"))["differences"] == []
        await stop_workers(installation)
        await empty_redis(installation)
        await document_of(installation, "rebuild")
        await assert_fold(installation)


async def test_a_header_name_that_is_not_utf_8_costs_its_own_record_alone(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """On ingress and on the log: a dead letter that can be read, and that redrive does not put back."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        installation.start("worker")
        batch = batch_of(*(sent_breaker(f"t-{number}") for number in range(3)))
        batch.records[1].headers = [*_HEADERS, (b"gr\xf6\xdfe", b"x")]
        async with RawProducer(installation) as producer:
            assert await producer.send(topics.events, [batch.encode()]) == 1
            assert await producer.send(topics.breakers, [replace(batch, codec=4).encode()]) == 1
        await wait_until_forwarded(installation, 3 + 2)
        assert set(await installation.stored(0)) == {"t-0", "t-2"}
        dead_letters: list[DeadLetter] = []
        async with asyncio.timeout(30):
            # Those of ingress wait a moment for more of their code.
            while len(dead_letters) < 2:
                dead_letters = await dead_letters_of(installation)
        assert [letter.code for letter in dead_letters] == [UNREADABLE_HEADER] * 2
        assert {letter.topic for letter in dead_letters} == {topics.events, topics.breakers}
        assert all((r"gr\xf6\xdfe", b"x") in letter.headers for letter in dead_letters)
        assert (await document_of(installation, "verify"))["differences"] == []


async def test_two_thousand_wrong_or_unusual_batches_stop_nobody(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """On the log and on ingress: all is applied or set aside, and legal events before and after are folded."""
    chance = random.Random(2_026)
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        page = installation.start_worker()
        batches: list[bytes] = []
        for number in range(BATCHES):
            sent = [
                sent_breaker(f"f-{number % 50}", chance.choice(("open", "closed")), 0)
                for _ in range(chance.randrange(1, 4))
            ]
            batches.append(
                mutated(chance, replace(batch_of(*sent), codec=chance.choice(tuple(CODECS.values())))).encode()
            )
        aborted = Producer(
            {"bootstrap.servers": installation.settings.kafka_bootstrap, "transactional.id": namespace.group}
        )
        await asyncio.to_thread(aborted.init_transactions, 30)
        async with RawProducer(installation) as producer:
            for topic in (topics.events, topics.breakers):
                assert await producer.send(topic, [batch_of(sent_breaker(f"before-{topic}")).encode()]) == 1
                for outcome in (aborted.abort_transaction, aborted.commit_transaction):
                    aborted.begin_transaction()
                    aborted.produce(
                        topic,
                        sent_breaker(f"in-{topic}").value,
                        f"in-{topic}",
                        headers=list(STRUCTURED_HEADERS),
                    )
                    await asyncio.to_thread(aborted.flush, 10)
                    await asyncio.to_thread(outcome, 30)
                taken = await producer.send(topic, batches)
                print(f"{topic}: the broker took {taken} of {BATCHES}")
                assert 100 < taken < BATCHES
                assert await producer.send(topic, [batch_of(sent_breaker(f"after-{topic}")).encode()]) == 1
        wanted = {f"{when}-{topic}" for when in ("before", "after") for topic in (topics.events, topics.breakers)}
        async with asyncio.timeout(120):
            while not wanted <= set(await installation.stored(0)):
                await asyncio.sleep(0.2)
        await installation.caught_up()
        dead_letters = await dead_letters_of(installation)
        print(
            {
                code: sum(letter.code == code for letter in dead_letters)
                for code in {letter.code for letter in dead_letters}
            }
        )
        assert {UNREADABLE_BATCH, UNREADABLE_HEADER} <= {letter.code for letter in dead_letters}
        shown = (await status_of(page)).json()
        assert {each["topic"] for each in shown["unreadable"]} == {topics.events, topics.breakers}
        assert not any(lane["stopped"] or lane["finding"] for lane in shown["lanes"])
        assert (await document_of(installation, "verify"))["differences"] == []
        await assert_fold(installation)
        await stop_workers(installation)
        await empty_redis(installation)
        await document_of(installation, "rebuild")
        assert (await document_of(installation, "verify"))["differences"] == []
        await assert_fold(installation)
        # The start check knows the last record again, whatever it was.
        installation.start("worker")
        await installation.write([sent_breaker("again")])
        await installation.caught_up()


async def _transition(
    client: httpx.AsyncClient, headers: dict[str, str], *writes: Callable[[], Awaitable[None]]
) -> None:
    """Open the stream of events, write, and wait for a transition."""
    async with asyncio.timeout(60), client.stream("GET", "/api/brain/sleep_events", headers=headers) as response:
        assert response.status_code == httpx.codes.OK, await response.aread()
        received = events(response)
        for write in writes:
            await write()
        while (await anext(received)).name != "transition":
            pass


async def test_event_streams_go_on_whatever_is_on_the_transitions_topic(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Live, and for a client that reads back over it; `/status` of the API stays good."""
    chance = random.Random(5)
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        topics = installation.settings.topics
        installation.start("worker")
        door = await installation.open_door()
        await installation.write([sent_breaker("t")])
        await installation.caught_up()
        wrong = [RawBatch([RawRecord(b"{}", headers=[(bytes([number]), b"x")])]) for number in range(128, 256)]
        others = [RawBatch([RawRecord(b"{}", b"t", _HEADERS)], codec=chance.choice(tuple(CODECS.values())))] * 300
        async with RawProducer(installation) as producer:
            batches = [one.encode() for one in (*wrong, *(mutated(chance, other) for other in others))]
            assert await producer.send(topics.transitions, batches) > len(wrong)
        async with door.client("t") as client:
            await _transition(client, {}, lambda: installation.write([sent_breaker("t", "closed", 0)]))
            await _transition(client, {"Last-Event-ID": "0/0:0:0"})
            status = await client.get("/status")
        assert status.json()["dependencies"]["transitions"]["up"], status.text


async def test_ingress_goes_on_where_the_lanes_group_had_come_to_and_its_topic_may_go(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """After an upgrade nothing is forwarded twice; a topic that is taken away ends neither the lanes nor the others."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        settings, topics = installation.settings, installation.settings.topics
        foreign = f"{settings.topic_prefix}.foreign"
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(foreign, 1, 1)])
        async with RawProducer(installation) as producer:
            await producer.send(topics.breakers, [batch_of(sent_breaker("old")).encode()])
            former = AIOKafkaConsumer(
                bootstrap_servers=settings.kafka_bootstrap, group_id=settings.consumer_group, enable_auto_commit=False
            )
            await former.start()
            former.assign([TopicPartition(topics.breakers, 0)])
            await former.commit({TopicPartition(topics.breakers, 0): 1})
            await former.stop()
            ingress = f'[{{"topic": "{topics.breakers}"}}, {{"topic": "{foreign}"}}]'
            installation.start("worker", SLEEP_INGRESS=ingress)
            await producer.send(foreign, [batch_of(sent_breaker("foreign")).encode()])
            await producer.send(topics.breakers, [batch_of(sent_breaker("new")).encode()])
            await wait_until_forwarded(installation, 2)
            await admin.delete_topics([foreign])
            await admin.close()
            await installation.write([sent_breaker("log")])
            await producer.send(topics.breakers, [batch_of(sent_breaker("newer")).encode()])
            await wait_until_forwarded(installation, 4)
        assert set(await installation.stored(0)) == {"foreign", "new", "log", "newer"}


@pytest.mark.needs_kafka
async def test_the_worker_goes_on_after_its_broker_refused_records(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """A topic took no record for a while (here for its size; an ACL does the same): the lane goes on once it does."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        transitions = installation.settings.topics.transitions
        installation.start("worker")
        await installation.write([sent_breaker("t")])
        await installation.caught_up()
        admin = AIOKafkaAdminClient(bootstrap_servers=installation.settings.kafka_bootstrap)
        await admin.start()
        try:
            for most in ("1", "1048588"):
                await admin.alter_configs(
                    [ConfigResource(ConfigResourceType.TOPIC, transitions, {"max.message.bytes": most})]
                )
                await installation.write([sent_breaker("t", "closed", 0)])
                if most == "1":
                    await asyncio.sleep(3)
                    assert (await installation.applied())[0] == 1
        finally:
            await admin.close()
        await installation.caught_up(30)
