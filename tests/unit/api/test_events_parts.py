"""The pure parts of streams: the wire format, ids, and records of the topic."""

from contextlib import nullcontext

import pytest
from structlog.testing import capture_logs

from api.adapters.transitions import OffsetRange
from api.streaming import bookmark, sse
from api.streaming.bookmark import DETAILS, Bookmark, Mark, Reason, ResetError
from api.streaming.catchup import check
from api.streaming.rows import Place, parse
from schemas.kafka.partitioner import partition_of
from tests.unit.api.topic import PARTITIONS, value

ACME = partition_of("acme", PARTITIONS)


def test_an_event_has_its_name_and_its_data_on_a_line_each() -> None:
    """And ends with an empty line."""
    assert sse.body("state", b'{"a": 1}') == b'event: state\ndata: {"a": 1}\n\n'
    assert sse.id_line("5/4:9:0") == b"id: 5/4:9:0\n"
    assert sse.retry(2000) == b"retry: 2000\n"


@pytest.mark.parametrize("broken", [b"a\nb", b"a\rb", b"a\r\nb"])
def test_a_line_break_in_data_cannot_begin_a_field(broken: bytes) -> None:
    """Each line of the data is a field of its own."""
    assert sse.body("transition", broken) == b"event: transition\ndata: a\ndata: b\n\n"


def test_a_record_goes_out_as_it_is_on_the_topic() -> None:
    """Byte for byte, and its id says where it is and which it is."""
    row = parse(ACME, 17, value("acme", 1042, 1))
    assert (row.place, row.tenant) == (Place(1042, 1), "acme")
    assert row.id_line == f"id: 17/{ACME}:1042:1\n".encode()
    assert row.body == b"event: transition\ndata: " + value("acme", 1042, 1) + b"\n\n"


@pytest.mark.parametrize("kind", ["outcome", "refusal"])
def test_outcomes_and_refusals_are_not_shown(kind: str) -> None:
    """They are no transitions."""
    assert parse(ACME, 17, value("acme", 1042, kind=kind)).body == b""


@pytest.mark.parametrize(
    "record",
    [None, b"", b"{", b"[]", b"{}", b'{"id": 7, "kind": "transition", "tenant": "acme"}', value("globex", 7)],
    ids=["none", "empty", "cut", "list", "without-fields", "wrong-type", "other-partition"],
)
def test_a_record_that_is_not_ours_is_logged_and_shown_to_nobody(record: bytes | None) -> None:
    """The topic goes on after it."""
    with capture_logs() as logs:
        row = parse(ACME, 3, record)
    assert (row.body, row.tenant, row.place) == (b"", "", Place(-1, -1))
    assert [entry["event"] for entry in logs] == ["transition_unreadable"]


def test_what_was_delivered_is_not_wanted_again_wherever_it_is_appended() -> None:
    """A worker that crashed appends rows again: the place decides, not the offset."""
    marked = bookmark.of_tenant(f"5/{ACME}:10:1", "acme", ACME)
    again = [parse(ACME, offset, value("acme", 10, nth)) for offset, nth in ((6, 0), (7, 1), (8, 2))]
    assert [marked.wants(row) for row in again] == [False, False, True]
    marked.deliver(again[2])
    assert not marked.wants(parse(ACME, 9, value("acme", 10, 2)))
    assert marked.wants(parse(ACME, 10, value("acme", 11)))


def test_a_stream_wants_transitions_of_its_tenant_only() -> None:
    """Another tenant of the same partition is another's business."""
    marked = Bookmark({ACME: Mark(0, Place(-1, -1))}, "acme")
    assert marked.wants(parse(ACME, 0, value("acme", 1)))
    assert not marked.wants(parse(ACME, 0, value("acme", 1))._replace(tenant="other"))
    assert not marked.wants(parse(ACME, 0, value("acme", 1, kind="outcome")))
    assert not marked.wants(parse(ACME, 0, value("acme", 1))._replace(partition=ACME + 1))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "5",
        "5/4",
        "5/4:10",
        "5/4:10:",
        "/4:10:0",
        "-1/4:10:0",
        "5/4:10:0 ",
        " 5/4:10:0",
        "5/4:10:0\n",
        "05/4:10:0",
        "\u0665/4:10:0",
        "5/4:10:0,5/4:10:0",
        "9" * 20 + "/4:10:0",
        "5/4:-1:0",
        "5.0/4:10:0",
    ],
)
def test_an_id_of_another_form_is_malformed(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ResetError) as caught:
        bookmark.of_tenant(text, "acme", 4)
    assert caught.value.reason == "malformed"


def test_an_id_of_another_tenants_partition_is_told_apart() -> None:
    """It cannot be this tenant's."""
    with pytest.raises(ResetError) as caught:
        bookmark.of_tenant("5/3:10:0", "acme", 4)
    assert caught.value.reason == "other_partition"


def test_the_id_over_all_partitions_goes_out_and_comes_back_the_same() -> None:
    """A mark for each partition, in order; nothing delivered yet is a mark without a row."""
    marked = Bookmark({0: Mark(7, Place(12, -1)), 1: Mark(0, Place(-1, -1)), 2: Mark(9, Place(3, 4))}, None)
    assert marked.id_line() == b"id: 7/0:12,0/1:0,9/2:3:4\n"
    back = bookmark.of_all("7/0:12,0/1:0,9/2:3:4", 3)
    assert back.id_line() == marked.id_line()
    assert back.marks[0] == Mark(7, Place(12, -1))
    row = parse(2, 9, b'{"id": "2:5:0", "kind": "transition", "tenant": "acme"}')
    assert back.deliver(row) == b"id: 7/0:12,0/1:0,10/2:5:0\n"
    back.read(0, 30)
    back.read(0, 20)
    assert back.id_line() == b"id: 30/0:12,0/1:0,10/2:5:0\n"


@pytest.mark.parametrize("text", ["7/0:12", "7/0:12,1/1:1,1/2:1", "1/1:1,7/0:12", "7/0:12,7/0:12", ",", "7/0:12,"])
def test_an_id_of_another_number_of_partitions_is_malformed(text: str) -> None:
    """A gap in one of them would be silent."""
    with pytest.raises(ResetError) as caught:
        bookmark.of_all(text, 2)
    assert caught.value.reason == "malformed"


def test_the_first_record_must_be_the_one_that_the_id_names() -> None:
    """A topic that was made anew has others at the same offsets."""
    bookmark.of_tenant(f"5/{ACME}:10:0", "acme", ACME).meet(parse(ACME, 5, value("acme", 10)))
    for row in (
        parse(ACME, 5, value("acme", 11)),
        parse(ACME, 6, value("acme", 10)),
        parse(ACME, 5, value("acme", 10))._replace(tenant="other"),
    ):
        with pytest.raises(ResetError) as caught:
            bookmark.of_tenant(f"5/{ACME}:10:0", "acme", ACME).meet(row)
        assert caught.value.reason == "unknown"


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (99, "expired"),
        (100, "too_far_back"),
        (20_098, "too_far_back"),
        (20_099, None),
        (30_099, None),
        (30_100, "beyond_end"),
        (40_000, "beyond_end"),
    ],
)
def test_a_tenants_id_must_be_kept_within_the_end_and_within_reach(offset: int, reason: Reason | None) -> None:
    """10,000 records may have come since, no more."""
    marked = bookmark.of_tenant(f"{offset}/{ACME}:10:0", "acme", ACME)
    with nullcontext() if reason is None else pytest.raises(ResetError, match=DETAILS[reason]):
        check(marked, {ACME: OffsetRange(100, 30_100)})


def test_over_all_partitions_what_lies_back_is_counted_together() -> None:
    """The bound is on the work that one client may ask for."""
    bounds = {0: OffsetRange(0, 6000), 1: OffsetRange(0, 6000)}
    check(bookmark.of_all("1000/0:1:0,1000/1:1:0", 2), bounds)
    check(bookmark.of_all("6000/0:1:0,6000/1:1:0", 2), bounds)
    for text, reason in (("1000/0:1:0,999/1:1:0", "too_far_back"), ("6001/0:1:0,6000/1:1:0", "beyond_end")):
        with pytest.raises(ResetError) as caught:
            check(bookmark.of_all(text, 2), bounds)
        assert caught.value.reason == reason
