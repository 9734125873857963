"""Breaker events on their way into the log: all of a request's, or none."""

from collections.abc import Sequence
from typing import Final

from api.describe.problems import ProblemError
from api.publish.cloudevents import encode_breaker_event
from api.publish.log import EventsLog, OutcomeUnknownError, Published
from schemas.cloudevents import MAX_BYTES
from schemas.events import BreakerEvent
from schemas.partition import partition_of
from schemas.policy import FieldError

_UNKNOWN: Final = (
    "no acknowledgement came for all of them; send the same events again: by its time, one that is in the log already "
    "is stale there or a renewal"
)


class Emitter:
    """Publishes breaker events.

    Args:
        log: publishes.
        partitions: number of partitions of the events topic.
    """

    def __init__(self, log: EventsLog, partitions: int) -> None:
        self._log = log
        self._partitions = partitions

    async def publish(self, events: Sequence[BreakerEvent]) -> None:
        """Publish the events, in their order within each tenant.

        Those of one partition are one record batch, which Kafka appends whole. No two partitions can be appended to
        at once without transactions, which a log that is read uncommitted has no use for: where one of several did not
        answer, that is what the problem says.

        Raises:
            ProblemError: `outcome_unknown`; `body_too_large` for an event that grows too large in the writing.
            UnavailableError: if nothing was published.
        """
        by_partition: dict[int, list[Published]] = {}
        for index, event in enumerate(events):
            value = encode_breaker_event(event)
            if len(value) > MAX_BYTES:
                raise ProblemError(
                    "body_too_large",
                    f"an event makes a record of more than {MAX_BYTES} bytes",
                    errors=[FieldError(f"[{index}]", "too large")],
                )
            partition = partition_of(event.subject, self._partitions)
            by_partition.setdefault(partition, []).append(Published(event.subject.encode(), value))
        try:
            await self._log.publish_all(by_partition)
        except OutcomeUnknownError as error:
            raise ProblemError("outcome_unknown", _UNKNOWN) from error
