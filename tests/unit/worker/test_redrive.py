"""Dead letters read back, and put back in their order."""

import pytest

from schemas.cloudevents import Headers
from schemas.partition import partition_of
from tests.unit.worker.build import Source, T
from worker.deadletter import Failure, dead_letter
from worker.recovery.redrive import Back, DeadLetter, in_order, put_back

EVENTS = "sleep.events"


def letter(
    offset: int,
    at: int = T,
    *,
    partition: int = 3,
    key: bytes | None = b"acme",
    value: bytes | None = b"{",
    place: int = 0,
    headers: Headers = (("ce_id", b"x"),),
) -> DeadLetter:
    """Return the dead letter of a record of the events topic."""
    record = Source(offset, at, key, value, headers, EVENTS, partition)
    key_, value_, headers = dead_letter(record, Failure("undecodable", "no JSON"))
    return DeadLetter.of(Source(place, T, key_, value_, headers, "sleep.deadletter", 1))


def test_a_dead_letter_is_read_back_as_the_record_that_it_was() -> None:
    """Its own headers are apart from ours."""
    assert letter(7, place=4) == DeadLetter(
        "1:4", "undecodable", "no JSON", EVENTS, 3, 7, T, 1, b"acme", b"{", [("ce_id", b"x")]
    )


def test_what_is_no_dead_letter_of_ours_is_refused() -> None:
    """The message names its place and what it lacks."""
    with pytest.raises(ValueError, match=r"1:4 is no dead letter of ours: it has no header sleep.error.code"):
        DeadLetter.of(Source(4, T, b"acme", b"{", (), "sleep.deadletter", 1))


def test_records_go_back_in_the_order_in_which_they_came() -> None:
    """By offset within a partition though a broker's clock stepped back, by time between partitions, each once."""
    letters = [letter(9, T - 50), letter(8, T), letter(2, T - 1, partition=1), letter(8, T, place=77), letter(1, T + 1)]
    assert [(found.partition, found.offset) for found in in_order(letters)] == [(1, 2), (3, 1), (3, 8), (3, 9)]


@pytest.mark.parametrize("other", [letter(8, T + 5), letter(8, value=b"[]")], ids=["time", "size"])
def test_two_records_of_one_place_both_go_back(other: DeadLetter) -> None:
    """The topic was made anew, and the dead letters of the one before are there for 30 days."""
    assert list(in_order([letter(8), other, letter(8, place=77)])) == [letter(8, place=77), other]


def test_a_tenants_record_goes_where_its_key_belongs() -> None:
    """What was set aside for being on the wrong partition heals by that."""
    back = put_back(letter(7), EVENTS, 8, {EVENTS})
    assert isinstance(back, Back)
    assert (back.topic, back.partition) == (EVENTS, partition_of("acme", 8))
    assert back.output == (b"acme", b"{", [("ce_id", b"x")])


def test_a_record_without_key_and_one_of_another_topic_go_where_they_came_from() -> None:
    """Rules are on every partition, and emitters choose theirs."""
    rules = put_back(letter(7, key=None), EVENTS, 8, {EVENTS})
    emitted = put_back(letter(7)._replace(topic="sleep.breakers"), EVENTS, 8, {"sleep.breakers"})
    assert isinstance(rules, Back)
    assert isinstance(emitted, Back)
    assert (rules.partition, emitted.topic, emitted.partition) == (3, "sleep.breakers", 3)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (letter(7, value=b"x" * 65_537), "cut: it had 65537 bytes"),
        (letter(7, key=b"k" * 70_000), "cut"),
        (letter(7, headers=(("big", b"x" * 70_000), ("ce_type", b"y"))), "its headers were cut"),
        (letter(7)._replace(topic="payroll"), "which we do not read"),
        (letter(7, key=b"\xff"), "its key is no text"),
    ],
)
def test_what_cannot_be_put_back_says_why(refused: DeadLetter, words: str) -> None:
    """A record of which a part is missing would be another record."""
    assert words in str(put_back(refused, EVENTS, 8, {EVENTS}))
    whole = put_back(letter(7, value=b"x" * 65_536), EVENTS, 8, {EVENTS})
    assert isinstance(whole, Back)
