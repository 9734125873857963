"""Where a lane may start: what Redis says, held against what the log still has."""

from typing import Final
from zlib import crc32

from schemas.progress import Progress
from worker.ports import Bounds, Kept, Reader, Standing
from worker.stored import REBUILD, LaneStoppedError, rebuild_by_force

OTHER_COUNT: Final = (
    "a partition count cannot change in place, and Kafka never lowers one: set SLEEP_PARTITIONS back if only that "
    "differs; where a topic was changed, choose a new SLEEP_TOPIC_PREFIX and SLEEP_REDIS_PREFIX and run `sleepctl "
    "topics create` with the former count"
)
# How far to look back for the last record applied where markers of a transaction lie behind it.
_LOOK_BACK: Final = 500


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Return the CRC-32 by which a record of the log is known again."""
    return crc32(value or b"", crc32(key or b""))


def check_standing(standing: Standing, partition: int, bounds: tuple[int, int], partitions: int) -> None:
    """Hold progress against what else is in the store, and against the log's first offset and end.

    Raises:
        LaneStoppedError: where they do not belong together.
    """
    progress = standing.progress
    start, end = bounds
    cure = rebuild_by_force(partition) if standing.begun else REBUILD
    if not standing.begun and (standing.timers or standing.counted or standing.open):
        raise LaneStoppedError(f"Redis holds keys of the partition and no progress: a part of it was lost; {cure}")
    if standing.counted < 0:
        raise LaneStoppedError(f"Redis holds counts of tenants that are no numbers; {cure}")
    if progress.partitions not in (None, partitions):
        raise LaneStoppedError(
            f"progress was made with {progress.partitions} partitions and the topic has {partitions}: {OTHER_COUNT}"
        )
    for what, said, found in (
        ("tenant records", progress.records, standing.records),
        ("timers", progress.timers, standing.timers),
        ("counts of tenants", progress.records, standing.counted),
        ("open-ended tenants", progress.open, standing.open),
    ):
        if said not in (None, found):
            raise LaneStoppedError(f"Redis holds {found} {what} where progress says {said}; {cure}")
    if progress.next < start:
        raise LaneStoppedError(
            f"progress is {progress.next} and the log begins at {start}: its records are gone; {cure}"
        )
    if progress.next > end:
        raise LaneStoppedError(
            f"progress is {progress.next} and the log ends at {end}: it was cut or made anew; find out why, then {cure}"
        )


async def check_last_applied(progress: Progress, topic: str, partition: int, reader: Reader, bounds: Bounds) -> None:
    """Read the last record applied again, and hold it against what progress says of it.

    It may be gone by retention, since nothing after it is missing then.

    Raises:
        LaneStoppedError: where the log holds another record there, or none.
        OutputError: if the broker does not answer.
    """
    if progress.timestamp is None or progress.crc is None:
        return
    last = await last_before(progress.next, topic, partition, reader)
    if last is not None and (last.timestamp, checksum(last.key, last.value)) == (progress.timestamp, progress.crc):
        return
    start, _ = await bounds(partition)
    if start >= progress.next > 0:
        return
    what = "no record" if last is None else f"another record at offset {last.offset}"
    raise LaneStoppedError(
        f"the log holds {what} where the last one before {progress.next} was applied: it was cut or made anew, or "
        f"progress was changed; find out why, then {rebuild_by_force(partition)}"
    )


async def last_before(offset: int, topic: str, partition: int, reader: Reader) -> Kept | None:
    """Return the last record before an offset; markers of a transaction may use up the offsets between."""
    for first in (max(offset - 1, 0), max(offset - _LOOK_BACK, 0)):
        last: Kept | None = None
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
