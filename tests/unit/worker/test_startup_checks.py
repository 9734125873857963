"""Whether a lane may start from what Redis holds: one row a case."""

import pytest

from schemas.redis.progress import Progress
from worker.partition.startup_checks import OTHER_COUNT, checksum, why_not_applied, why_unusable
from worker.ports import PartitionStatus, TopicRecord

PROGRESS = Progress.unpack(
    {
        b"next": b"5",
        b"layout": b"3",
        b"partitions": b"8",
        b"timestamp": b"1000",
        b"crc": str(checksum(b"acme", b"{}")).encode(),
        b"records": b"2",
        b"timers": b"1",
        b"open": b"1",
        b"operations": b"3",
        b"ended": b"2",
    }
)
USED = PartitionStatus(PROGRESS, begun=True, records=2, timers=1, counted=2, open=1, operations=3, ended=2)
NEVER_USED = PartitionStatus(
    Progress.unpack({}), begun=False, records=0, timers=0, counted=0, open=0, operations=0, ended=0
)
CURE = "run `sleepctl rebuild --partition 3 --force`"
WITHOUT_PROGRESS = "Redis holds keys of the partition and no progress: a part of it was lost; run `sleepctl rebuild`"
OTHER_LOG = "it was truncated, or its topic was recreated"


def at(position: int, status: PartitionStatus = USED) -> PartitionStatus:
    """Return a status with another position."""
    return status._replace(progress=status.progress._replace(next=position))


def differ(actual: int, what: str, expected: int) -> str:
    """Return the reason of a lane that has lost data."""
    return f"Redis holds {actual} {what} where progress says {expected}; {CURE}"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(USED, None, id="all agrees"),
        pytest.param(NEVER_USED, None, id="never used"),
        pytest.param(at(0), None, id="at the start of the log"),
        pytest.param(at(9), None, id="at the end of the log"),
        pytest.param(USED._replace(progress=PROGRESS._replace(partitions=None)), None, id="without a count"),
        pytest.param(USED._replace(progress=PROGRESS._replace(timers=None), timers=7), None, id="without timers"),
        pytest.param(
            NEVER_USED._replace(records=1),
            "Redis holds 1 tenant records where progress says 0; run `sleepctl rebuild`",
            id="records and no progress",
        ),
        pytest.param(NEVER_USED._replace(timers=1), WITHOUT_PROGRESS, id="timers and no progress"),
        pytest.param(NEVER_USED._replace(counted=1), WITHOUT_PROGRESS, id="counts and no progress"),
        pytest.param(NEVER_USED._replace(open=1), WITHOUT_PROGRESS, id="open-ended tenants and no progress"),
        pytest.param(NEVER_USED._replace(operations=1), WITHOUT_PROGRESS, id="commands and no progress"),
        pytest.param(NEVER_USED._replace(ended=1), WITHOUT_PROGRESS, id="ends of commands and no progress"),
        pytest.param(
            USED._replace(counted=-1), f"Redis holds counts of tenants that are no numbers; {CURE}", id="invalid counts"
        ),
        pytest.param(
            USED._replace(progress=PROGRESS._replace(partitions=4)),
            f"progress was made with 4 partitions and the topic has 8: {OTHER_COUNT}",
            id="another partition count",
        ),
        pytest.param(USED._replace(records=9), differ(9, "tenant records", 2), id="tenant records differ"),
        pytest.param(USED._replace(timers=9), differ(9, "timers", 1), id="timers differ"),
        pytest.param(USED._replace(counted=9), differ(9, "counts of tenants", 2), id="counts of tenants differ"),
        pytest.param(USED._replace(open=9), differ(9, "open-ended tenants", 1), id="open-ended tenants differ"),
        pytest.param(USED._replace(operations=9), differ(9, "commands", 3), id="commands differ"),
        pytest.param(USED._replace(ended=9), differ(9, "ends of commands", 2), id="ends of commands differ"),
        pytest.param(
            at(10), f"progress is 10 and the log ends at 9: {OTHER_LOG}; find out why, then {CURE}", id="beyond the end"
        ),
    ],
)
def test_what_a_lane_decides_at_its_start(status: PartitionStatus, reason: str | None) -> None:
    """The log holds the offsets from 0 to 8."""
    assert why_unusable(status, 3, (0, 9), 8) == reason


@pytest.mark.parametrize(
    ("status", "cure"),
    [(at(4), CURE), (at(0, NEVER_USED), "run `sleepctl rebuild`")],
    ids=["with progress", "without progress"],
)
def test_a_log_that_was_trimmed_beyond_progress_stops_a_lane(status: PartitionStatus, cure: str) -> None:
    """Nobody can apply the records in between."""
    position = status.progress.next
    reason = f"progress is {position} and the log begins at 5: its records are gone; {cure}"
    assert why_unusable(status, 3, (5, 9), 8) == reason


LAST = TopicRecord(4, 1000, b"acme", b"{}")
OTHER_RECORD = (
    f"the log holds another record at offset 4 where the last one before 5 was applied: {OTHER_LOG}, or progress was "
    f"changed; find out why, then {CURE}"
)
NO_RECORD = OTHER_RECORD.replace("another record at offset 4", "no record")


@pytest.mark.parametrize(
    ("progress", "last", "start", "reason"),
    [
        pytest.param(PROGRESS, LAST, 0, None, id="the same record"),
        pytest.param(PROGRESS, LAST._replace(offset=2), 0, None, id="the same record, before markers of a transaction"),
        pytest.param(PROGRESS, None, 5, None, id="retention removed it"),
        pytest.param(PROGRESS._replace(crc=None), None, 0, None, id="progress remembers none"),
        pytest.param(PROGRESS, None, 0, NO_RECORD, id="the log is empty there"),
        pytest.param(PROGRESS, None, 4, NO_RECORD, id="retention has not come to it"),
        pytest.param(PROGRESS, LAST._replace(timestamp=1001), 0, OTHER_RECORD, id="another time"),
        pytest.param(PROGRESS, LAST._replace(key=b"bolt"), 0, OTHER_RECORD, id="another key"),
        pytest.param(PROGRESS, LAST._replace(value=b"[]"), 0, OTHER_RECORD, id="another value"),
        pytest.param(
            PROGRESS._replace(next=0),
            None,
            0,
            NO_RECORD.replace("before 5", "before 0"),
            id="set back to 0",
        ),
    ],
)
def test_the_last_record_applied_identifies_the_log(
    progress: Progress, last: TopicRecord | None, start: int, reason: str | None
) -> None:
    """By its time, key and value."""
    assert why_not_applied(progress, 3, last, start) == reason
