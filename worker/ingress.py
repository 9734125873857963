"""Ingress: breaker events from emitters outside our trust, normalised onto the events topic.

Such emitters may write to ingress topics only, with any partitioner. Nothing but breaker events passes; where the
emitter gave no time, the source record's timestamp is stamped, so that a repeat after a crash is stale or a
renewal and changes nothing.
"""

import asyncio
import traceback
from collections.abc import Sequence

from schemas.cloudevents import STRUCTURED_HEADERS, UndecodableError, encode, parse
from schemas.events import BREAKER, BreakerEvent
from schemas.partition import partition_of
from schemas.values import time_ms
from worker.deadletter import Failure, SourceRecord, dead_letter
from worker.metrics import Metrics
from worker.ports import Output, Outputs


def normalise(record: SourceRecord) -> tuple[str, Output] | Failure:
    """Return the tenant and the event to publish, or why the record is a dead letter."""
    try:
        event = parse(record.value, record.headers)
    except UndecodableError as error:
        return Failure(error.code, str(error))
    except Exception:  # noqa: BLE001 - whatever our decoder trips over must not stop the others
        return Failure("decode_failed", traceback.format_exc(), ours=True)
    if not isinstance(event, BreakerEvent):
        return Failure("not_a_breaker_event", f"{event.type} may not come through ingress; only {BREAKER} may")
    data = event.data.model_dump(exclude_none=True)
    if event.data.occurred_at is None:
        data["occurred_at"] = record.timestamp if event.time is None else time_ms(event.time)
    value = encode(type_=BREAKER, id_=event.id, source=event.source, subject=event.subject, time=event.time, data=data)
    return event.subject, Output(event.subject.encode(), value, STRUCTURED_HEADERS)


class Ingress:
    """Publishes normalised batches, to the partition of each tenant.

    Attributes:
        findings: what keeps a topic's batch from being published, by topic.

    Args:
        outputs: where to.
        partitions: number of partitions of the events topic.
        metrics: counts what was forwarded and what was set aside.
    """

    def __init__(self, outputs: Outputs, partitions: int, metrics: Metrics) -> None:
        self.findings: dict[str, str] = {}
        self._outputs = outputs
        self._partitions = partitions
        self._metrics = metrics

    async def forward(self, records: Sequence[SourceRecord]) -> None:
        """Publish what a fetched batch holds, which is not empty, and set the rest aside.

        Raises:
            OutputError: if Kafka does not take them in time; the batch comes again.
        """
        by_partition: dict[int, list[Output]] = {}
        dead: list[Output] = []
        ours = 0
        for record in records:
            found = normalise(record)
            if isinstance(found, Failure):
                dead.append(dead_letter(record, found))
                ours += found.ours
            else:
                tenant, output = found
                by_partition.setdefault(partition_of(tenant, self._partitions), []).append(output)
        events = self._outputs.topics.events
        sends = (self._outputs.send(events, *of_partition) for of_partition in by_partition.items())
        # Nothing is under way any more when the batch is sent again, lest it overtake what comes next.
        for done in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
        if dead:
            await self._outputs.dead_letters(records[0].partition, dead)
        self._metrics.forwarded(records[0].topic, len(records) - len(dead), theirs=len(dead) - ours, ours=ours)
