"""A log of raw batches that answers fetches as a broker does, and a reader of it as the fetcher reads."""
# ruff: noqa: FBT003, SLF001 - the reader stands in place of aiokafka's, which its fetcher alone makes, by position

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from schemas.kafka import fetcher

TP = TopicPartition("sleep.events", 0)
_MOST_FETCHES = 3_000


class Stored(NamedTuple):
    """A batch with the offsets that the broker knows it by."""

    first: int
    last: int
    raw: bytes


class Log:
    """Batches one after the other.

    Attributes:
        fetches: how many answers were given.
    """

    def __init__(self, *stored: Stored) -> None:
        self.fetches = 0
        self._stored = stored

    @property
    def end(self) -> int:
        """The offset behind the last batch."""
        return self._stored[-1].last + 1

    def fetch(self, offset: int, most: int) -> bytes:
        """Return the batches from the one with an offset on, cut after so many bytes; the first is whole."""
        self.fetches += 1
        wanted = [stored.raw for stored in self._stored if stored.last >= offset]
        return b"".join(wanted)[: max(most, len(wanted[0]))]

    def read(self, start: int = 0, most: int = 1 << 20) -> list[Any]:
        """Return all records from an offset on, as consumers get them."""
        return list(self.records(start, most))

    def records(self, start: int = 0, most: int = 1 << 20) -> Iterator[Any]:
        """Yield all records from an offset on, one at a time."""
        damaged, memory, position = fetcher._DamagedBatches(), fetcher._ExpandedMemory(), start
        while position < self.end:
            assert self.fetches < _MOST_FETCHES, f"it stands at {position}"
            answer = fetcher._Answer(self.fetch(position, most))
            records = fetcher._Records(
                lambda _: self.end, damaged, memory, TP, answer, [], position, None, None, True, 0
            )
            yield from records
            assert records.next_fetch_offset >= position
            position = records.next_fetch_offset
        assert position == self.end, f"{position} is behind the end {self.end}"
