"""Whether a lane may start: what Redis says, compared with what the log still holds."""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from schemas.redis.progress import Progress
from worker.partition.stored_records import REBUILD, LaneStoppedError, rebuild_by_force
from worker.ports import FetchOffsetRange, PartitionStatus, Reader, TopicRecord

OTHER_COUNT: Final = (
    "a partition count cannot change in place, and Kafka never lowers one: set SLEEP_PARTITIONS back if only that "
    "differs; where a topic was changed, choose a new SLEEP_TOPIC_PREFIX and SLEEP_REDIS_PREFIX and run `sleepctl "
    "topics create` with the former count"
)
_OTHER_LOG: Final = "it was truncated, or its topic was recreated"
# How far to look back for the last record applied where markers of a transaction lie behind it.
_LOOK_BACK: Final = 500


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Return the CRC-32 that identifies a record of the log."""
    return crc32(value or b"", crc32(key or b""))


def check_standing(standing: PartitionStatus, partition: int, bounds: tuple[int, int], partitions: int) -> None:
    """Check progress against the other keys in the store, and against the log's first offset and end.

    Raises:
        LaneStoppedError: with the reason of `why_unusable`.
    """
    reason = why_unusable(standing, partition, bounds, partitions)
    if reason is not None:
        raise LaneStoppedError(reason)


def why_unusable(status: PartitionStatus, partition: int, bounds: tuple[int, int], partitions: int) -> str | None:
    """Return why a lane cannot start from what the store holds, and what to do; None if it can. Pure.

    Args:
        status: progress, and how many keys of each kind there are.
        partition: the partition's number.
        bounds: the log's first offset and its end.
        partitions: how many partitions there are.
    """
    return next(_reasons(status, partition, bounds, partitions), None)


def _reasons(status: PartitionStatus, partition: int, bounds: tuple[int, int], partitions: int) -> Iterator[str]:
    progress = status.progress
    start, end = bounds
    cure = rebuild_by_force(partition) if status.begun else REBUILD
    if not status.begun and (status.timers or status.counted or status.open or status.operations or status.ended):
        yield f"Redis holds keys of the partition and no progress: a part of it was lost; {cure}"
    if status.counted < 0:
        yield f"Redis holds counts of tenants that are no numbers; {cure}"
    if progress.partitions not in (None, partitions):
        yield f"progress was made with {progress.partitions} partitions and the topic has {partitions}: {OTHER_COUNT}"
    for what, expected, actual in (
        ("tenant records", progress.records, status.records),
        ("timers", progress.timers, status.timers),
        ("counts of tenants", progress.records, status.counted),
        ("open-ended tenants", progress.open, status.open),
        ("commands", progress.operations, status.operations),
        ("ends of commands", progress.ended, status.ended),
    ):
        if expected not in (None, actual):
            yield f"Redis holds {actual} {what} where progress says {expected}; {cure}"
    if progress.next < start:
        yield f"progress is {progress.next} and the log begins at {start}: its records are gone; {cure}"
    if progress.next > end:
        yield f"progress is {progress.next} and the log ends at {end}: {_OTHER_LOG}; find out why, then {cure}"


async def check_last_applied(
    progress: Progress, topic: str, partition: int, reader: Reader, bounds: FetchOffsetRange
) -> None:
    """Read the last record applied again, and compare it with what progress says of it.

    Raises:
        LaneStoppedError: with the reason of `why_not_applied`.
        OutputError: if the broker does not answer.
    """
    if progress.timestamp is None or progress.crc is None:
        return
    last = await last_before(progress.next, topic, partition, reader)
    if _is_applied(progress, last):
        return
    # Read after the record, which retention may have removed meanwhile.
    start, _ = await bounds(partition)
    reason = why_not_applied(progress, partition, last, start)
    if reason is not None:
        raise LaneStoppedError(reason)


def why_not_applied(progress: Progress, partition: int, last: TopicRecord | None, start: int) -> str | None:
    """Return why the log is not the one to which progress belongs, and what to do; None if it is. Pure.

    The record may be gone by retention, since no later record is missing then.

    Args:
        progress: names the last record applied by its time and checksum.
        partition: the partition's number.
        last: the last record before progress, None if the log holds none.
        start: the log's first offset.
    """
    if _is_applied(progress, last) or start >= progress.next > 0:
        return None
    what = "no record" if last is None else f"another record at offset {last.offset}"
    return (
        f"the log holds {what} where the last one before {progress.next} was applied: {_OTHER_LOG}, or progress was "
        f"changed; find out why, then {rebuild_by_force(partition)}"
    )


def _is_applied(progress: Progress, last: TopicRecord | None) -> bool:
    if progress.timestamp is None or progress.crc is None:
        return True  # Progress remembers no record.
    return last is not None and (last.timestamp, checksum(last.key, last.value)) == (progress.timestamp, progress.crc)


async def last_before(offset: int, topic: str, partition: int, reader: Reader) -> TopicRecord | None:
    """Return the last record before an offset; markers of a transaction may use up the offsets between."""
    for first in (max(offset - 1, 0), max(offset - _LOOK_BACK, 0)):
        last: TopicRecord | None = None
        at = first
        while at < offset:
            # A page may be short, and only an empty one is the end.
            page = await reader.read(topic, partition, at, offset - at)
            if not page.records:
                break
            last = next((record for record in reversed(page.records) if record.offset < offset), last)
            at = page.next
        if last is not None:
            return last
    return None
