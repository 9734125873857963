"""The batches that could not be read, as `/status` shows them until the worker restarts."""

from collections.abc import Iterable
from typing import Any, Final

import structlog

from schemas.kafka.source_record import Unreadable

_TO_DO: Final = (
    "its records became one dead letter: `sleepctl deadletters list --code unreadable_batch` shows it; find the "
    "producer, and let it send the records again"
)

log = structlog.get_logger("worker.runtime.unreadable_batches")


class UnreadableBatches:
    """The last unreadable batch of each partition. There is one object for a worker process."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], Unreadable] = {}
        self._count: dict[tuple[str, int], int] = {}

    def note(self, batches: Iterable[Unreadable]) -> None:
        """Add batches that could not be read."""
        for batch in batches:
            place = batch.topic, batch.partition
            self._last[place] = batch
            count = self._count[place] = self._count.get(place, 0) + 1
            if count & (count - 1):
                continue  # In a flood, only the 1st, 2nd, 4th, 8th and so on are logged.
            log.warning(
                "batch_unreadable",
                topic=batch.topic,
                partition=batch.partition,
                first_offset=batch.first,
                last_offset=batch.offset,
                batches=count,
                reason=batch.failure.message,
            )

    def shown(self) -> list[dict[str, Any]]:
        """Return the last batch of each partition, how many there were, and what to do."""
        return [
            {
                "topic": topic,
                "partition": partition,
                "first_offset": batch.first,
                "last_offset": batch.offset,
                "batches": self._count[topic, partition],
                "finding": f"{batch.failure.message}; {_TO_DO}",
            }
            for (topic, partition), batch in sorted(self._last.items())
        ]
