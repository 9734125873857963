"""Dead letters read back, and put back in their order."""

import random

import pytest

from schemas.kafka.offset_ranges import count, joined, parse, text_of, without
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure
from schemas.wire.cloudevents import Headers
from tests.support.records import Source
from tests.support.times import T
from worker.fold.dead_letter import dead_letter
from worker.recovery.dead_letters import DeadLetter, RedriveRecord, in_order, record_to_redrive
from worker.recovery.notes import Note, RedriveNotes, note_of, note_of_flood, read_note

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
        "1:4",
        "undecodable",
        "no JSON",
        EVENTS,
        3,
        7,
        T,
        1,
        b"acme",
        b"{",
        [("ce_id", b"x")],
        earliest_at=T,
        latest_at=T,
    )


def test_what_is_no_dead_letter_of_ours_is_refused() -> None:
    """The message names its place and what it lacks."""
    with pytest.raises(ValueError, match=r"1:4 is not a dead letter: it has no header sleep.error.code"):
        DeadLetter.of(Source(4, T, b"acme", b"{", (), "sleep.deadletter", 1))


def test_records_go_back_in_the_order_in_which_they_came() -> None:
    """By offset within a partition though a broker's clock stepped back, by time between partitions, each once."""
    dead_letters = [
        letter(9, T - 50),
        letter(8, T),
        letter(2, T - 1, partition=1),
        letter(8, T, place=77),
        letter(1, T + 1),
    ]
    assert [(record.partition, record.offset) for record in in_order(dead_letters)] == [(1, 2), (3, 1), (3, 8), (3, 9)]


@pytest.mark.parametrize("other", [letter(8, T + 5), letter(8, value=b"[]")], ids=["time", "size"])
def test_two_records_of_one_place_both_go_back(other: DeadLetter) -> None:
    """The topic was made anew, and the dead letters of the one before are there for 30 days."""
    assert list(in_order([letter(8), other, letter(8, place=77)])) == [letter(8, place=77), other]


def test_a_tenants_record_goes_where_its_key_belongs() -> None:
    """What was set aside for being on the wrong partition heals by that."""
    back = record_to_redrive(letter(7), EVENTS, 8, {EVENTS})
    assert isinstance(back, RedriveRecord)
    assert (back.topic, back.partition) == (EVENTS, partition_of("acme", 8))
    assert back.output == (b"acme", b"{", [("sleep.redrive.of", b"1:0"), ("ce_id", b"x")])


def test_a_record_without_key_and_one_of_another_topic_go_where_they_came_from() -> None:
    """Rules are on every partition, and emitters choose theirs."""
    rules = record_to_redrive(letter(7, key=None), EVENTS, 8, {EVENTS})
    emitted = record_to_redrive(letter(7)._replace(topic="sleep.breakers"), EVENTS, 8, {"sleep.breakers"})
    assert isinstance(rules, RedriveRecord)
    assert isinstance(emitted, RedriveRecord)
    assert (rules.partition, emitted.topic, emitted.partition) == (3, "sleep.breakers", 3)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (letter(7, value=b"x" * 65_537), "cut: it had 65537 bytes"),
        (letter(7, key=b"k" * 70_000), "cut"),
        (letter(7, headers=(("big", b"x" * 70_000), ("ce_type", b"y"))), "its headers were cut"),
        (letter(7)._replace(topic="payroll"), "which no worker reads"),
        (letter(7, key=b"\xff"), "its key is not text"),
    ],
)
def test_what_cannot_be_put_back_says_why(refused: DeadLetter, words: str) -> None:
    """A record of which a part is missing would be another record."""
    assert words in str(record_to_redrive(refused, EVENTS, 8, {EVENTS}))
    redriven = record_to_redrive(letter(7, value=b"x" * 65_536), EVENTS, 8, {EVENTS})
    assert isinstance(redriven, RedriveRecord)


def test_a_record_that_was_put_back_is_noted_by_its_source() -> None:
    """A worker that died may have set it aside twice; earlier versions pass the note over."""
    back = record_to_redrive(letter(7, place=4), EVENTS, 8, {EVENTS})
    assert isinstance(back, RedriveRecord)
    key, value, headers = note_of(back)
    note = Source(9, T, key, value, headers, "sleep.deadletter", 1)
    noted = read_note(note)
    assert noted == Note.of(letter(7, place=77), joined([7]))
    assert dict(headers)["sleep.redrive.of"] == b"1:4"
    with pytest.raises(ValueError, match="is not a dead letter"):
        DeadLetter.of(note)


def test_a_record_that_is_set_aside_again_is_known_by_its_header() -> None:
    """However large its other headers are; put back once more it names its latest letter alone."""
    back = record_to_redrive(letter(7, place=4), EVENTS, 8, {EVENTS})
    assert isinstance(back, RedriveRecord)
    key, value, headers = back.output
    again = letter(20, key=key, value=value, headers=[*headers, ("big", b"x" * 70_000)])
    assert (again.earlier, letter(7).earlier) == (back.dead_letter.place, None)
    once_more = record_to_redrive(again._replace(headers_cut=False, place="1:9"), EVENTS, 8, {EVENTS})
    assert isinstance(once_more, RedriveRecord)
    assert [raw for name, raw in once_more.output.headers if name == "sleep.redrive.of"] == [b"1:9"]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        [("sleep.redrive.of", b"1:4")],
        [("sleep.redrive.of", b"1:4"), ("sleep.redrive.topic", b"t"), ("sleep.redrive.offset", b"?")],
        letter(7).headers,
    ],
)
def test_what_is_no_note_notes_nothing(headers: Headers) -> None:
    """Somebody else's record, or one that was put back onto the wrong topic."""
    assert read_note(Source(9, T, None, None, headers, "sleep.deadletter", 1)) is None
    assert read_note(Source(9, T, None, None, _letter_headers(), "sleep.deadletter", 1)) is None


def _letter_headers() -> Headers:
    """Return the headers of a dead letter whose record was put back."""
    record = Source(7, T, b"acme", b"{", [("sleep.redrive.of", b"1:4")], EVENTS, 3)
    return dead_letter(record, Failure("undecodable", "no JSON")).headers


def flood_of(text: str, at: int = T, *, place: int = 0, latest: int = T + 100) -> DeadLetter:
    """Return the dead letter of a flood, whose records have these offsets of an ingress topic."""
    first = int(text.partition(",")[0].partition("-")[0])
    return letter(first, at, place=place)._replace(
        topic="sleep.breakers", offsets=text, records=9, earliest_at=at, latest_at=latest
    )


def noted_of(*put_back_: tuple[DeadLetter, str]) -> RedriveNotes:
    """Return what the notes say of floods of which records with these offsets were put back."""
    noted = RedriveNotes()
    for flood, text in put_back_:
        key, value, headers = note_of_flood(flood, parse(text))
        note = read_note(Source(9, T, key, value, headers, "sleep.deadletter", 1))
        assert note is not None
        noted.add(note)
    return noted


def test_of_a_flood_what_was_not_put_back_is_left() -> None:
    """A command may have failed in the middle, and a worker that died may have set some of it aside twice."""
    flood = flood_of("3-7,9,12-40")
    assert flood.ranges == [(3, 7), (9, 9), (12, 40)]
    assert text_of(noted_of((flood, "3-7,12-20")).not_redriven(flood)) == "9,21-40"
    assert noted_of((flood, "3-7"), (flood, "9,12-40")).not_redriven(flood) == []
    assert text_of(noted_of((flood, "12-40")).not_redriven(flood_of("30-50", T + 10))) == "41-50"
    made_anew = flood_of("3-7,9,12-40", T + 1_000, latest=T + 2_000)
    assert noted_of((flood, "3-40")).not_redriven(made_anew) == made_anew.ranges


def test_a_record_in_a_flood_and_in_a_dead_letter_of_its_own_is_redriven_once() -> None:
    """Whichever went back first."""
    flood, single = flood_of("3-7"), letter(5, T + 1)._replace(topic="sleep.breakers")
    assert noted_of((flood, "3-7")).not_redriven(single) == []
    assert noted_of((flood, "3-4")).not_redriven(single) == [(5, 5)]
    noted = RedriveNotes()
    noted.add(Note.of(single, single.ranges))
    assert text_of(noted.not_redriven(flood)) == "3-4,6-7"
    assert noted.not_redriven(single) == ()
    assert noted.not_redriven(single._replace(at=T + 2, earliest_at=T + 2, latest_at=T + 2)) == [(5, 5)]


def test_two_floods_with_the_same_first_record_are_two() -> None:
    """A worker that died after the first one began anew where that began."""
    floods = [flood_of("3-7", place=1), flood_of("3-9", place=2)]
    assert list(in_order([*floods, flood_of("3-7", place=3)])) == [flood_of("3-7", place=3), floods[1]]


@pytest.mark.parametrize("text", ["", "x", "3-", "7-3", "3-7,5", "3,,4", "-1", "9" * 30, "3 - 4"])
def test_a_list_of_offsets_that_is_none_makes_no_dead_letter(text: str) -> None:
    """Somebody else wrote to the topic."""
    headers = [*dead_letter(Source(7, T, None, b"{"), Failure("undecodable", "x")).headers]
    with pytest.raises(ValueError, match="offsets"):
        DeadLetter.of(Source(0, T, None, b"{", [*headers, ("sleep.error.offsets", text.encode())]))


def test_offsets_are_taken_from_offsets_as_sets_are() -> None:
    """Whatever they are."""
    chance = random.Random(13)
    for _ in range(3_000):
        some, others = (sorted(chance.sample(range(40), chance.randrange(40))) for _ in range(2))
        left = without(joined(some), joined(others))
        expected = joined(sorted({*some} - {*others}))
        assert left == expected
        assert count(left) == len({*some} - {*others})
        assert not left or parse(text_of(left)) == left
