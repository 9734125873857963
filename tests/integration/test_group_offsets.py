"""What a group has committed, as the worker and the command line ask it of each broker."""

from collections.abc import AsyncIterator
from contextlib import closing, nullcontext
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP

from schemas.settings import Settings
from tests.services import Namespace, Services
from tests.services.base import Service
from tests.services.embedded import MockBroker
from worker.adapters.topic_reader import TopicReader, TopicReadError
from worker.runtime.faust.ingress_transport import former_offsets


@pytest.fixture(params=["the broker of the tests", "the broker of sleepctl run"])
async def settings(request: pytest.FixtureRequest, services: Services, namespace: Namespace) -> AsyncIterator[Settings]:
    """Settings of an installation whose groups have committed nothing."""
    names: dict[str, Any] = {"topic_prefix": namespace.topic_prefix, "consumer_group": namespace.topic_prefix}
    names |= {"partitions": 4, "redis_url": "redis://127.0.0.1:1/0"}
    own = request.param == "the broker of sleepctl run"
    with closing(MockBroker()) if own else nullcontext(services.broker) as broker:
        settings = Settings(kafka_bootstrap=broker.address, **names)
        for topic in (settings.topics.events, settings.topics.breakers):
            await create_topic(broker, topic)
        # A new Kafka names the coordinator of a group a moment after it was first asked.
        await commit(settings, "another", {TP(settings.topics.events, 0): 5})
        yield settings


async def create_topic(broker: Service, topic: str) -> None:
    """Make a topic of four partitions."""
    if isinstance(broker, MockBroker):
        broker.create_topic(topic, 4)
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 4, 1)])
    finally:
        await admin.close()


async def commit(settings: Settings, group: str, offsets: dict[TP, int]) -> None:
    """Commit for a group, as earlier versions did in the lanes' group for ingress too."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(*tp) for tp in offsets])
        await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items()})
    finally:
        await consumer.stop()


async def test_ingress_learns_what_the_lanes_group_has_committed(settings: Settings) -> None:
    """A group that has committed nothing, as in a new installation, has no offset; the embedded broker too says so."""
    asked = [TP(settings.topics.breakers, partition) for partition in range(4)]
    assert await former_offsets(settings, asked) == {}
    await commit(settings, settings.consumer_group, {asked[1]: 0, asked[2]: 7, TP(settings.topics.events, 2): 9})
    assert await former_offsets(settings, asked) == {asked[1]: 0, asked[2]: 7}


async def test_the_command_line_learns_how_far_the_lanes_are(settings: Settings) -> None:
    """`rebuild` goes no further back than it has to."""
    async with TopicReader(settings) as reader:
        assert await reader.committed() == {}
        await commit(
            settings, settings.consumer_group, {TP(settings.topics.events, 2): 9, TP(settings.topics.breakers, 1): 3}
        )
        assert await reader.committed() == {2: 9}


async def test_the_embedded_broker_cannot_tell_who_is_in_a_group() -> None:
    """`rebuild` cannot know whether the workers are stopped, and says so in words."""
    with closing(MockBroker()) as broker:
        settings = Settings.model_validate({"kafka_bootstrap": broker.address, "redis_url": "redis://127.0.0.1:1/0"})
        async with TopicReader(settings) as reader:
            with pytest.raises(TopicReadError, match="cannot say who is in a group"):
                await reader.members()
