"""Publishes the breaker events of a request: all of them or none."""

from collections.abc import Sequence
from typing import Final

from api.adapters.kafka_events import EventRecord, EventsLog, OutcomeUnknownError
from api.commands.cloudevents import encode_breaker_event
from api.errors.problems import ProblemError
from schemas.domain.policy import FieldError
from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import MAX_BYTES
from schemas.wire.events import BreakerEvent

_UNKNOWN: Final = (
    "no acknowledgement came for all of them; send the same events again: by its time, one that is in the log already "
    "is stale there or a renewal"
)


class Emitter:
    """Publishes breaker events.

    Args:
        log: publishes records.
        partitions: number of partitions of the events topic.
    """

    def __init__(self, log: EventsLog, partitions: int) -> None:
        self._log = log
        self._partitions = partitions

    async def publish(self, events: Sequence[BreakerEvent]) -> None:
        """Publish the events, in their order within each tenant.

        The events of one partition are one record batch, which Kafka appends atomically. Only a transaction could
        append to several partitions atomically, and the readers of this log read uncommitted records. So if one of
        several partitions does not answer, the problem says that the outcome is unknown.

        Raises:
            ProblemError: `outcome_unknown`; `body_too_large` for an event that is too large as a record.
            UnavailableError: if nothing was published.
        """
        by_partition: dict[int, list[EventRecord]] = {}
        for index, event in enumerate(events):
            value = encode_breaker_event(event)
            if len(value) > MAX_BYTES:
                raise ProblemError(
                    "body_too_large",
                    f"an event makes a record of more than {MAX_BYTES} bytes",
                    errors=[FieldError(f"[{index}]", "too large")],
                )
            partition = partition_of(event.subject, self._partitions)
            by_partition.setdefault(partition, []).append(EventRecord(event.subject.encode(), value))
        try:
            await self._log.publish_all(by_partition)
        except OutcomeUnknownError as error:
            raise ProblemError("outcome_unknown", _UNKNOWN) from error
