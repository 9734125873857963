"""Creates the topics, and checks that they have the settings on which the guarantees of the pipeline depend."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from schemas.kafka.topic_check import judge_topics
from schemas.kafka.topics import COMPACTION_LAG, DAY_MS, EVENTS_KEPT_MS, Topic, wanted_topics
from schemas.settings import Settings
from worker.adapters.aiokafka_patches import create_no_topics
from worker.errors import WorkerError

_REQUIRED: Final = ("message.timestamp.type", "cleanup.policy")
_AT_LEAST: Final = ("retention.ms", "delete.retention.ms", "min.insync.replicas", COMPACTION_LAG)
_STATE_BYTES: Final = 1_000
"""A state record with its key, of a tenant that one breaker put to sleep; our producers do not compress."""
_NEEDS: Final = {True: "needs", False: "should have"}

log = structlog.get_logger("worker.adapters.kafka_topics")


class TopicsError(WorkerError):
    """A topic is missing or has a wrong setting; the message says what to do."""


class Finding(NamedTuple):
    """What is wrong with a topic, in a sentence.

    Attributes:
        text: the sentence.
        stops: whether a guarantee depends on it, so that no worker starts. Otherwise it is only a warning.
    """

    text: str
    stops: bool


def disk_cost(settings: Settings) -> str:
    """Return in a sentence what disk space the states topic takes, since it is not compacted at once."""
    gigabytes = EVENTS_KEPT_MS / 1000 * _STATE_BYTES / 1e9
    return (
        f"{settings.topics.states} keeps every state for {EVENTS_KEPT_MS // DAY_MS} days ({COMPACTION_LAG}), so that "
        f"`sleepctl replay` knows where a range begins. That takes about {gigabytes:.2g} GB on each replica "
        f"(SLEEP_REPLICATION is {settings.replication}) for each state published a second"
    )


class TopicAdmin:
    """An administrative connection to Kafka, for use in `async with`."""

    def __init__(self, settings: Settings) -> None:
        create_no_topics()
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
        """Create missing topics, and return the names of the topics that were created or changed.

        Existing topics stay as they are. Only missing partitions are added, where no tenant's partition depends on
        their number.

        Raises:
            TopicsError: if the broker refuses a topic, or a topic has a wrong number of partitions that cannot change.
        """
        wanted = wanted_topics(self._settings)
        counts = await self._counts()
        health = judge_topics(self._settings.topics, self._settings.partitions, counts)
        missing = [topic for topic in wanted if topic.name not in counts]
        if missing:
            await self._create(missing)
        if health.weak:
            await self._admin.create_partitions(
                {name: NewPartitions(self._settings.partitions) for name in health.weak}
            )
        if wrong := [problem for name, problem in health.bad.items() if name in counts]:
            raise TopicsError("; ".join(wrong))
        return [topic.name for topic in wanted if topic in missing or topic.name in health.weak]

    async def _counts(self) -> dict[str, int]:
        """Return the number of partitions of each of our topics that exists."""
        # Only existing topics are requested by name: an old broker would create the others with its defaults.
        present = set(await self._admin.list_topics())
        names = [name for name in self._settings.topics if name in present]
        described = await self._admin.describe_topics(names) if names else []
        return {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}

    async def _create(self, missing: list[Topic]) -> None:
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

    async def remove_events(self, partition: int, before: int) -> None:
        """Remove the events of a partition before an offset, as retention does.

        Raises:
            TopicsError: if the broker refuses.
            KafkaError: if it does not answer.
        """
        at = TopicPartition(self._settings.topics.events, partition)
        try:
            await self._admin.delete_records({at: RecordsToDelete(before)})
        except IncompatibleBrokerVersion:
            raise TopicsError("this broker removes no records before an offset (the embedded one cannot)") from None
        except (TopicAuthorizationFailedError, PolicyViolationError) as error:
            raise TopicsError(
                f"no record of {at.topic} can be removed: {type(error).__name__}: the user needs the right Delete on "
                "the topic, and the topic needs cleanup.policy=delete"
            ) from None

    async def check(self) -> list[Finding]:
        """Return what is wrong with the topics."""
        wanted = wanted_topics(self._settings)
        own_topics = {topic.name for topic in wanted}
        foreign = [source.topic for source in self._settings.ingress_topics if source.topic not in own_topics]
        present = set(await self._admin.list_topics())
        counts = await self._counts()
        health = judge_topics(self._settings.topics, self._settings.partitions, counts)
        findings: list[Finding] = []
        configs = {topic.name: await self._config(topic.name) for topic in wanted if topic.name in counts}
        for topic in _as_long_as_events(wanted, configs.get(self._settings.topics.events, {})):
            if topic.name in health.bad:
                findings.append(Finding(health.bad[topic.name], stops=True))
            if topic.name in health.weak:
                findings.append(Finding(health.weak[topic.name], stops=False))
            if topic.name in configs:
                findings += _compare(topic, configs[topic.name])
        # The owners of emitters create and delete these topics. That must not stop the decisions of other tenants.
        findings += (
            Finding(
                f"topic {name}, which SLEEP_INGRESS names, is missing; the owner of its emitters must create it",
                stops=False,
            )
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


def _as_long_as_events(wanted: list[Topic], events: Mapping[str, str | None]) -> list[Topic]:
    """Return the topics with states that stay as long as events do where a person keeps events for longer.

    Events that are kept for ever (-1) are an exception, since the topic would never be compacted.
    """
    kept = int(events.get("retention.ms") or 0)
    return [
        topic._replace(config={**topic.config, COMPACTION_LAG: str(max(kept, int(topic.config[COMPACTION_LAG])))})
        if COMPACTION_LAG in topic.config
        else topic
        for topic in wanted
    ]


def _compare(topic: Topic, config: Mapping[str, str | None]) -> Iterator[Finding]:
    """Yield each setting of a topic that is not as it should be."""
    for name, value in topic.config.items():
        actual = config.get(name)
        least = "at least " if name in _AT_LEAST else ""
        if actual != value and not (least and actual is not None and _is_at_least(actual, value)):
            stops = name in _REQUIRED
            cure = _lag_cure(topic.name, value) if name == COMPACTION_LAG else ""
            text = f"topic {topic.name} has {name}={actual}, and {_NEEDS[stops]} {least}{value}{cure}"
            yield Finding(text, stops=stops)


def _lag_cure(topic: str, value: str) -> str:
    """Return why a topic should not be compacted sooner, and what to do."""
    return (
        ", else `sleepctl replay` may not know where a range begins: run `kafka-configs.sh --alter --entity-type "
        f"topics --entity-name {topic} --add-config {COMPACTION_LAG}={value}`, which takes disk space"
    )


def _is_at_least(actual: str, wanted: str) -> bool:
    """Tell whether a number or a duration is large enough; -1 means no limit."""
    return int(actual) == -1 or int(actual) >= int(wanted)


async def verify_topics(settings: Settings) -> None:
    """Refuse topics that break a guarantee of the pipeline, and log a warning for other wrong settings.

    Raises:
        TopicsError: naming each problem.
        KafkaError: if no broker answers.
    """
    async with TopicAdmin(settings) as admin:
        findings = await admin.check()
    for finding in findings:
        if not finding.stops:
            log.warning("topic_finding", finding=finding.text)
    if stopping := [finding.text for finding in findings if finding.stops]:
        raise TopicsError("; ".join(stopping))
