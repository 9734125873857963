"""A forwarder with time that passes when it is told to."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faust.types import TP

from schemas.kafka.source_record import SourceRecord
from tests.support.fakes import FakeClock, settle
from worker.ingress.dead_letter_floods import LINGER_MS
from worker.ingress.ingress import Ingress
from worker.metrics import Metrics
from worker.partition.fetch_buffer import FetchedBatch
from worker.ports import Outputs
from worker.runtime.unreadable_batches import UnreadableBatches

BREAKERS = TP("sleep.breakers", 7)


class Forwarding:
    """Ingress of one partition."""

    def __init__(self, ingress: Ingress, clock: FakeClock, tp: TP) -> None:
        self.ingress = ingress
        self.tp = tp
        self._clock = clock

    async def offer(self, *records: SourceRecord) -> None:
        """Hand over a fetched batch, and let it be forwarded as far as it goes at once."""
        self.ingress.offer(self.tp, FetchedBatch(1, records))
        await settle()

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self._clock.now() + round(seconds * 1_000)
        while self._clock.wake(until):
            await settle()

    def position(self) -> int | None:
        """Return the offset that would be committed now."""
        return self.ingress.position(self.tp)


@asynccontextmanager
async def forwarding(
    outputs: Outputs,
    *,
    partitions: int = 1,
    tp: TP = BREAKERS,
    metrics: Metrics | None = None,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Forwarding]:
    """Run a forwarder; further options are those of `Ingress`."""
    clock = FakeClock()
    ingress = Ingress(
        outputs, partitions, metrics or Metrics(), options.pop("unreadable", None) or UnreadableBatches(),
        clock=clock, **options,
    )  # fmt: skip
    await ingress.assign([tp], 1)
    try:
        yield Forwarding(ingress, clock, tp)
    finally:
        await ingress.end()


async def forward(outputs: Outputs, records: Sequence[SourceRecord], **options: Any) -> None:  # noqa: ANN401
    """Forward one batch and all that becomes of it."""
    tp = TP(records[0].topic, records[0].partition)
    async with forwarding(outputs, tp=tp, **options) as forwarder:
        await forwarder.offer(*records)
        await forwarder.advance(2 * LINGER_MS / 1_000)
