"""Where to start is what Redis says, held against what the log still has."""

import pytest
from structlog.testing import capture_logs

from schemas.domain.sealing import seal
from schemas.names import Topics
from tests.support.fakes import settle
from tests.support.outputs import breaker
from tests.support.world import World
from worker.partition.startup_checks import OTHER_COUNT

EVENTS = Topics.of("sleep").events


async def test_a_partition_never_begun_is_read_from_its_first_record(world: World) -> None:
    """An empty progress is position 0."""
    world.log(breaker("acme", "open"))
    lane = world.assign()
    await world.run()
    assert lane.position == world.stored().next == 1
    assert set(world.stored().tenants) == {"acme"}


async def test_a_lane_starts_where_redis_says_and_folds_nothing_before(world: World) -> None:
    """The consumer group has no say."""
    world.log(breaker("before", "open"), breaker("after", "open"))
    world.stored().progress[b"next"] = b"1"
    lane = world.assign()
    await world.run()
    assert lane.position == 2
    assert set(world.stored().tenants) == {"after"}


async def test_a_new_lane_goes_on_after_the_last_record_of_the_old_one(world: World) -> None:
    """Records are applied once, over any number of owners."""
    world.log(breaker("acme", "open"))
    world.assign()
    await world.run()
    await world.end()
    world.log(breaker("acme", "closed"))
    lane = world.assign()
    await world.run()
    assert lane.position == 2
    assert [record.offset for record in world.kafka.records(world.topics.transitions)] == [0, 1]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (
            {b"partitions": b"8"},
            f"progress was made with 8 partitions and the topic has 1: {OTHER_COUNT}",
        ),
        (
            {b"records": b"3"},
            "Redis holds 0 tenant records where progress says 3; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"layout": b"2", b"timers": b"2"},
            "Redis holds 0 timers where progress says 2; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"layout": b"2", b"open": b"1"},
            "Redis holds 0 open-ended tenants where progress says 1; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"layout": b"3", b"operations": b"2"},
            "Redis holds 0 commands where progress says 2; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"layout": b"3", b"ended": b"2"},
            "Redis holds 0 ends of commands where progress says 2; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"next": b"1"},
            "progress is 1 and the log begins at 2: its records are gone; run `sleepctl rebuild --partition 0 --force`",
        ),
        (
            {b"next": b"5"},
            (
                "progress is 5 and the log ends at 4: it was truncated, or its topic was recreated; find out why, "
                "then run `sleepctl rebuild --partition 0 --force`"
            ),
        ),
        (
            {b"next": b"2", b"layout": b"4"},
            "progress: layout 4 is newer than 3; run the newer version on this partition",
        ),
        (
            {b"next": b"two"},
            (
                "progress cannot be used: invalid literal for int() with base 10: b'two' "
                "(if it is damaged, run `sleepctl rebuild --partition 0 --force`)"
            ),
        ),
        (
            {b"rules": seal(b'[{"retire_after_seconds": 1}]')},
            (
                "progress cannot be used: the rules are not what was packed: retire_after_seconds: must be "
                "at least 60 (if it is damaged, run `sleepctl rebuild --partition 0 --force`)"
            ),
        ),
    ],
)
async def test_a_lane_stops_and_says_what_to_run(world: World, progress: dict[bytes, bytes], expected: str) -> None:
    """Nothing is skipped silently, and nothing is changed."""
    world.log(*[breaker("acme", "open")] * 4)
    world.events().trim(2)
    world.stored().progress.update(progress)
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    assert lane.stopped
    assert lane.problem == expected
    assert [(line["event"], line["reason"], line["partition"]) for line in logs] == [("lane_stopped", expected, 0)]
    assert not world.stored().tenants


def test_what_is_said_of_another_partition_count_can_be_done() -> None:
    """No rebuild helps, and Kafka does not lower a count."""
    assert "sleepctl rebuild" not in OTHER_COUNT
    assert "topics back" not in OTHER_COUNT
    assert "new SLEEP_TOPIC_PREFIX and SLEEP_REDIS_PREFIX" in OTHER_COUNT


async def test_a_partition_of_the_layout_before_is_gone_on_with_in_the_present_one(world: World) -> None:
    """Layout 1 knew no number of timers; what an older worker left in its place says nothing."""
    world.log(breaker("acme", "open"))
    world.assign()
    await world.run()
    await world.end()
    world.stored().progress.update({b"layout": b"1", b"timers": b"7", b"open": b"7"})
    world.log(breaker("acme", "closed"))
    lane = world.assign()
    await world.run()
    assert (lane.problem, lane.position) == (None, 2)
    assert (world.stored().progress[b"layout"], world.stored().progress[b"timers"]) == (b"3", b"1")


async def test_a_stopped_lane_wants_nothing_and_publishes_no_timers(world: World) -> None:
    """Only a person makes it go on."""
    world.stored().progress[b"next"] = b"5"
    world.stored().timers["acme"] = 0
    lane = world.assign()
    await world.advance(10)
    assert not lane.open
    assert world.worker.consumer.poll() == 0
    assert world.store.faults.calls["due"] == 0
    assert world.kafka.records(EVENTS) == []


async def test_offsets_without_records_are_no_hole(world: World) -> None:
    """A transactional emitter's markers use up offsets, at the very start too."""
    world.events().skip(3)
    world.log(breaker("acme", "open"))
    world.events().skip(2)
    world.log(breaker("acme", "closed"))
    lane = world.assign()
    await world.run()
    assert lane.position == 7
    assert not lane.stopped


async def test_records_that_go_after_the_look_are_not_taken_for_a_gap(world: World) -> None:
    """Retention may pass the position between the look at the log and the fetch."""
    world.log(breaker("lost", "open"), breaker("kept", "open"))
    lane = world.assign()
    await settle()
    assert lane.position == 0
    world.events().trim(1)
    await world.run()
    assert lane.problem == "progress is 0 and the log begins at 1: its records are gone; run `sleepctl rebuild`"
    assert not world.stored().tenants


async def test_a_batch_that_begins_above_the_position_is_folded_if_nothing_is_lost(
    world: World,
) -> None:
    """The lane asks the broker once, and only then."""
    world.events().skip(1)
    world.log(breaker("acme", "open"))
    world.assign()
    await world.run()
    assert world.broker.calls["offset_range"] == 2
    world.log(breaker("acme", "closed"))
    await world.run()
    assert world.broker.calls["offset_range"] == 2
    assert world.stored().next == 3


async def test_a_partition_that_is_being_rebuilt_is_waited_for(world: World) -> None:
    """And an interrupted rebuild is named; nobody has to restart the worker afterwards."""
    world.stored().progress[b"next"] = b"-7"
    lane = world.assign()
    await world.advance(3)
    assert not lane.stopped
    assert lane.problem == "the partition is being rebuilt; if no rebuild is running any more, run `sleepctl rebuild`"
    world.log(breaker("acme", "open"))
    world.stored().progress[b"next"] = b"0"
    await world.advance(5)
    assert lane.position == 1
    assert world.stored().next == 1


@pytest.mark.parametrize("place", [0, 40, -1])
async def test_a_flipped_byte_in_a_record_stops_the_lane_and_is_named(world: World, place: int) -> None:
    """Nothing is folded on top of it, emitted or set aside."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    await world.end()
    flipped = bytearray(world.stored().tenants["acme"])
    flipped[place] ^= 4
    world.stored().tenants["acme"] = bytes(flipped)
    world.log(breaker("other", "open"), breaker("acme", "closed"))
    lane = world.assign()
    await world.run()
    assert lane.stopped
    assert lane.problem == (
        "the record of tenant acme cannot be read: damaged: its checksum is wrong; run "
        "`sleepctl rebuild --partition 0 --force`"
    )
    assert (world.stored().next, world.stored().tenants["acme"]) == (1, bytes(flipped))
    assert world.kafka.records(world.topics.deadletter) == []
    assert world.states().end == 1


async def test_a_record_of_a_newer_version_stops_the_lane_rather_than_be_damaged(world: World) -> None:
    """A rolling deploy goes on with the newer worker on this partition."""
    world.stored().tenants["acme"] = seal(b'[3,"of tomorrow"]')
    world.stored().progress[b"records"] = b"1"
    world.stored().counts["freeze"] = 1
    world.log(breaker("acme", "open"))
    lane = world.assign()
    await world.run()
    assert lane.problem == (
        "the record of tenant acme: layout 3 is newer than 2; run the newer version on this partition"
    )
    assert world.stored().next == 0


async def test_a_record_from_further_on_in_the_log_stops_the_lane(world: World) -> None:
    """Tenants and progress are not from the same moment: half a backup, say."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    progress = dict(world.stored().progress)
    world.log(breaker("acme", "closed"))
    await world.run()
    await world.end()
    world.stored().progress = progress
    lane = world.assign()
    await world.run()
    assert lane.problem == (
        "the record of tenant acme is of offset 1, and only what lies before 1 has been applied; run "
        "`sleepctl rebuild --partition 0 --force`"
    )
