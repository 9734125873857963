"""The intake: order, holes, generations, back-pressure, records from the future, acknowledgements."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog
from structlog.testing import CapturingLogger

from tests.unit.worker.build import MINUTE, Source, T
from worker.intake import Fetched, Intake


class Clock:
    """A clock that a test sets; each sleep is noted and moves it on."""

    def __init__(self, now: int = T) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += round(seconds * 1000)
        await asyncio.sleep(0)


class Desk:
    """An intake with a clock, a log, and a note of what was acknowledged."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.logged = CapturingLogger()
        self.intake = Intake(self.clock, structlog.wrap_logger(self.logged, processors=[_plain]))
        self.acknowledged: list[str] = []

    def offer(self, name: str, records: Sequence[Source], generation: int | None = None) -> None:
        """Offer a batch of the present generation, or of another."""
        wanted = self.intake.generation if generation is None else generation
        self.intake.offer(Fetched(wanted, records), lambda: self.acknowledged.append(name))

    @property
    def warnings(self) -> list[str]:
        """The names of the events logged."""
        return [call.kwargs["event"] for call in self.logged.calls]


def _plain(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


def records(first: int, last: int, *, at: int = T, size: int = 1) -> list[Source]:
    """Return records of the log from one offset to another."""
    value = b"x" * size
    return [Source(offset, at, b"acme", value) for offset in range(first, last + 1)]


def offsets(taken: Sequence[object]) -> list[int]:
    """Return the offsets of records."""
    return [record.offset for record in taken if isinstance(record, Source)]


@pytest.fixture
def desk() -> Desk:
    """An intake that was told to begin at offset 10."""
    made = Desk()
    made.intake.seek(10)
    return made


def test_nothing_is_wanted_before_the_first_seek() -> None:
    """The lane asks for a position first."""
    desk = Desk()
    assert not desk.intake.open
    desk.offer("early", records(0, 3))
    assert desk.acknowledged == ["early"]


def test_a_seek_is_told_once(desk: Desk) -> None:
    """The transport seeks before its next fetch, and not again."""
    assert desk.intake.open
    assert desk.intake.take_seek() == 10
    assert desk.intake.take_seek() is None


def test_each_seek_and_each_drop_begins_a_generation(desk: Desk) -> None:
    """What was fetched before either is known by its number."""
    first = desk.intake.generation
    desk.intake.seek(10)
    second = desk.intake.generation
    desk.intake.drop()
    assert first < second < desk.intake.generation


async def test_batches_are_handed_over_in_order_and_drained_together(desk: Desk) -> None:
    """A lane drains its queue into one batch."""
    desk.offer("a", records(10, 12))
    desk.offer("b", records(13, 14))
    assert offsets(await desk.intake.take()) == [10, 11, 12, 13, 14]


async def test_taking_waits_for_a_batch(desk: Desk) -> None:
    """Nothing queued is no reason to come back empty."""
    taking = asyncio.create_task(desk.intake.take())
    await asyncio.sleep(0)
    assert not taking.done()
    desk.offer("a", records(10, 10))
    assert offsets(await taking) == [10]


async def test_a_batch_of_an_older_generation_is_dropped_and_acknowledged(desk: Desk) -> None:
    """It was fetched before the seek."""
    old = desk.intake.generation
    desk.intake.seek(10)
    desk.offer("old", records(10, 11), generation=old)
    desk.offer("new", records(10, 10))
    assert desk.acknowledged == ["old"]
    assert offsets(await desk.intake.take()) == [10]
    assert desk.warnings == []


async def test_a_batch_that_was_fetched_for_the_lane_before_is_dropped(desk: Desk) -> None:
    """It may come to the next one, since whoever brings it knows only the partition: as the first after its seek."""
    before = Desk().intake
    before.seek(10)
    desk.intake.seek(10)
    desk.offer("of the lane before", records(11, 12), generation=before.generation)
    desk.offer("ours", records(10, 10))
    assert desk.acknowledged == ["of the lane before"]
    assert offsets(await desk.intake.take()) == [10]


def test_an_empty_batch_is_acknowledged_and_changes_nothing(desk: Desk) -> None:
    """The first batch after it may still begin with a gap."""
    desk.offer("empty", [])
    desk.offer("first", records(12, 12))
    assert desk.acknowledged == ["empty"]
    assert desk.intake.open


async def test_a_gap_is_taken_as_the_first_batch_after_a_seek(desk: Desk) -> None:
    """Offsets may have gaps; the lane then asks the broker whether anything is missing."""
    desk.offer("first", records(14, 15))
    assert offsets(await desk.intake.take()) == [14, 15]


async def test_gaps_within_a_batch_are_no_holes(desk: Desk) -> None:
    """Control records of a transactional emitter take offsets."""
    desk.offer("first", [*records(10, 10), *records(14, 14)])
    desk.offer("second", records(15, 15))
    assert offsets(await desk.intake.take()) == [10, 14, 15]


def test_a_gap_between_batches_drops_all_and_wants_a_seek(desk: Desk) -> None:
    """Something may be missing, so nothing of it is folded."""
    desk.offer("first", records(10, 12))
    generation = desk.intake.generation
    desk.offer("second", records(14, 15))
    assert sorted(desk.acknowledged) == ["first", "second"]
    assert desk.warnings == ["hole"]
    assert desk.intake.generation > generation
    assert not desk.intake.open


def test_only_the_first_batch_after_a_seek_may_begin_above(desk: Desk) -> None:
    """Also where the first was just what was expected."""
    desk.offer("first", records(10, 10))
    desk.offer("second", records(12, 12))
    assert desk.warnings == ["hole"]


@pytest.mark.parametrize("before", [[], records(10, 12)])
def test_a_batch_from_before_the_position_is_a_hole(desk: Desk, before: list[Source]) -> None:
    """What was folded is never folded again."""
    if before:
        desk.offer("first", before)
    desk.offer("again", records(9, 13))
    assert desk.warnings == ["hole"]
    assert not desk.intake.open


async def test_whoever_waits_gets_nothing_where_the_queue_is_dropped(desk: Desk) -> None:
    """The lane reads its position again instead."""
    taking = asyncio.create_task(desk.intake.take())
    await asyncio.sleep(0)
    desk.intake.drop()
    assert await taking == []


async def test_a_drop_while_the_lane_was_busy_is_seen_by_its_next_take(desk: Desk) -> None:
    """A hole found while a batch is in hand must not leave the lane waiting for what nobody will bring."""
    desk.offer("first", records(10, 12))
    await desk.intake.take()
    desk.offer("hole", records(20, 21))
    assert await asyncio.wait_for(desk.intake.take(), 1) == []


async def test_a_waiting_take_ends_where_the_seek_follows_the_drop_at_once(desk: Desk) -> None:
    """It belongs to the generation in which it began."""
    taking = asyncio.create_task(desk.intake.take())
    await asyncio.sleep(0)
    desk.intake.seek(3)
    desk.offer("other", records(3, 3))
    assert await taking == []
    assert offsets(await desk.intake.take()) == [3]


async def test_a_batch_holds_at_most_2000_records(desk: Desk) -> None:
    """The rest is taken next."""
    desk.offer("many", records(10, 10 + 2_000))
    assert len(await desk.intake.take()) == 2_000
    assert offsets(await desk.intake.take()) == [2_010]


async def test_a_batch_holds_at_most_a_mebibyte_of_keys_and_values(desk: Desk) -> None:
    """The record that would go beyond it waits, unless it is the first: one that is too big must pass too."""
    size = 65_536 - len(b"acme")
    desk.offer("large", [*records(10, 40, size=size), *records(41, 42, size=2 << 20), *records(43, 43)])
    assert offsets(await desk.intake.take()) == list(range(10, 26))
    assert offsets(await desk.intake.take()) == list(range(26, 41))
    assert offsets(await desk.intake.take()) == [41]
    assert offsets(await desk.intake.take()) == [42]
    assert offsets(await desk.intake.take()) == [43]


async def test_two_mebibytes_queued_close_it_until_they_are_taken(desk: Desk) -> None:
    """So that nobody's big records fill the memory."""
    desk.offer("a", records(10, 10, size=(2 << 20) - 5))
    seen = [desk.intake.open]
    desk.offer("b", records(11, 11))
    seen.append(desk.intake.open)
    await desk.intake.take()
    assert [*seen, desk.intake.open] == [True, False, True]


def test_what_is_dropped_weighs_nothing(desk: Desk) -> None:
    """The next generation begins with an empty queue."""
    desk.offer("a", records(10, 10, size=3 << 20))
    desk.intake.seek(10)
    assert desk.intake.open


async def test_a_tombstone_has_no_size(desk: Desk) -> None:
    """A record without a value is a dead letter later, and none here."""
    desk.offer("a", [Source(10, T, b"acme", None)])
    assert offsets(await desk.intake.take()) == [10]


async def test_more_than_two_batches_queued_close_it_until_they_are_taken(desk: Desk) -> None:
    """A slow store makes the worker slower, not bigger."""
    desk.offer("a", records(10, 4_008))
    seen = [desk.intake.open]
    desk.offer("b", records(4_009, 4_009))
    seen.append(desk.intake.open)
    await desk.intake.take()
    assert [*seen, desk.intake.open] == [True, False, True]


async def test_what_is_applied_is_acknowledged_whole_batches_only(desk: Desk) -> None:
    """The group's offset follows what is applied, so that lag is true."""
    desk.offer("a", records(10, 12))
    desk.offer("b", records(13, 14))
    desk.offer("c", records(15, 15))
    await desk.intake.take()
    assert desk.acknowledged == []
    desk.intake.applied(12)
    assert desk.acknowledged == []
    desk.intake.applied(14)
    assert desk.acknowledged == ["a"]
    desk.intake.applied(16)
    assert desk.acknowledged == ["a", "b", "c"]
    desk.intake.applied(20)
    assert desk.acknowledged == ["a", "b", "c"]


def test_what_is_dropped_is_acknowledged_once(desk: Desk) -> None:
    """Faust must not wait for ever for what it handed over."""
    desk.offer("a", records(10, 12))
    desk.intake.drop()
    desk.intake.drop()
    assert desk.acknowledged == ["a"]


async def test_a_record_exactly_60_seconds_ahead_is_taken(desk: Desk) -> None:
    """Only more than that waits."""
    desk.offer("a", records(10, 10, at=T + MINUTE))
    assert offsets(await desk.intake.take()) == [10]
    assert desk.clock.slept == []


async def test_a_record_a_millisecond_more_ahead_waits(desk: Desk) -> None:
    """For one look at the clock."""
    desk.offer("a", records(10, 10, at=T + MINUTE + 1))
    assert offsets(await desk.intake.take()) == [10]
    assert desk.clock.slept == [1.0]


async def test_a_record_from_the_future_waits_until_the_clock_allows_it(desk: Desk) -> None:
    """Wall time may delay, never decide; what came before it is not held up."""
    desk.offer("a", [*records(10, 11), *records(12, 12, at=T + MINUTE + 2_500), *records(13, 13)])
    assert offsets(await desk.intake.take()) == [10, 11]
    assert offsets(await desk.intake.take()) == [12, 13]
    assert desk.clock.slept == [1.0, 1.0, 1.0]
    assert desk.warnings == ["record_from_the_future"], "it is said once"
    assert desk.intake.finding is None


async def test_waiting_for_the_future_is_said_and_ends_with_a_drop(desk: Desk) -> None:
    """A lane that is to end does not wait for a clock."""
    desk.offer("a", records(10, 10, at=T + MINUTE + 10_000_000))
    taking = asyncio.create_task(desk.intake.take())
    await asyncio.sleep(0)
    assert desk.intake.finding is not None
    assert "offset 10 is 10060000 ms ahead of this clock" in desk.intake.finding
    desk.intake.drop()
    assert await taking == []
    assert desk.intake.finding is None
