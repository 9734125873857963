"""Checks every two seconds that the topics exist and have the right number of partitions."""

from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from schemas.kafka.topic_check import TopicHealth, judge_topics
from schemas.names import Topics
from worker.ports import Clock, OutputError

_CHECK_SECONDS: Final = 2.0

log = structlog.get_logger("worker.adapters.kafka_topics")


class PartitionCounts(Protocol):
    """A producer that knows the partition counts of topics, and sends no record to an unfit topic."""

    topics: Topics
    unfit: Mapping[str, str]

    async def partition_counts(self) -> Mapping[str, int]:
        """Return the partition count of each of our topics that exists; OutputError if no broker answers."""


class TopicWatch:
    """Keeps the last result of the check, and passes it to the producer.

    Attributes:
        health: the last result; empty before the first answer, and kept while Kafka is unreachable.

    Args:
        outputs: the producer.
        partitions: how many partitions each topic must have.
        clock: the time.
    """

    def __init__(self, outputs: PartitionCounts, partitions: int, clock: Clock) -> None:
        self.health = TopicHealth({}, {})
        self._outputs = outputs
        self._partitions = partitions
        self._clock = clock

    async def run(self) -> None:
        """Check every two seconds, until cancelled."""
        while True:
            try:
                counts = await self._outputs.partition_counts()
            except OutputError:
                pass  # `/status` asks Kafka itself whether it answers.
            except Exception:
                log.exception("topic_watch_failed")
            else:
                health = judge_topics(self._outputs.topics, self._partitions, counts)
                if health != self.health:
                    log.warning("topics", bad=health.bad, weak=health.weak)
                self.health = health
                self._outputs.unfit = health.bad
            await self._clock.sleep(_CHECK_SECONDS)
