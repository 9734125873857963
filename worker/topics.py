"""Creating the topics, and checking that they are what the pipeline's promises rest on."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, for_code

from schemas.settings import Settings

_DAY_MS: Final = 86_400_000
_PROMISED: Final = ("message.timestamp.type", "cleanup.policy")
_AT_LEAST: Final = ("retention.ms", "delete.retention.ms", "min.insync.replicas")
_NEEDS: Final = {True: "needs", False: "should have"}
_TENANT_TOPICS: Final = 3  # events, states and transitions share the tenants' partitions

log = structlog.get_logger("worker.topics")


class TopicsError(Exception):
    """A topic that is missing or not as it must be; the message says what to do."""


class Topic(NamedTuple):
    """A topic as DESIGN section 4 fixes it."""

    name: str
    partitions: int
    config: dict[str, str]


class Finding(NamedTuple):
    """What is wrong with a topic, in a sentence.

    Attributes:
        text: the sentence.
        stops: whether a promise rests on it, so that no worker starts; else the topic is only weaker than asked.
    """

    text: str
    stops: bool


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

    async def check(self) -> list[Finding]:
        """Return what is wrong with the topics; nothing where all is well."""
        wanted = wanted_topics(self._settings)
        ours = {topic.name for topic in wanted}
        foreign = [source.topic for source in self._settings.ingress_topics if source.topic not in ours]
        # Only those that are there are asked for by name: that can make a topic, with the broker's defaults.
        present = set(await self._admin.list_topics())
        described = {
            topic["topic"]: topic
            for topic in await self._admin.describe_topics([topic.name for topic in wanted if topic.name in present])
        }
        findings: list[Finding] = []
        for topic in wanted:
            found = described.get(topic.name)
            if found is None or found["error_code"]:
                findings.append(Finding(f"topic {topic.name} is missing; run `sleepctl topics create`", stops=True))
                continue
            count = len(found["partitions"])
            # Emitters may use any partition of the breakers topic, and nothing is looked up in dead letters.
            if count != topic.partitions and topic.name in self._settings.topics[:_TENANT_TOPICS]:
                text = f"topic {topic.name} has {count} partitions and SLEEP_PARTITIONS is {topic.partitions}"
                findings.append(Finding(text, stops=True))
            findings += _compare(topic, await self._config(topic.name))
        # Others make these, and take them away; that must not keep the tenants of everybody else from being decided.
        findings += (
            Finding(f"topic {name}, which SLEEP_INGRESS names, is missing; its emitters make it", stops=False)
            for name in foreign
            if name not in present
        )
        return findings

    async def _config(self, topic: str) -> dict[str, Any]:
        try:
            answers = await self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        except IncompatibleBrokerVersion:
            raise TopicsError("this broker cannot tell a topic's configuration (the embedded one cannot)") from None
        return {entry[0]: entry[1] for answer in answers for entry in answer.resources[0][4]}


def _compare(topic: Topic, config: Mapping[str, str | None]) -> Iterator[Finding]:
    """Yield how a topic's configuration falls short of what it should be."""
    for name, value in topic.config.items():
        found = config.get(name)
        least = "at least " if name in _AT_LEAST else ""
        if found != value and not (least and found is not None and _no_less(found, value)):
            stops = name in _PROMISED
            yield Finding(f"topic {topic.name} has {name}={found}, and {_NEEDS[stops]} {least}{value}", stops=stops)


def _no_less(found: str, wanted: str) -> bool:
    """Tell whether a number or a duration is no less; -1 is for ever."""
    return int(found) == -1 or int(found) >= int(wanted)


async def verify_topics(settings: Settings) -> None:
    """Refuse topics that the pipeline's promises do not hold on; warn of those that are only weaker than asked.

    Raises:
        TopicsError: naming each finding.
        KafkaError: if no broker answers.
    """
    async with TopicAdmin(settings) as admin:
        findings = await admin.check()
    for finding in findings:
        if not finding.stops:
            log.warning("topic_finding", finding=finding.text)
    if stopping := [finding.text for finding in findings if finding.stops]:
        raise TopicsError("; ".join(stopping))
