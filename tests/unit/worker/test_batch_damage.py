"""What the store holds is read back as it was; where it cannot be, nothing is folded on top, and the lane names it."""

import re

import pytest

from schemas.domain.sealing import seal
from schemas.wire.operation import OperationRecord
from tests.support.batches import Lane, apply_all
from tests.support.events import Document, breaker, cancel, sleep
from tests.support.records import source
from tests.support.times import T
from worker.partition.stored_records import LaneStoppedError

FORCE = "run `sleepctl rebuild --partition 0 --force`"


def broken(packed: bytes) -> Lane:
    """Return a lane whose store holds these bytes for one of two tenants."""
    lane = Lane()
    lane.apply([source(0, T, breaker("open")), source(1, T, breaker("open", tenant="bolt"))])
    lane.packed["acme"] = packed
    return lane


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (seal(b"[3, {}]"), "the record of tenant acme: layout 3 is newer than 2; run the newer version"),
        (
            seal(b"[1,0,0,1,[99,null],[],[0,0,1,1],null,0,null,1,1,1,1,0]"),
            "the record of tenant acme: cause 99 is of a newer release; upgrade: run the newer version",
        ),
        (
            b"\x00\xff",
            f"the record of tenant acme cannot be read: damaged: its checksum is wrong; {FORCE}",
        ),
        (b"", "the record of tenant acme cannot be read: damaged"),
        (seal(b"{}"), "the record of tenant acme cannot be read: not an array"),
        (seal(b"[1]"), "the record of tenant acme cannot be read: not a tenant record of layout 1: not enough values"),
        (seal(b"[1,0,0,1,null,[],[0,0,1,1],null,0,null,1,1,1,1,99]"), "not a tenant record of layout 1: list index"),
        (
            seal(b"[1,0,0,1,null,[],[0,0,1,1],null,0,null,1,1,2,1,0]"),
            "the record of tenant acme is of offset 2, and only what lies before 2 has been applied; run `sleepctl re",
        ),
    ],
)
def test_nothing_is_folded_on_top_of_a_record_that_cannot_be_read(packed: bytes, expected: str) -> None:
    """The lane stops and names the tenant; its event is no dead letter, since nothing is wrong with it."""
    lane = broken(packed)
    before = dict(lane.packed)
    with pytest.raises(LaneStoppedError, match=re.escape(expected)):
        lane.apply([source(2, T, breaker("closed")), source(3, T, breaker("closed", tenant="bolt"))])
    assert (lane.packed, lane.dead_letters) == (before, [])


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (seal(b"[2,0]"), "operation op of tenant acme: layout 2 is newer than 1; run the newer version"),
        (seal(b"\2" + bytes(8) + b"\x63" + bytes(45)), "operation op of tenant acme: command type 99 is of a newer"),
        (
            b"[1,0]",
            f"operation op of tenant acme cannot be read: damaged: its checksum is wrong; {FORCE}",
        ),
        (seal(b"[1,0]"), "operation op of tenant acme cannot be read: not an operation record of layout 1"),
    ],
)
@pytest.mark.parametrize("command", [sleep("op"), cancel("stop", "op")])
def test_no_command_is_judged_by_an_operation_that_cannot_be_read(
    packed: bytes, expected: str, command: Document
) -> None:
    """Nor by a guess: the lane stops and names it."""
    lane = Lane()
    lane.apply([source(0, T, sleep("op"))])
    lane.operations["acme", "op"] = packed
    with pytest.raises(LaneStoppedError, match=re.escape(expected)):
        lane.apply([source(1, T, command)])


def test_the_next_event_of_a_tenant_writes_the_present_layout() -> None:
    """The record was written by a release of layout 1, and no event of the tenant came since."""
    lane = broken(seal(b'[1,3,3,1,[0,"payments@1"],[[0,"payments@1",1,1,null,null]],[0,3,1,1],null,0,null,1,1,1,1,0]'))
    lane.apply([source(2, T, breaker("closed"))])
    assert lane.packed["acme"].startswith(b"[2,")
    record = lane.record("acme")
    assert record is not None
    assert (record.state.label, record.version, record.since) == ("active", 2, T)


def test_an_outcome_that_was_stored_is_read_back_as_it_was() -> None:
    """Wild but valid numbers and texts included."""
    lane = apply_all([source(0, T, sleep("~ id", reason="“ü”", trace_id="~", ttl_ms=1.0, reply_to="r"))])
    (outcome,) = lane.outcomes()
    assert OperationRecord.unpack(outcome.pack()) == outcome
