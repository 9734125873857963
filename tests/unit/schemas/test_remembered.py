"""What Redis holds of a command: a fixed number of bytes, and texts while an operation lives."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.domain.sealing import NewerCodeError, NewerLayoutError, seal
from schemas.domain.state import SleepState
from schemas.redis.command_memory import FIXED_BYTES, field_of, pack, time_bytes, unpack
from schemas.wire.operation import CommandType, OperationRecord, RefusalCode

_times = st.integers(0, 2**53)
_states = st.sampled_from(SleepState)
_texts = st.none() | st.text(max_size=256)


@st.composite
def operations(draw: st.DrawFn) -> OperationRecord:
    """Draw a command of any kind and end."""
    code = draw(st.none() | st.sampled_from(get_args(RefusalCode)))
    return OperationRecord(
        operation_id="op-1",
        tenant_id="acme",
        type=draw(st.sampled_from(get_args(CommandType))),
        refused=code is not None,
        cancelled_at=None if code else draw(st.none() | _times),
        target_state=draw(st.none() | _states),
        created_at=draw(_times),
        expires_at=draw(st.none() | _times),
        code=code,
        detail=None,
        state=draw(_states),
        previous_state=draw(_states),
        position=f"3:{draw(st.integers(-1, 2**62))}",
        actor=draw(_texts),
        reason=draw(_texts),
        trace_id=draw(_texts),
        decision=draw(st.binary(min_size=16, max_size=16)).hex(),
    )


@given(operations())
def test_a_command_survives_redis(operation: OperationRecord) -> None:
    """Whole while it lives, without its texts afterwards."""
    live, ended = pack(operation, live=True), pack(operation, live=False)
    assert unpack(live, 3, "acme", "op-1") == operation
    assert unpack(ended, 3, "acme", "op-1") == operation.without_texts()
    assert live[:FIXED_BYTES] == ended, "what the commit cuts off is what is left of it"
    assert len(ended) == FIXED_BYTES
    assert ended[1:9] == time_bytes(operation.finished_at), "where the commit looks for its end"


def test_what_is_held_does_not_grow_with_what_was_sent() -> None:
    """Ids of 128 characters and texts of 4-byte characters: 16 bytes and 59, for which Redis takes 24 and 64."""
    assert len(field_of("t" * 128, "i" * 128)) == len(field_of("t", "i")) == 16
    assert FIXED_BYTES + 4 <= 64


def test_no_two_commands_share_a_field() -> None:
    """A tenant id holds no slash."""
    assert len({field_of(*command) for command in (("a", "b/c"), ("a", "b"), ("ab", "c"), ("a", "bc"))}) == 4


@given(operations(), st.integers(0, 8 * FIXED_BYTES - 1), st.booleans())
def test_a_flipped_bit_is_found(operation: OperationRecord, bit: int, live: bool) -> None:  # noqa: FBT001
    """Before anything is read from it."""
    packed = bytearray(pack(operation, live=live))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"."):
        unpack(bytes(packed), 3, "acme", "op-1")


@pytest.mark.parametrize("packed", [b"", b"?", b"\2" * FIXED_BYTES, seal(b"\2"), seal(b"\1" + bytes(54)), b"[1]"])
def test_bytes_that_are_no_command_are_refused(packed: bytes) -> None:
    """As a ValueError, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        unpack(packed, 3, "acme", "op-1")


@pytest.mark.parametrize(
    ("place", "what"), [(9, "command type"), (11, "refusal code"), (12, "state"), (13, "state"), (14, "state")]
)
def test_an_unknown_code_is_of_a_newer_release(place: int, what: str) -> None:
    """It is not taken for another, and nothing is damaged."""
    fixed = bytearray(55)
    fixed[0], fixed[place] = 2, 99
    with pytest.raises(NewerCodeError, match=f"^{what} 99 is of a newer release; upgrade"):
        unpack(seal(bytes(fixed)), 3, "acme", "op-1")


def test_a_newer_layout_is_refused() -> None:
    """Its number and its checksum are where they always were."""
    with pytest.raises(NewerLayoutError, match="layout 3 is newer than 2"):
        unpack(seal(b"\3" + bytes(54)), 3, "acme", "op-1")


@given(operations())
def test_what_a_worker_of_the_layout_before_left_is_read(operation: OperationRecord) -> None:
    """JSON under a key of its own, texts and all."""
    assert unpack(operation.pack(), 3, "acme", "op-1") == operation


@given(st.lists(st.integers(-5, 2**53), min_size=2, max_size=5))
def test_the_bytes_of_times_compare_as_the_times_do(times: list[int]) -> None:
    """A time before 1970 counts as its start."""
    assert sorted(map(time_bytes, times)) == [time_bytes(time) for time in sorted(times)]
