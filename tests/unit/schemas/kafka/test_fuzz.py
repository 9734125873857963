"""Two thousand batches that are wrong, or unusual: none stops the reader, or takes a neighbour with it."""

import random
from dataclasses import replace

import pytest

from schemas.kafka.source_record import Unreadable
from tests.support.fetch_answers import Log, Stored
from tests.support.raw_batches import CODECS, RawBatch, RawRecord, mutated, numbered

ROUNDS = 2_000


def good(chance: random.Random, base: int) -> RawBatch:
    """Return a batch that anybody may send."""
    records = [
        RawRecord(
            chance.randbytes(chance.randrange(1, 60)), b"acme", [(b"content-type", b"json"), ("grüße".encode(), None)]
        )
        for _ in range(chance.randrange(1, 5))
    ]
    return RawBatch(numbered(records), base, chance.choice(tuple(CODECS.values())))


def stored(batch: RawBatch, count: int | None = None) -> Stored:
    """Return a batch as the broker keeps it, under as many offsets as it had before it was changed."""
    return Stored(batch.base, batch.base + (len(batch.records) if count is None else count) - 1, batch.encode())


@pytest.mark.parametrize("most", [1 << 20, 120], ids=["in one answer", "cut answers"])
def test_neighbours_of_a_wrong_batch_are_read_and_its_offsets_are_behind(most: int) -> None:
    """Whatever it is: nothing is raised, no offset is read twice, and reading comes to the end."""
    chance = random.Random(20_26)
    for number in range(ROUNDS):
        before = good(chance, chance.randrange(3))
        middle = good(chance, before.base + len(before.records))
        after = good(chance, middle.base + len(middle.records))
        wrong = mutated(chance, middle)
        log = Log(stored(before), stored(wrong, len(middle.records)), stored(after))
        result = log.read(before.base, most)
        offsets = [record.offset for record in result]
        assert offsets == sorted(set(offsets)), (number, wrong)
        for neighbour in (before, after):
            values = [
                record.value
                for record in result
                if neighbour.base <= record.offset < neighbour.base + len(neighbour.records)
            ]
            assert values == [record.value for record in neighbour.records], (number, wrong)
        aside = [record for record in result if isinstance(record, Unreadable)]
        assert all(middle.base <= record.first <= record.offset < after.base for record in aside), (number, wrong)


def test_a_read_may_begin_in_the_middle_of_a_wrong_batch() -> None:
    """The log's start may have moved into it."""
    chance = random.Random(7)
    for _ in range(500):
        middle = good(chance, 0)
        wrong = mutated(chance, replace(middle, records=numbered([*middle.records] * 3)))
        count = len(middle.records) * 3
        after = good(chance, count)
        for start in range(count):
            result = Log(stored(wrong, count), stored(after)).read(start)
            assert [record.value for record in result if record.offset >= count] == [
                record.value for record in after.records
            ]
