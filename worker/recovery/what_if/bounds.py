"""The range of the log that is replayed: how a person names it, and what it is on a partition. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from schemas.wire.state_record import parse_position
from worker.recovery.errors import RecoveryError

WARM_UP_MS: Final = 7_200_000
"""How far before the range the fold begins, in ms of the log.

A partition remembers a command for two hours after its end (`schemas.wire.operation.FORGOTTEN_MS`). A published record
also lacks the last renewals, and each emitter repeats itself at least every third of a lease (900 s by default).
"""
COMMIT_OFFSETS: Final = 4_000
"""How many offsets one commit may span: a batch has 2,000 records, and transactions leave offsets without a record.

A commit publishes only the last state of a tenant. So the fold begins so many offsets earlier, and folds what a commit
across the beginning of the warm-up has not published.
"""
_POSITION: Final = re.compile(r"[0-9]+:[0-9]+")
_MILLISECONDS: Final = re.compile(r"[0-9]+")


class InvalidBoundError(RecoveryError):
    """A text is neither a time nor a position; the error says what is expected."""


class Place(NamedTuple):
    """A bound of the range: a time in ms, or a position of one partition. One of the two is None."""

    at: int | None = None
    position: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Return the place that a person wrote: `P:O`, ISO 8601 with its time zone, or ms since the epoch.

        Raises:
            InvalidBoundError: if it is none of these.
        """
        if _POSITION.fullmatch(text):
            return cls(position=parse_position(text))
        try:
            if _MILLISECONDS.fullmatch(text):
                at = datetime.fromtimestamp(int(text) / 1000, UTC)
            else:
                at = datetime.fromisoformat(text)
        except (ValueError, OverflowError, OSError):
            raise InvalidBoundError(
                f"{text!r} is neither a position P:O, a time such as 2026-11-30T09:00:00Z, nor ms since the epoch"
            ) from None
        if at.tzinfo is None:
            raise InvalidBoundError(f"{text!r} has no time zone: add Z for UTC, or an offset such as +01:00")
        return cls(at=round(at.timestamp() * 1000))


class Range(NamedTuple):
    """The range on one partition.

    Attributes:
        partition: its number.
        log_start: the first offset that the log still holds.
        read_from: the offset at which the fold begins, at most `COMMIT_OFFSETS` before the warm-up.
        warm_up: the offset before which each tenant's last published record is taken, at most two hours before the
            range.
        first, next: the first offset of the range, and the offset after the last.
        from_at, to_at: the times at which the range begins and ends, ms; everything is settled at `to_at`.
    """

    partition: int
    log_start: int
    read_from: int
    warm_up: int
    first: int
    next: int
    from_at: int
    to_at: int

    @property
    def warms_up(self) -> bool:
        """Whether the log holds all that the warm-up needs, so that every renewal before the range is known."""
        return not self.log_start or self.read_from > self.log_start


class LogStart(NamedTuple):
    """The first record that a partition's log still holds: its offset, and its time in ms; None for an empty log."""

    offset: int
    at: int | None


def require_kept(from_: Place, starts: Mapping[int, LogStart]) -> None:
    """Check that retention has not cut the range.

    Args:
        from_: the beginning of the range.
        starts: the first record of the log, by each partition that is to be replayed.

    Raises:
        RecoveryError: naming the partition and the place from which a replay is possible.
    """
    if from_.position is not None:
        partition, offset = from_.position
        start = starts[partition]
        if offset < start.offset:
            raise _cut({partition: start}, f"{partition}:{start.offset}")
        return
    cut = {
        partition: start
        for partition, start in starts.items()
        if start.offset and start.at is not None and from_.at is not None and from_.at < start.at
    }
    if cut:
        raise _cut(cut, iso(max(start.at or 0 for start in cut.values())))


def _cut(cut: Mapping[int, LogStart], earliest: str) -> RecoveryError:
    partition, start = max(cut.items(), key=lambda item: item[1].at or 0)
    when = "" if start.at is None else f", {iso(start.at)}"
    more = f" ({len(cut)} partitions begin after --from)" if len(cut) > 1 else ""
    return RecoveryError(
        f"retention has cut the range: the log of partition {partition} begins at {partition}:{start.offset}{when}"
        f"{more}. Replay from there or later: `--from {earliest}`"
    )


def iso(at: int) -> str:
    """Return a time in ms as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def partition_named(places: Iterable[Place | None]) -> int | None:
    """Return the partition that the bounds name, None if both are times.

    Raises:
        InvalidBoundError: if they name two.
    """
    named = sorted({place.position[0] for place in places if place is not None and place.position is not None})
    if len(named) > 1:
        raise InvalidBoundError(f"--from and --to are on partitions {named[0]} and {named[1]}; a position names one")
    return named[0] if named else None
