"""Creating the topics, and checking that they are what the pipeline's promises rest on."""

from typing import Any, Final, NamedTuple, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, for_code

from schemas.settings import Settings

_DAY_MS: Final = 86_400_000
_TENANT_TOPICS: Final = 3  # events, states and transitions share the tenants' partitions


class TopicsError(Exception):
    """A topic that is missing or not as it must be; the message says what to do."""


class Topic(NamedTuple):
    """A topic as DESIGN section 4 fixes it."""

    name: str
    partitions: int
    config: dict[str, str]


def wanted_topics(settings: Settings) -> list[Topic]:
    """Return the topics of an installation."""
    topics, partitions = settings.topics, settings.partitions
    common = {"unclean.leader.election.enable": "false"}
    if settings.replication >= 3:  # noqa: PLR2004 - two of three must have a record before it counts
        common["min.insync.replicas"] = "2"

    def kept(days: int, **more: str) -> dict[str, str]:
        return {**common, "cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS), **more}

    log_time = {"message.timestamp.type": "LogAppendTime"}
    return [
        Topic(topics.events, partitions, kept(7, **log_time)),
        # A rebuild must meet the tombstone of a tenant for as long as the log holds an event from before it.
        Topic(
            topics.states,
            partitions,
            {**common, "cleanup.policy": "compact", "delete.retention.ms": str(9 * _DAY_MS)},
        ),
        Topic(topics.transitions, partitions, kept(30)),
        Topic(topics.breakers, partitions, kept(1, **log_time)),
        Topic(topics.deadletter, partitions, kept(30)),
    ]


class TopicAdmin:
    """An administrative connection to Kafka, for use in `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AIOKafkaAdminClient(**settings.kafka_client(), client_id="sleep-topics")

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaError: if no broker answers.
        """
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._admin.close()

    async def create(self) -> list[str]:
        """Create the topics that are missing and return their names; those that stand are left as they are.

        Raises:
            TopicsError: if the broker refuses one.
        """
        present = set(await self._admin.list_topics())
        missing = [topic for topic in wanted_topics(self._settings) if topic.name not in present]
        if not missing:
            return []
        cluster = await self._admin.describe_cluster()
        if cluster["controller_id"] not in [broker["node_id"] for broker in cluster["brokers"]]:
            raise TopicsError("this broker names no controller and cannot create topics (the embedded one cannot)")
        answer = await self._admin.create_topics(
            [
                NewTopic(topic.name, topic.partitions, self._settings.replication, topic_configs=topic.config)
                for topic in missing
            ]
        )
        for name, code, *rest in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise TopicsError(f"topic {name} was not created: {error.__name__}: {rest[0] if rest else ''}")
        return [topic.name for topic in missing]

    async def check(self) -> list[str]:
        """Return what is wrong with the topics, a sentence each; nothing where all is well."""
        findings: list[str] = []
        wanted = wanted_topics(self._settings)
        described = {topic["topic"]: topic for topic in await self._admin.describe_topics([t.name for t in wanted])}
        for topic in wanted:
            found = described.get(topic.name)
            if found is None or found["error_code"]:
                findings.append(f"topic {topic.name} is missing; run `sleepctl topics create`")
                continue
            count = len(found["partitions"])
            # Emitters may use any partition of the breakers topic, and nothing is looked up in dead letters.
            if count != topic.partitions and topic.name in self._settings.topics[:_TENANT_TOPICS]:
                findings.append(f"topic {topic.name} has {count} partitions and SLEEP_PARTITIONS is {topic.partitions}")
            config = await self._config(topic.name)
            findings += [
                f"topic {topic.name} has {name}={config.get(name)}, and needs {value}"
                for name, value in topic.config.items()
                if name in ("message.timestamp.type", "cleanup.policy") and config.get(name) != value
            ]
        return findings

    async def _config(self, topic: str) -> dict[str, Any]:
        try:
            answers = await self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        except IncompatibleBrokerVersion:
            raise TopicsError("this broker cannot tell a topic's configuration (the embedded one cannot)") from None
        return {entry[0]: entry[1] for answer in answers for entry in answer.resources[0][4]}


async def verify_topics(settings: Settings) -> None:
    """Refuse topics that are missing, have another partition count, or do not stamp the log's own time.

    Raises:
        TopicsError: naming each finding.
        KafkaError: if no broker answers.
    """
    async with TopicAdmin(settings) as admin:
        findings = await admin.check()
    if findings:
        raise TopicsError("; ".join(findings))
