"""The dead letters of one partition of an ingress topic: a few are sent one by one, and a flood becomes one.

Pure: times are arguments, in ms of a monotonic clock. A dead letter waits up to a second for more with the same code.
So a flood is noticed before any part of it is sent. A record that waits is not acknowledged: after a crash it is read
again.

On the events topic each record has its own dead letter, because `rebuild` and `verify` skip the same positions.
"""

from typing import Final

from schemas.kafka.offset_ranges import Range, text_of
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable, size_of
from worker.fold.dead_letter import COUNT, OFFSETS, REDRIVE_OF, TIMES, dead_letter
from worker.ports import Output

MOST_RECORDS: Final = 100
"""How many dead letters with one code are sent one by one. If more come while these wait, all become one."""
MOST_BYTES: Final = 1 << 20
"""How many bytes these may have together."""
LINGER_MS: Final = 1_000
"""How long a dead letter waits for more with the same code."""
FEW: Final = 10
FEW_LINGER_MS: Final = 200
"""How long `FEW` or fewer wait: so a single mistake is shown soon, and a flood soon exceeds `FEW`."""
LONGEST_MS: Final = 30_000
"""How long a dead letter waits at most, while more keep coming."""
# A Kafka record may have 1 MiB. Key, value and headers of the example record take at most 64 KiB each.
_OFFSETS_BYTES: Final = 655_360


class _Waiting:
    """The records with one code that wait to become dead letters."""

    def __init__(self, record: SourceRecord, failure: Failure, now: int) -> None:
        self.began = self._last = now
        self.count = 0
        self._example = record
        self._earliest_at = self._latest_at = record.timestamp
        self._failure = failure
        self._dead_letters: list[Output] = []
        self._dead_letters_bytes = 0
        self._ranges: list[Range] = []
        self._ranges_bytes = 0

    @property
    def first(self) -> int:
        """The lowest offset."""
        return self._ranges[0].first

    @property
    def due(self) -> int:
        """The time at which they become dead letters, ms."""
        full = self._ranges_bytes > _OFFSETS_BYTES
        linger = FEW_LINGER_MS if self.count <= FEW else LINGER_MS
        return self.began if full else min(self._last + linger, self.began + LONGEST_MS)

    def add(self, record: SourceRecord, failure: Failure, now: int) -> None:
        """Add a record."""
        self.count += 1
        self._last = now
        self._earliest_at = min(self._earliest_at, record.timestamp)
        self._latest_at = max(self._latest_at, record.timestamp)
        begin = record.first if isinstance(record, Unreadable) else record.offset
        if self._ranges and self._ranges[-1].last == begin - 1:
            self._ranges[-1] = Range(self._ranges[-1].first, record.offset)
        else:
            self._ranges.append(Range(begin, record.offset))
            self._ranges_bytes += 2 * len(str(record.offset)) + 2
        if self.count <= MOST_RECORDS and self._dead_letters_bytes <= MOST_BYTES:
            output = dead_letter(record, failure)
            self._dead_letters.append(output)
            self._dead_letters_bytes += size_of(output)

    def dead_letters(self) -> list[Output]:
        """Return a dead letter for each record, or one for all of them."""
        if self.count <= MOST_RECORDS and self._dead_letters_bytes <= MOST_BYTES:
            return self._dead_letters
        example = dead_letter(self._example, self._failure)
        times = dict(zip(TIMES, (str(self._earliest_at), str(self._latest_at)), strict=True))
        fields = {COUNT: str(self.count), OFFSETS: text_of(self._ranges), **times}
        headers = [(name, value.encode()) for name, value in fields.items()]
        return [example._replace(headers=[*headers, *example.headers])]


class DeadLetters:
    """The records of one partition that wait to become dead letters, by code.

    Records on which our own code failed do not wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bool], _Waiting] = {}

    @property
    def first(self) -> int | None:
        """The lowest offset of a record that waits, None if no record waits."""
        return min((waiting.first for waiting in self._waiting.values()), default=None)

    def add(self, record: SourceRecord, failure: Failure, now: int) -> None:
        """Add a record, with the reason why it becomes a dead letter."""
        # A redriven record that fails again has a header that names its dead letter. It never joins another flood.
        key = failure.code, any(name == REDRIVE_OF for name, _ in record.headers)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(record, failure, now)
        waiting.add(record, failure, now)

    def next_due(self) -> int | None:
        """Return when the next dead letters are due, None if no record waits."""
        return min((waiting.due for waiting in self._waiting.values()), default=None)

    def due(self, now: int) -> list[Output]:
        """Remove and return the dead letters that are due."""
        ready = [key for key, waiting in self._waiting.items() if waiting.due <= now]
        return [output for key in ready for output in self._waiting.pop(key).dead_letters()]
