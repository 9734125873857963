"""The last record applied is read again and must be the one that progress remembers."""

from collections import Counter
from unittest.mock import patch

import pytest

from tests.support.outputs import breaker
from tests.support.world import World
from worker.ports import Page

FORCE = (
    "it was truncated, or its topic was recreated, or progress was changed; find out why, then run "
    "`sleepctl rebuild --partition 0 --force`"
)


@pytest.fixture(autouse=True)
async def _three_records_applied(world: World) -> None:
    """An owner has applied three records, and its lane has ended."""
    world.assign()
    world.log(*[breaker("acme", state) for state in ("open", "half_open", "closed")])
    await world.run()
    await world.end()


async def finding(world: World) -> str | None:
    """Return what keeps the next owner from going on."""
    lane = world.assign()
    await world.run()
    assert lane.stopped is (lane.problem is not None)
    return lane.problem


async def test_the_record_before_progress_is_read_again(world: World) -> None:
    """And nothing else, where it is the one."""
    assert await finding(world) is None
    assert world.reader.faults.calls["read"] == 1


@pytest.mark.parametrize("at", [None, 1])
async def test_another_record_there_stops_the_lane(world: World, at: int | None) -> None:
    """A topic that was made anew and filled as far, with the same bytes at another time, say."""
    [*_, last] = world.events().records
    world.events().cut(2)
    value = breaker("acme", "open").value if at is None else last.value
    world.log(breaker("acme", "closed")._replace(value=value), at=last.timestamp if at is None else last.timestamp + at)
    assert (
        await finding(world)
        == f"the log holds another record at offset 2 where the last one before 3 was applied: {FORCE}"
    )


async def test_a_key_is_compared_too(world: World) -> None:
    """It names the tenant."""
    [*_, last] = world.events().records
    last.key = b"other"
    assert await finding(world) is not None


async def test_a_lost_progress_beside_other_keys_stops_the_lane(world: World) -> None:
    """Commands would be judged by operations that the log has yet to bring."""
    world.stored().progress.clear()
    world.stored().tenants.clear()
    assert (
        await finding(world)
        == "Redis holds keys of the partition and no progress: a part of it was lost; run `sleepctl rebuild`"
    )


async def test_counts_that_are_no_numbers_stop_the_lane(world: World) -> None:
    """No commit could add to them; the store tells by one below none."""
    world.stored().counts = Counter(active=-1)
    assert (
        await finding(world)
        == "Redis holds counts of tenants that are no numbers; run `sleepctl rebuild --partition 0 --force`"
    )


async def test_an_edited_progress_stops_the_lane(world: World) -> None:
    """It would fold a record twice, or not at all."""
    world.stored().progress[b"next"] = b"2"
    assert (
        await finding(world)
        == f"the log holds another record at offset 1 where the last one before 2 was applied: {FORCE}"
    )
    assert world.stored().next == 2


async def test_a_progress_set_back_to_the_start_stops_the_lane(world: World) -> None:
    """Nothing lies before it that could have been applied."""
    world.stored().progress[b"next"] = b"0"
    assert await finding(world) == f"the log holds no record where the last one before 0 was applied: {FORCE}"


async def test_a_log_without_records_before_progress_stops_the_lane(world: World) -> None:
    """Though it is long enough: it was cut, and a transaction's markers came."""
    world.events().cut(0)
    world.events().skip(5)
    assert await finding(world) == f"the log holds no record where the last one before 3 was applied: {FORCE}"


async def test_markers_of_a_transaction_before_progress_are_no_matter(world: World) -> None:
    """The last record applied is the last one that there is."""
    world.events().skip(2)
    world.log(breaker("acme", "open"))
    world.stored().progress[b"next"] = b"5"
    assert await finding(world) is None
    assert world.stored().next == 6


async def test_a_short_page_is_read_on(world: World) -> None:
    """Kafka may answer with less than was asked for."""
    world.events().skip(2)
    world.stored().progress[b"next"] = b"5"
    read = world.reader.read

    async def short(topic: str, partition: int, offset: int, most: int) -> Page:
        return await read(topic, partition, offset, min(most, 1))

    with patch.object(world.reader, "read", short):
        assert await finding(world) is None


async def test_a_last_record_that_went_with_retention_is_not_missed(world: World) -> None:
    """Nothing after it is missing."""
    world.events().trim(3)
    world.log(breaker("acme", "open"))
    assert await finding(world) is None
    assert world.stored().next == 4


async def test_progress_that_remembers_no_record_is_taken_as_it_is(world: World) -> None:
    """After a rebuild the record may be gone."""
    for field in (b"timestamp", b"crc"):
        del world.stored().progress[field]
    assert await finding(world) is None


async def test_a_broker_that_does_not_answer_is_waited_for(world: World) -> None:
    """Nothing is taken for granted."""
    world.reader.faults.down.add("read")
    lane = world.assign()
    await world.advance(3)
    assert (lane.position, lane.problem) == (None, "KafkaError: the broker is away")
    world.reader.faults.heal()
    await world.advance(6)
    assert (lane.position, lane.problem) == (3, None)
