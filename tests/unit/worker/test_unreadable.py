"""A batch that cannot be read, from the log to the dead letter, the page, and the next start."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from schemas.kafka.source_record import (
    UNREADABLE_BATCH,
    UNREADABLE_HEADER,
    Failure,
    SourceRecord,
    Unreadable,
)  # fmt: skip
from tests.support.outputs import breaker
from tests.support.times import T
from tests.support.world import World
from tests.unit.worker.forwarding import forward
from tests.unit.worker.offered_buffer import OfferedBuffer, records
from worker.fold.dead_letter import dead_letter  # fmt: skip
from worker.ingress.normalise import normalise
from worker.recovery.dead_letters import DeadLetter, record_to_redrive
from worker.runtime.unreadable_batches import UnreadableBatches

pytestmark = pytest.mark.partitions(4)


def unreadable(first: int, last: int, code: str = UNREADABLE_BATCH) -> Unreadable:
    """Return what stands in place of a batch."""
    return Unreadable("sleep.events", 0, first, last, T, 1, None, b"raw", (), Failure(code, "its codec"))


def letter_of(record: SourceRecord, failure: Failure) -> DeadLetter:
    """Return the dead letter of a record, read back."""
    return DeadLetter.of(replace(unreadable(0, 0), **dead_letter(record, failure)._asdict()))


@pytest.mark.parametrize("expected", [3, 4, 5])
async def test_its_first_offset_is_no_hole_and_no_repeat(expected: int) -> None:
    """A seek into the middle of it, where the log's start was moved, brings it whole."""
    buffer = OfferedBuffer()
    buffer.buffer.seek(expected)
    buffer.offer("a", [unreadable(3, 5), *records(6, 7)])  # type: ignore[list-item]
    assert [record.offset for record in await buffer.buffer.take()] == [5, 6, 7]
    buffer.offer("b", [unreadable(8, 9)])  # type: ignore[list-item]
    assert [record.offset for record in await buffer.buffer.take()] == [9]
    assert buffer.warnings == []


async def test_one_that_leaves_something_out_is_a_hole() -> None:
    """And one that lies before what comes next is a repeat."""
    for first, last in ((4, 5), (1, 2)):
        buffer = OfferedBuffer()
        buffer.buffer.seek(2)
        buffer.offer("a", records(2, 2))
        buffer.offer("b", [unreadable(first, last)])  # type: ignore[list-item]
        assert buffer.warnings == ["batch_lost"]


async def test_its_time_keeps_nobody_waiting() -> None:
    """It changes nothing, and a header may say anything."""
    buffer = OfferedBuffer()
    buffer.buffer.seek(0)
    buffer.offer("a", [replace(unreadable(0, 1), timestamp=1 << 60)])  # type: ignore[list-item]
    assert [record.offset for record in await buffer.buffer.take()] == [1]
    assert buffer.clock.slept == []


async def test_a_lane_sets_it_aside_and_goes_on_and_its_next_owner_knows_it_again() -> None:
    """The commit covers all of its offsets, with its time and CRC as those of the last record applied."""
    async with World() as world:
        world.log(breaker("acme", "open"))
        batch = world.events().append_unreadable(3)
        world.assign()
        await world.run()
        assert world.stored().next == 4
        [letter] = [DeadLetter.of(record) for record in world.kafka.records("sleep.deadletter")]
        assert (letter.code, letter.topic, letter.offset, letter.value) == (
            UNREADABLE_BATCH,
            "sleep.events",
            3,
            batch.value,
        )
        count = world.worker.metrics.registry.get_sample_value
        assert count("sleep_worker_dead_letters_total", {"fault": "theirs"}) == 1
        await world.worker.lanes.revoke([0])
        lane = world.assign()
        world.log(breaker("globex", "open"))
        await world.run()
        assert (lane.stopped, lane.problem, world.stored().next) == (False, None, 5)
        assert set(world.stored().tenants) == {"acme", "globex"}


async def test_the_page_names_the_last_one_of_each_partition_and_how_many() -> None:
    """With its offsets, why, and what to do."""
    async with World() as world:
        first = world.events().append_unreadable(3)
        world.events().append_unreadable(2)
        lane = world.assign()
        await world.run()
        services = vars(lane)["_context"]
        [shown] = services.unreadable.shown()
        assert first.first == 0
        assert (shown["topic"], shown["partition"], shown["batches"]) == ("sleep.events", 0, 2)
        assert (shown["first_offset"], shown["last_offset"]) == (3, 4)
        assert "offsets 3 to 4 cannot be read: its codec" in shown["finding"]
        assert "sleepctl deadletters list --code unreadable_batch" in shown["finding"]


def test_its_dead_letter_tells_both_offsets_and_has_its_bytes() -> None:
    """A record with a bad header has only its own."""
    batch = replace(unreadable(3, 9), value=b"x" * 100_000)
    output = dead_letter(batch, batch.failure)
    headers = dict(output.headers)
    assert (headers["sleep.error.first_offset"], headers["sleep.error.last_offset"]) == (b"3", b"9")
    assert (headers["sleep.error.size"], len(output.value or b"")) == (b"100000", 65_536)
    record = unreadable(3, 3, UNREADABLE_HEADER)
    assert "sleep.error.first_offset" not in dict(dead_letter(record, record.failure).headers)


@pytest.mark.parametrize(
    ("code", "why"),
    [(UNREADABLE_BATCH, "no record of its batch can"), (UNREADABLE_HEADER, "header is not UTF-8")],
)
def test_what_cannot_be_read_is_not_put_back(code: str, why: str) -> None:
    """It would be set aside again, and no client of ours can write such bytes."""
    record = unreadable(3, 9, code)
    back = record_to_redrive(letter_of(record, record.failure), "sleep.events", 4, ["sleep.events"])
    assert isinstance(back, str)
    assert why in back


async def test_ingress_sets_it_aside_and_names_it() -> None:
    """As the lanes do."""
    async with World() as world:
        unreadable_ = UnreadableBatches()
        batch = replace(unreadable(3, 5), topic="payments")
        assert normalise(batch) == batch.failure
        await forward(world.outputs, [batch], unreadable=unreadable_)
        assert [DeadLetter.of(record).topic for record in world.kafka.records("sleep.deadletter")] == ["payments"]
        assert [shown["topic"] for shown in unreadable_.shown()] == ["payments"]


@pytest.mark.parametrize("timestamp", [-(1 << 63), -1, 0, 1 << 60, (1 << 63) - 1])
async def test_an_absurd_time_of_an_emitters_record_raises_nothing(timestamp: int) -> None:
    """Topics of others have the times that their producers say."""
    async with World() as world:
        log = world.kafka.log("payments")
        log.append([breaker("acme", "open")], timestamp)
        await forward(world.outputs, log.read(0, 10))
        world.log(breaker("globex", "open"))
        lane = world.assign()
        await world.run()
        assert (lane.stopped, lane.problem) == (False, None)
        assert "globex" in world.stored().tenants


def test_a_flood_of_them_is_counted_whole_and_logged_in_part() -> None:
    """The 1st, the 2nd, the 4th and so on, with how many there were."""
    unreadable_ = UnreadableBatches()
    with capture_logs() as logs:
        for number in range(1_000):
            unreadable_.note([unreadable(number, number)])
    assert [line["batches"] for line in logs] == [1 << power for power in range(10)]
    assert unreadable_.shown()[0]["batches"] == 1_000
