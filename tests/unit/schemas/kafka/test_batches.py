"""What a batch holds, and what stands in its place where that cannot be read."""

import tracemalloc
from dataclasses import replace
from zlib import crc32

import pytest
from structlog.testing import capture_logs

from schemas.kafka.batches import MOST_RECORDS
from schemas.kafka.source_record import MOST_HEADERS, UNREADABLE_BATCH, UNREADABLE_HEADER, Unreadable
from tests.support.fetch_answers import Log, Stored
from tests.support.raw_batches import CONTROL, LOG_APPEND_TIME, NOW, TRANSACTIONAL, RawBatch, RawRecord, numbered
from worker.partition.startup_checks import checksum

LATIN_1 = (b"gr\xf6\xdfe", b"x")


def batch(base: int, count: int = 3) -> RawBatch:
    """Return a batch of as many records."""
    return RawBatch(numbered([RawRecord(b"v%d" % (base + number), b"k") for number in range(count)]), base)


def stored(result: RawBatch, count: int = 3) -> Stored:
    """Return a batch as a log holds it."""
    return Stored(result.base, result.base + count - 1, result.encode())


def around(wrong: RawBatch) -> Log:
    """Return a log with a batch of offsets 3 to 5 between two others."""
    return Log(stored(batch(0)), stored(wrong), stored(batch(6)))


@pytest.mark.parametrize("codec", range(5))
def test_a_header_name_that_is_not_utf_8_costs_its_own_record_alone(codec: int) -> None:
    """The others of the batch are what they were."""
    wrong = replace(batch(3), codec=codec)
    wrong.records[1].headers = [(b"content-type", b"json"), LATIN_1]
    result = around(wrong).read()
    assert [record.value for record in result] == [b"v%d" % number for number in range(9)]
    [bad] = [record for record in result if isinstance(record, Unreadable)]
    assert (bad.first, bad.offset, bad.key, bad.batch) == (4, 4, b"k", False)
    assert (bad.failure.code, bad.failure.ours) == (UNREADABLE_HEADER, False)
    assert bad.headers == [("content-type", b"json"), (r"gr\xf6\xdfe", b"x")]


@pytest.mark.parametrize("padding", [0, 1_200_000], ids=["small", "large"])
@pytest.mark.parametrize("odd", [False, True])
def test_a_record_with_too_many_headers_costs_itself_alone_and_no_memory(padding: int, odd: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    """Also where its batch is read with patience. Its key and value are kept, and none of its headers."""
    wrong = replace(batch(3), codec=1)
    wrong.records[0].value = bytes(padding)
    wrong.records[1].headers = [(b"", None)] * (MOST_HEADERS + 1)
    wrong.records[2].headers = [(b"", None)] * MOST_HEADERS
    if odd:
        wrong.records[0].headers = [LATIN_1]
    actual = {record.offset: record for record in around(wrong).read()}
    bad = actual[4]
    assert isinstance(bad, Unreadable)
    assert (bad.failure.code, bad.key, bad.value, bad.headers) == (UNREADABLE_HEADER, b"k", b"v4", ())
    assert f"{MOST_HEADERS + 1} headers, more than {MOST_HEADERS}" in bad.failure.message
    assert isinstance(actual[3], Unreadable) == odd
    assert len(actual[5].headers) == MOST_HEADERS


def test_of_a_batch_full_of_headers_none_is_made() -> None:
    """Half a million of two bytes each would take 32 MB a record."""
    bomb = replace(batch(3), codec=1)
    for record in bomb.records:
        record.headers = [(b"", None)] * 500_000
    log = around(bomb)
    tracemalloc.start()
    try:
        result = log.read()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [isinstance(record, Unreadable) for record in result] == [False] * 3 + [True] * 3 + [False] * 3
    assert most < 16 << 20


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (replace(batch(3), codec=6), "codec has the number 6"),
        (replace(batch(3), codec=3, payload=b"rubbish"), "it is not lz4"),
        (replace(batch(3), count=4), "it ends too early"),
        (replace(batch(3), count=2), "bytes behind its 2 records"),
        (replace(batch(3), count=-1), "behind its -1 records"),
        (replace(batch(3), tail=b"more"), "4 bytes behind its 3 records"),
        (replace(batch(3), magic=3), "format has the number 3"),
        (replace(batch(3), magic=1), "cannot be read: "),
        (replace(batch(3), crc=1), "its CRC or its length is wrong"),
        (replace(batch(3), last_delta=-1), "ends 1 offsets before"),
        (RawBatch(numbered([RawRecord(b"v", headers_said=9)] * 3), 3), "9 headers in"),
        (RawBatch(numbered([RawRecord(b"v", headers=[(None, b"x")])] * 3), 3), "without a name"),
        (RawBatch([RawRecord(b"v")] * 3, 3), "offset 3, which is not between 3 and 5"),
        (RawBatch([*numbered([RawRecord(b"v")] * 2), RawRecord(b"v", delta=5_000)], 3), "offset 5003"),
    ],
)
def test_a_batch_that_cannot_be_read_is_one_record_of_its_offsets(wrong: RawBatch, reason: str) -> None:
    """With its time and its bytes, by which it is known again."""
    result = around(wrong).read()
    assert [record.offset for record in result] == [0, 1, 2, 5, 6, 7, 8]
    bad = result[3]
    assert isinstance(bad, Unreadable)
    assert bad.batch
    assert (bad.first, bad.offset, bad.failure.code, bad.key) == (3, 5, UNREADABLE_BATCH, None)
    assert reason in bad.failure.message
    assert "the batch of offsets 3 to 5 cannot be read" in bad.failure.message
    assert checksum(bad.key, bad.value) == crc32(wrong.encode())
    assert bad.timestamp == (NOW if wrong.magic == 2 and wrong.crc is None else -1)


@pytest.mark.parametrize("start", [3, 4, 5])
def test_a_read_that_begins_in_the_middle_finds_the_same_record(start: int) -> None:
    """The log's start moved, or a lane looks back at the last record that it applied."""
    result = around(replace(batch(3), codec=6)).read(start)
    assert [(record.offset, getattr(record, "first", None)) for record in result[:2]] == [(5, 3), (6, None)]


@pytest.mark.parametrize("attributes", [CONTROL, CONTROL | TRANSACTIONAL])
def test_a_control_batch_is_passed_over_whatever_is_in_it(attributes: int) -> None:
    """Only a broker writes them, and they hold nothing for us."""
    for wrong in (batch(3), replace(batch(3), payload=b"odd"), replace(batch(3), count=0, payload=b"")):
        result = around(replace(wrong, attributes=attributes)).read()
        assert [record.offset for record in result] == [0, 1, 2, 6, 7, 8]


def test_a_batch_that_compaction_emptied_is_passed_over() -> None:
    """Its header stays until nobody needs its numbers any more."""
    empty = replace(batch(3), records=[], last_delta=2)
    assert [record.offset for record in around(empty).read()] == [0, 1, 2, 6, 7, 8]
    assert [record.offset for record in Log(stored(batch(0)), stored(empty)).read()] == [0, 1, 2]


def test_a_batch_whose_last_records_compaction_took_does_not_come_for_ever() -> None:
    """At the end of an answer nobody knows whether more follows, and asks once more."""
    cut = replace(batch(3), records=batch(3).records[:1], last_delta=2)
    log = Log(stored(batch(0)), stored(cut))
    assert [record.offset for record in log.read()] == [0, 1, 2, 3]
    assert log.fetches == 2


def test_the_brokers_time_is_that_of_all_records_of_its_batch() -> None:
    """And a producer's is each record's own, in the patient way too."""
    wrong = replace(batch(3), attributes=LOG_APPEND_TIME, max_timestamp=NOW + 9)
    wrong.records[1].headers = [LATIN_1]
    assert {record.timestamp for record in around(wrong).read()[3:6]} == {NOW + 9}
    own = replace(wrong, attributes=0)
    own.records[2].timestamp_delta = 7
    assert [record.timestamp for record in around(own).read()[3:6]] == [NOW, NOW, NOW + 7]


def test_a_batch_of_too_many_records_is_set_aside_without_being_expanded() -> None:
    """A few kilobytes hold millions of empty records; each would take half a kilobyte of memory."""
    wrong = replace(batch(3), codec=4, payload=b"rubbish", count=MOST_RECORDS + 1)
    result = around(wrong).read()
    assert [record.offset for record in result] == [0, 1, 2, 5, 6, 7, 8]
    assert f"it holds {MOST_RECORDS + 1} records, more than {MOST_RECORDS}" in result[3].failure.message


@pytest.mark.parametrize("odd", [False, True], ids=["usual", "with one that is against the format"])
def test_of_many_records_few_are_in_memory_at_a_time(odd: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    """A batch that cannot be read to its end is set aside all the same, and gives none of its records."""
    count = 20_000
    many = RawBatch(numbered([RawRecord(b"x")] * count), codec=1)
    if odd:
        many.records[count // 2].headers = [LATIN_1]
    log = Log(Stored(0, count - 1, many.encode()))
    tracemalloc.start()
    try:
        seen = sum(1 for _ in log.records())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == count
    assert peak < 3 << 20
    [bad] = Log(Stored(0, count - 1, replace(many, tail=b"more").encode())).read()
    assert isinstance(bad, Unreadable)
    assert (bad.first, bad.offset) == (0, count - 1)


class _Flaky(Log):
    """A log whose answers arrive damaged a number of times, each time in the same way or in another."""

    def __init__(self, times: int, *, alike: bool) -> None:
        super().__init__(stored(batch(0)), stored(batch(3)))
        self._times = times
        self._alike = alike

    def fetch(self, offset: int, most: int) -> bytes:
        answer = bytearray(super().fetch(offset, most))
        if self._times:
            self._times -= 1
            answer[-1] ^= 1 if self._alike else self._times + 1
        return bytes(answer)


def test_a_batch_that_was_damaged_on_its_way_is_fetched_again() -> None:
    """The same log has the same records for everybody."""
    with capture_logs() as logs:
        result = _Flaky(2, alike=False).read()
    assert [record.value for record in result] == [b"v%d" % number for number in range(6)]
    assert [(line["event"], line["offset"]) for line in logs] == [("batch_damaged", 3)] * 2


@pytest.mark.parametrize(("alike", "fetches"), [(True, 2), (False, 4)])
def test_a_batch_that_is_damaged_each_time_is_set_aside_in_the_end(alike: bool, fetches: int) -> None:  # noqa: FBT001 - as above
    """Twice the same is a disk's, and not for ever in any case."""
    log = _Flaky(100, alike=alike)
    result = log.read()
    assert [(record.offset, isinstance(record, Unreadable)) for record in result][3:] == [(5, True)]
    assert log.fetches == fetches


def test_what_lies_before_what_was_asked_for_does_not_come_for_ever() -> None:
    """No broker answers so."""

    class _Wrong(Log):
        def fetch(self, offset: int, most: int) -> bytes:
            answer = super().fetch(offset, most)
            return batch(0).encode() if offset == 3 else answer

    result = _Wrong(stored(batch(0)), stored(batch(3))).read()
    assert [record.offset for record in result] == [0, 1, 2, 3, 4, 5]
