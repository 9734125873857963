"""What the lanes of one worker process share."""

import random
from typing import TYPE_CHECKING, NamedTuple

from worker.metrics import Metrics
from worker.ports import Clock, FetchOffsetRange, Outputs, Reader, Store
from worker.runtime.unreadable_batches import UnreadableBatches

if TYPE_CHECKING:
    from schemas.tracing.tracing import Tracing


class LaneSettings(NamedTuple):
    """The settings of the lanes.

    Attributes:
        partitions: the number of partitions of the events topic.
        reply_prefix: what each Redis channel for an answer begins with.
        deadletter_max_ratio: the share of records on which our own code may fail, 0 to 1.
    """

    partitions: int
    reply_prefix: str
    deadletter_max_ratio: float


class LaneContext(NamedTuple):
    """What lanes read from, write to and report to.

    Attributes:
        store: the tenants' records and the progress of each partition, in Redis.
        outputs: the producer for Kafka.
        reader: reads single pages of a topic, beside the consumer.
        offset_range: asks Kafka for the first offset and the end of a partition of the events topic.
        clock: the time of this machine.
        random: the jitter of retries.
        metrics: counts what the lanes fold.
        unreadable: keeps the batches that could not be read, for `/status`.
        settings: the settings.
        tracing: makes spans; None if tracing is off.
    """

    store: Store
    outputs: Outputs
    reader: Reader
    offset_range: FetchOffsetRange
    clock: Clock
    random: random.Random
    metrics: Metrics
    unreadable: UnreadableBatches
    settings: LaneSettings
    tracing: "Tracing | None" = None
