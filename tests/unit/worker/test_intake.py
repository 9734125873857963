"""The intake: order, holes, generations, back-pressure, records from the future, acknowledgements."""

import asyncio

import pytest

from tests.support.records import Source
from tests.support.times import MINUTE, T
from tests.unit.worker.offered_buffer import OfferedBuffer, offsets, records


@pytest.fixture
def buffer() -> OfferedBuffer:
    """An intake that was told to begin at offset 10."""
    made = OfferedBuffer()
    made.buffer.seek(10)
    return made


def test_nothing_is_wanted_before_the_first_seek() -> None:
    """The lane asks for a position first."""
    buffer = OfferedBuffer()
    assert not buffer.buffer.open
    buffer.offer("early", records(0, 3))
    assert buffer.acknowledged == ["early"]


def test_a_seek_is_told_once(buffer: OfferedBuffer) -> None:
    """The transport seeks before its next fetch, and not again."""
    assert buffer.buffer.open
    assert buffer.buffer.take_seek() == 10
    assert buffer.buffer.take_seek() is None


def test_each_seek_and_each_drop_begins_a_generation(buffer: OfferedBuffer) -> None:
    """What was fetched before either is known by its number."""
    first = buffer.buffer.generation
    buffer.buffer.seek(10)
    second = buffer.buffer.generation
    buffer.buffer.drop()
    assert first < second < buffer.buffer.generation


async def test_batches_are_handed_over_in_order_and_drained_together(buffer: OfferedBuffer) -> None:
    """A lane drains its queue into one batch."""
    buffer.offer("a", records(10, 12))
    buffer.offer("b", records(13, 14))
    assert offsets(await buffer.buffer.take()) == [10, 11, 12, 13, 14]


async def test_taking_waits_for_a_batch(buffer: OfferedBuffer) -> None:
    """Nothing queued is no reason to come back empty."""
    taking = asyncio.create_task(buffer.buffer.take())
    await asyncio.sleep(0)
    assert not taking.done()
    buffer.offer("a", records(10, 10))
    assert offsets(await taking) == [10]


async def test_a_batch_of_an_older_generation_is_dropped_and_acknowledged(buffer: OfferedBuffer) -> None:
    """It was fetched before the seek."""
    old = buffer.buffer.generation
    buffer.buffer.seek(10)
    buffer.offer("old", records(10, 11), generation=old)
    buffer.offer("new", records(10, 10))
    assert buffer.acknowledged == ["old"]
    assert offsets(await buffer.buffer.take()) == [10]
    assert buffer.warnings == []


async def test_a_batch_that_was_fetched_for_the_lane_before_is_dropped(buffer: OfferedBuffer) -> None:
    """It may reach the next owner, since its caller knows only the partition: as the first batch after the seek."""
    before = OfferedBuffer().buffer
    before.seek(10)
    buffer.buffer.seek(10)
    buffer.offer("of the lane before", records(11, 12), generation=before.generation)
    buffer.offer("ours", records(10, 10))
    assert buffer.acknowledged == ["of the lane before"]
    assert offsets(await buffer.buffer.take()) == [10]


def test_an_empty_batch_is_acknowledged_and_changes_nothing(buffer: OfferedBuffer) -> None:
    """The first batch after it may still begin with a gap."""
    buffer.offer("empty", [])
    buffer.offer("first", records(12, 12))
    assert buffer.acknowledged == ["empty"]
    assert buffer.buffer.open


async def test_a_gap_is_taken_as_the_first_batch_after_a_seek(buffer: OfferedBuffer) -> None:
    """Offsets may have gaps; the lane then asks the broker whether anything is missing."""
    buffer.offer("first", records(14, 15))
    assert offsets(await buffer.buffer.take()) == [14, 15]


async def test_gaps_within_a_batch_are_no_holes(buffer: OfferedBuffer) -> None:
    """Control records of a transactional emitter take offsets."""
    buffer.offer("first", [*records(10, 10), *records(14, 14)])
    buffer.offer("second", records(15, 15))
    assert offsets(await buffer.buffer.take()) == [10, 14, 15]


def test_a_gap_between_batches_drops_all_and_wants_a_seek(buffer: OfferedBuffer) -> None:
    """Something may be missing, so nothing of it is folded."""
    buffer.offer("first", records(10, 12))
    generation = buffer.buffer.generation
    buffer.offer("second", records(14, 15))
    assert sorted(buffer.acknowledged) == ["first", "second"]
    assert buffer.warnings == ["batch_lost"]
    assert buffer.buffer.generation > generation
    assert not buffer.buffer.open


def test_only_the_first_batch_after_a_seek_may_begin_above(buffer: OfferedBuffer) -> None:
    """Also where the first was just what was expected."""
    buffer.offer("first", records(10, 10))
    buffer.offer("second", records(12, 12))
    assert buffer.warnings == ["batch_lost"]


@pytest.mark.parametrize("before", [[], records(10, 12)])
def test_a_batch_from_before_the_position_is_a_hole(buffer: OfferedBuffer, before: list[Source]) -> None:
    """What was folded is never folded again."""
    if before:
        buffer.offer("first", before)
    buffer.offer("again", records(9, 13))
    assert buffer.warnings == ["batch_lost"]
    assert not buffer.buffer.open


async def test_whoever_waits_gets_nothing_where_the_queue_is_dropped(buffer: OfferedBuffer) -> None:
    """The lane reads its position again instead."""
    taking = asyncio.create_task(buffer.buffer.take())
    await asyncio.sleep(0)
    buffer.buffer.drop()
    assert await taking == []


async def test_a_drop_while_the_lane_was_busy_is_seen_by_its_next_take(buffer: OfferedBuffer) -> None:
    """A hole found while a batch is in hand must not leave the lane waiting for what nobody will bring."""
    buffer.offer("first", records(10, 12))
    await buffer.buffer.take()
    buffer.offer("batch_lost", records(20, 21))
    assert await asyncio.wait_for(buffer.buffer.take(), 1) == []


async def test_a_waiting_take_ends_where_the_seek_follows_the_drop_at_once(buffer: OfferedBuffer) -> None:
    """It belongs to the generation in which it began."""
    taking = asyncio.create_task(buffer.buffer.take())
    await asyncio.sleep(0)
    buffer.buffer.seek(3)
    buffer.offer("other", records(3, 3))
    assert await taking == []
    assert offsets(await buffer.buffer.take()) == [3]


async def test_a_batch_holds_at_most_2000_records(buffer: OfferedBuffer) -> None:
    """The rest is taken next."""
    buffer.offer("many", records(10, 10 + 2_000))
    assert len(await buffer.buffer.take()) == 2_000
    assert offsets(await buffer.buffer.take()) == [2_010]


async def test_a_batch_holds_at_most_a_mebibyte(buffer: OfferedBuffer) -> None:
    """The record that would go beyond it waits, unless it is the first: one that is too big must pass too."""
    size = 65_536 - len(b"acme")
    buffer.offer("large", [*records(10, 40, size=size), *records(41, 42, size=2 << 20), *records(43, 43)])
    assert offsets(await buffer.buffer.take()) == list(range(10, 26))
    assert offsets(await buffer.buffer.take()) == list(range(26, 41))
    assert offsets(await buffer.buffer.take()) == [41]
    assert offsets(await buffer.buffer.take()) == [42]
    assert offsets(await buffer.buffer.take()) == [43]


async def test_two_mebibytes_queued_close_it_until_they_are_taken(buffer: OfferedBuffer) -> None:
    """So that nobody's big records fill the memory."""
    buffer.offer("a", records(10, 10, size=(2 << 20) - 5))
    seen = [buffer.buffer.open]
    buffer.offer("b", records(11, 11))
    seen.append(buffer.buffer.open)
    await buffer.buffer.take()
    assert [*seen, buffer.buffer.open] == [True, False, True]


async def test_headers_count_as_keys_and_values_do(buffer: OfferedBuffer) -> None:
    """An emitter may put a mebibyte into those of each record."""
    headers = [("x", b"x" * (1 << 20))]
    buffer.offer("a", [Source(offset, T, None, None, headers) for offset in (10, 11)])
    assert not buffer.buffer.open
    assert offsets(await buffer.buffer.take()) == [10]


def test_what_is_dropped_weighs_nothing(buffer: OfferedBuffer) -> None:
    """The next generation begins with an empty queue."""
    buffer.offer("a", records(10, 10, size=3 << 20))
    buffer.buffer.seek(10)
    assert buffer.buffer.open


async def test_a_tombstone_has_no_size(buffer: OfferedBuffer) -> None:
    """A record without a value is a dead letter later, and none here."""
    buffer.offer("a", [Source(10, T, b"acme", None)])
    assert offsets(await buffer.buffer.take()) == [10]


async def test_more_than_two_batches_queued_close_it_until_they_are_taken(buffer: OfferedBuffer) -> None:
    """A slow store makes the worker slower, not bigger."""
    buffer.offer("a", records(10, 4_008))
    seen = [buffer.buffer.open]
    buffer.offer("b", records(4_009, 4_009))
    seen.append(buffer.buffer.open)
    await buffer.buffer.take()
    assert [*seen, buffer.buffer.open] == [True, False, True]


async def test_what_is_applied_is_acknowledged_whole_batches_only(buffer: OfferedBuffer) -> None:
    """The group's offset follows what is applied, so that lag is true."""
    buffer.offer("a", records(10, 12))
    buffer.offer("b", records(13, 14))
    buffer.offer("c", records(15, 15))
    await buffer.buffer.take()
    assert buffer.acknowledged == []
    buffer.buffer.applied(12)
    assert buffer.acknowledged == []
    buffer.buffer.applied(14)
    assert buffer.acknowledged == ["a"]
    buffer.buffer.applied(16)
    assert buffer.acknowledged == ["a", "b", "c"]
    buffer.buffer.applied(20)
    assert buffer.acknowledged == ["a", "b", "c"]


def test_what_is_dropped_is_acknowledged_once(buffer: OfferedBuffer) -> None:
    """Faust must not wait for ever for what it handed over."""
    buffer.offer("a", records(10, 12))
    buffer.buffer.drop()
    buffer.buffer.drop()
    assert buffer.acknowledged == ["a"]


async def test_a_record_exactly_60_seconds_ahead_is_taken(buffer: OfferedBuffer) -> None:
    """Only more than that waits."""
    buffer.offer("a", records(10, 10, at=T + MINUTE))
    assert offsets(await buffer.buffer.take()) == [10]
    assert buffer.clock.slept == []


async def test_a_record_a_millisecond_more_ahead_waits(buffer: OfferedBuffer) -> None:
    """For one look at the clock."""
    buffer.offer("a", records(10, 10, at=T + MINUTE + 1))
    assert offsets(await buffer.buffer.take()) == [10]
    assert buffer.clock.slept == [1.0]


async def test_a_record_from_the_future_waits_until_the_clock_allows_it(buffer: OfferedBuffer) -> None:
    """Wall time may delay, never decide; what came before it is not held up."""
    buffer.offer("a", [*records(10, 11), *records(12, 12, at=T + MINUTE + 2_500), *records(13, 13)])
    assert offsets(await buffer.buffer.take()) == [10, 11]
    assert offsets(await buffer.buffer.take()) == [12, 13]
    assert buffer.clock.slept == [1.0, 1.0, 1.0]
    assert buffer.warnings == ["record_from_the_future"], "it is said once"
    assert buffer.buffer.problem is None


async def test_waiting_for_the_future_is_said_and_ends_with_a_drop(buffer: OfferedBuffer) -> None:
    """A lane that is to end does not wait for a clock."""
    buffer.offer("a", records(10, 10, at=T + MINUTE + 10_000_000))
    taking = asyncio.create_task(buffer.buffer.take())
    await asyncio.sleep(0)
    assert buffer.buffer.problem is not None
    assert "offset 10 is 10060000 ms ahead of this clock" in buffer.buffer.problem
    buffer.buffer.drop()
    assert await taking == []
    assert buffer.buffer.problem is None
