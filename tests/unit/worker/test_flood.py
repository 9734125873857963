"""Dead letters of ingress: few are one by one, and a flood is one that lists its offsets."""

from typing import Any

import pytest

from schemas.kafka.source_record import UNREADABLE_BATCH, Failure, Unreadable
from schemas.wire.documents import DeadLetterHeaders
from tests.support.records import Source
from tests.support.times import T
from worker.fold.dead_letter import count_of, dead_letter
from worker.ingress.dead_letter_floods import FEW, FEW_LINGER_MS, LINGER_MS, LONGEST_MS, MOST_RECORDS, DeadLetters
from worker.ports import Output
from worker.recovery.dead_letters import DeadLetter

NO_JSON = Failure("undecodable", "no JSON")


def record(offset: int, *, value: bytes = b"{", headers: Any = ()) -> Source:  # noqa: ANN401 - any headers
    """Return a record of an ingress topic."""
    return Source(offset, T + offset, b"k", value, headers, "sleep.breakers", 3)


def read(letter: Output) -> DeadLetter:
    """Return a dead letter as it is read back."""
    return DeadLetter.of(Source(0, T, *letter, "sleep.deadletter", 1))


def flood(*offsets: int, failure: Failure = NO_JSON) -> Output:
    """Return the one dead letter of records with these offsets."""
    waiting = DeadLetters()
    for offset in offsets:
        waiting.add(record(offset), failure, 0)
    [letter] = waiting.due(LINGER_MS)
    return letter


def test_a_few_have_a_dead_letter_each_after_a_second_without_more() -> None:
    """The very ones that a lane would send."""
    waiting = DeadLetters()
    for offset in range(MOST_RECORDS):
        waiting.add(record(offset), NO_JSON, offset)
    assert (waiting.first, waiting.next_due()) == (0, MOST_RECORDS - 1 + LINGER_MS)
    assert waiting.due(MOST_RECORDS - 2 + LINGER_MS) == []
    dead_letters = waiting.due(MOST_RECORDS - 1 + LINGER_MS)
    assert dead_letters == [dead_letter(record(offset), NO_JSON) for offset in range(MOST_RECORDS)]
    assert (waiting.first, waiting.next_due(), waiting.due(LONGEST_MS)) == (None, None, [])


def test_an_emitters_single_mistake_is_set_aside_soon() -> None:
    """Ten records wait for more a fifth of a second, eleven a second."""
    waiting = DeadLetters()
    for offset in range(FEW):
        waiting.add(record(offset), NO_JSON, 5)
    assert waiting.next_due() == 5 + FEW_LINGER_MS
    waiting.add(record(FEW), NO_JSON, 6)
    assert waiting.next_due() == 6 + LINGER_MS


def test_more_are_one_that_lists_their_offsets_with_the_first_as_an_example() -> None:
    """Its code and its count, and offsets that were no part of the flood are none of its own."""
    offsets = [*range(5, 200), 210, *range(300, 400)]
    letter = flood(*offsets)
    assert count_of(letter) == len(offsets)
    headers = dict(letter.headers)
    assert headers["sleep.error.offsets"] == b"5-199,210,300-399"
    assert (headers["sleep.error.count"], headers["sleep.error.code"]) == (b"296", b"undecodable")
    assert [headers[f"sleep.error.{name}at"] for name in ("", "earliest_", "latest_")] == [
        b"%d" % (T + offset) for offset in (5, 5, 399)
    ]
    DeadLetterHeaders.model_validate({name: content.decode() for name, content in letter.headers})
    example = read(letter)
    assert (example.offset, example.key, example.value, example.message) == (5, b"k", b"{", "no JSON")


def test_a_flood_of_200_000_records_is_one_dead_letter_of_a_few_bytes() -> None:
    """However long it takes to read them, within half a minute."""
    waiting = DeadLetters()
    for offset in range(200_000):
        waiting.add(record(offset), NO_JSON, offset // 10)
        assert waiting.due(offset // 10) == []
    [letter] = waiting.due(20_000 + LINGER_MS)
    assert dict(letter.headers)["sleep.error.offsets"] == b"0-199999"
    assert sum(len(name) + len(content) for name, content in letter.headers) < 500


def test_a_flood_that_does_not_end_is_one_each_half_minute() -> None:
    """What waits is not acknowledged, so that it may not wait for ever."""
    waiting = DeadLetters()
    seen: list[Output] = []
    for offset in range(1_000):
        waiting.add(record(offset), NO_JSON, offset * 100)
        seen += waiting.due(offset * 100)
    assert [dict(letter.headers)["sleep.error.offsets"] for letter in seen] == [b"0-300", b"301-601", b"602-902"]
    assert waiting.first == 903


def test_each_code_has_its_own() -> None:
    """A flood of one says nothing of another."""
    waiting = DeadLetters()
    for offset in range(1_000):
        waiting.add(record(offset), Failure("wrong_key", "x") if offset == 500 else NO_JSON, 0)
    flood_, single = waiting.due(LINGER_MS)
    assert dict(flood_.headers)["sleep.error.offsets"] == b"0-499,501-999"
    assert single == dead_letter(record(500), Failure("wrong_key", "x"))


def test_large_records_are_a_flood_before_they_are_many() -> None:
    """And one alone never is."""
    for count, dead_letters in ((1, 1), (15, 15), (17, 1), (50, 1)):
        waiting = DeadLetters()
        for offset in range(count):
            waiting.add(record(offset, value=b"x" * 1_000_000), NO_JSON, 0)
        assert len(waiting.due(LINGER_MS)) == dead_letters


def test_what_was_put_back_and_fails_again_is_no_part_of_another_flood() -> None:
    """`redrive` knows it by the header of its first record."""
    waiting = DeadLetters()
    for offset in range(400):
        headers = [("sleep.redrive.of", b"1:2")] if offset % 2 else []
        waiting.add(record(offset, headers=headers), NO_JSON, 0)
    fresh, again = map(read, waiting.due(LINGER_MS))
    assert (fresh.earlier, again.earlier) == (None, "1:2")


def test_batches_that_cannot_be_read_are_listed_with_all_their_offsets() -> None:
    """Each counts as one."""
    waiting = DeadLetters()
    failure = Failure(UNREADABLE_BATCH, "its codec")
    for number in range(300):
        first = number * 10
        batch = Unreadable("sleep.breakers", 3, first, first + 9, T, 1, None, b"raw", (), failure)
        waiting.add(batch, failure, 0)
    [letter] = waiting.due(LINGER_MS)
    assert (count_of(letter), dict(letter.headers)["sleep.error.offsets"]) == (300, b"0-2999")


@pytest.mark.parametrize("begin", [0, 10**18])
def test_a_dead_letter_always_fits_a_record_and_lists_exactly_its_own(begin: int) -> None:
    """Where every other record is good, the list is as long as it gets."""
    waiting = DeadLetters()
    seen: list[Output] = []
    offsets = [begin + 2 * number for number in range(150_000)]
    for offset in offsets:
        waiting.add(Source(offset, T, b"k" * 70_000, b"v" * 70_000, [("h", b"h" * 60_000)]), NO_JSON, 0)
        seen += waiting.due(0)
    seen += waiting.due(LINGER_MS)
    assert all(sum(len(name) + len(content) for name, content in letter.headers) < 800_000 for letter in seen)
    listed = [int(text) for letter in seen for text in dict(letter.headers)["sleep.error.offsets"].decode().split(",")]
    assert listed == offsets
    assert sum(map(count_of, seen)) == len(offsets)
