"""A broker as an administrator of topics sees it."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from schemas.kafka.topics import wanted_topics
from schemas.settings import Settings


class Answer:
    """One answer of the broker; each field as aiokafka names it."""

    topic_errors: list[tuple[Any, ...]]
    resources: list[tuple[Any, ...]]

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


class Admin:
    """A broker as an administrator sees it."""

    def __init__(self) -> None:
        self.topics: dict[str, tuple[int, dict[str, str | None]]] = {}
        self.asked: list[str] = []
        self.created: list[NewTopic] = []
        self.grown: dict[str, int] = {}
        self.refusals: dict[str, tuple[Any, ...]] = {}
        self.open = False
        self.controller = 1
        self.undescribed = False
        self.undeleted: type[KafkaError] | None = None
        self.deleted: dict[int, int] = {}
        self.options: dict[str, Any] = {}

    def __call__(self, **options: object) -> "Admin":
        self.options = options
        return self

    async def start(self) -> None:
        self.open = True

    async def close(self) -> None:
        self.open = False

    async def describe_cluster(self) -> dict[str, Any]:
        return {"controller_id": self.controller, "brokers": [{"node_id": 1}]}

    async def list_topics(self) -> list[str]:
        return list(self.topics)

    async def create_topics(self, topics: list[NewTopic]) -> Answer:
        self.created += topics
        return Answer(topic_errors=[(topic.name, *self.refusals.get(topic.name, (0,))) for topic in topics])

    async def create_partitions(self, wanted: dict[str, NewPartitions]) -> None:
        self.grown = {name: new.total_count for name, new in wanted.items()}

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self.asked += names
        return [
            {"topic": name, "error_code": 0, "partitions": [{}] * self.topics[name][0]}
            if name in self.topics
            else {"topic": name, "error_code": 3, "partitions": []}
            for name in names
        ]

    async def delete_records(self, records: dict[TopicPartition, RecordsToDelete]) -> None:
        if self.undeleted is not None:
            raise self.undeleted
        self.deleted = {at.partition: each.before_offset for at, each in records.items()}

    async def describe_configs(self, resources: list[ConfigResource]) -> list[Answer]:
        if self.undescribed:
            raise IncompatibleBrokerVersion
        [resource] = resources
        entries = [(name, value, False, False, False) for name, value in self.topics[resource.name][1].items()]
        return [Answer(resources=[(0, None, 2, resource.name, entries)])]

    def have(self, settings: Settings) -> None:
        """Have the topics as they should be."""
        self.topics = {topic.name: (topic.partitions, dict(topic.config)) for topic in wanted_topics(settings)}
