"""The services keep their promises: outages are real, addresses and data stay."""

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.exceptions import RedisClusterException

from tests.services import Lacks, Namespace, Services, blocking_client
from tests.services.embedded import MockBroker
from tests.services.redis_client import BlockingClient

pytestmark = pytest.mark.smoke

LOG_APPEND_TIME = 1
# The client of a cluster says that no node answers where that of a server says what happened.
AWAY = (redis.ConnectionError, RedisClusterException)
HANGS = (redis.TimeoutError, RedisClusterException)


def client(services: Services) -> BlockingClient:
    """A Redis client that gives up after a second."""
    return blocking_client(services.redis, socket_timeout=1, socket_connect_timeout=1)


async def produce(services: Services, topic: str, value: bytes) -> int:
    """Send one record; returns its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=services.kafka)
    try:
        await producer.start()
        return int((await producer.send_and_wait(topic, value, partition=0)).offset)
    finally:
        await producer.stop()


async def consume(services: Services, topic: str) -> list[tuple[bytes, int]]:
    """All values of partition 0, with their kind of timestamp."""
    consumer = AIOKafkaConsumer(bootstrap_servers=services.kafka)
    try:
        await consumer.start()
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        return [((record := await consumer.getone()).value, record.timestamp_type) for _ in range(end)]
    finally:
        await consumer.stop()


async def create_topic(services: Services, topic: str, partitions: int = 1) -> None:
    """A topic that stamps its records, where the broker can."""
    if isinstance(services.broker, MockBroker):
        services.broker.create_topic(topic, partitions)
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=services.kafka)
    await admin.start()
    try:
        config = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
    finally:
        await admin.close()


async def test_both_answer(services: Services, namespace: Namespace) -> None:
    """A record goes through Kafka, a value through Redis, whichever way they run."""
    await create_topic(services, namespace.topic_prefix)
    await produce(services, namespace.topic_prefix, b"value")
    assert [value for value, _ in await consume(services, namespace.topic_prefix)] == [b"value"]
    with client(services) as store:
        assert store.set(namespace.redis_prefix, "value")
        assert store.get(namespace.redis_prefix) == b"value"
        assert store.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_comes_back_with_its_data(services: Services, namespace: Namespace) -> None:
    """After a stop and after a crash, at the same address."""
    with client(services) as store:
        store.set(namespace.redis_prefix, "kept")
    for outage in (services.store.stopped, services.store.killed):
        with client(services) as store, outage(), pytest.raises(AWAY):
            store.get(namespace.redis_prefix)
        with client(services) as store:
            assert store.get(namespace.redis_prefix) == b"kept"


def test_a_paused_redis_hangs(services: Services, namespace: Namespace) -> None:
    """It takes the connection and does not answer, as a stuck host does."""
    with client(services) as store, services.store.paused(), pytest.raises(HANGS):
        store.get(namespace.redis_prefix)
    with client(services) as store:
        assert store.get(namespace.redis_prefix) is None


async def test_kafka_comes_back_with_its_data(services: Services, namespace: Namespace) -> None:
    """After a stop and after a crash, at the same address."""
    topic = namespace.topic_prefix
    await create_topic(services, topic)
    for offset, outage in enumerate((services.broker.stopped, services.broker.killed)):
        assert await produce(services, topic, b"kept") == offset
        with outage():
            assert not services.broker.answers()
    assert [value for value, _ in await consume(services, topic)] == [b"kept"] * 2


@pytest.mark.needs_kafka(Lacks.LOG_TIME)
async def test_kafka_stamps_records_by_its_own_clock(services: Services, namespace: Namespace) -> None:
    """Whatever time their producer gives them."""
    await create_topic(services, namespace.topic_prefix)
    await produce(services, namespace.topic_prefix, b"value")
    assert await consume(services, namespace.topic_prefix) == [(b"value", LOG_APPEND_TIME)]


@pytest.mark.parametrize("partitions", [1, 8])
async def test_a_topic_has_the_partitions_that_it_was_made_with(
    services: Services, namespace: Namespace, partitions: int
) -> None:
    """In every way of getting services: tests choose them."""
    await create_topic(services, namespace.topic_prefix, partitions)
    producer = AIOKafkaProducer(bootstrap_servers=services.kafka)
    try:
        await producer.start()
        assert await producer.partitions_for(namespace.topic_prefix) == set(range(partitions))
    finally:
        await producer.stop()


def test_a_test_may_leave_services_dead(services: Services) -> None:
    """What it took away is healed after it."""
    services.store.kill()


def test_the_next_test_finds_them_alive(services: Services) -> None:
    """The one before killed Redis and left it so."""
    assert services.store.answers()
