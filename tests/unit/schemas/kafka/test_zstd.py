"""The windows that zstd frames declare, and what they are lowered to."""

import random
from contextlib import suppress

import cramjam
import pytest

from schemas.kafka.codecs import ExpandedError, decompress
from schemas.kafka.zstd import with_fitting_windows
from tests.support.raw_batches import CODECS

ZSTD = CODECS["zstd"]
MIB = 1 << 20
PLAIN = random.Random(1).randbytes(700) * 300
SKIPPABLE = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00abcde"


def declared(data: bytes) -> int:
    """Return the window that the first frame declares, in bytes."""
    return 1 << (10 + (data[5] >> 3))


def streamed(plain: bytes, log: int) -> bytes:
    """Return a frame that does not say how much it holds, with a window of 2 ** `log` bytes."""
    writer = cramjam.zstd.Compressor(3)
    writer.compress(plain)
    data = bytearray(bytes(writer.finish()))
    assert not data[4] & 0x20
    data[5] = (log - 10) << 3
    return bytes(data)


@pytest.mark.parametrize("log", [21, 27, 28, 31, 41])
def test_a_frame_with_a_large_window_is_expanded_into_a_small_one(log: int) -> None:
    """However large: encoders at a high level declare 128 MiB for a few bytes."""
    data = streamed(PLAIN, log)
    assert decompress(ZSTD, data, MIB) == PLAIN
    fitting = with_fitting_windows(data, MIB)
    assert fitting is not None
    assert declared(bytes(fitting)) == 2 * MIB
    small = with_fitting_windows(data, 1)
    assert small is not None
    assert declared(bytes(small)) == MIB // 4


def test_a_window_that_fits_is_left_as_it_is() -> None:
    """And nothing is copied."""
    data = streamed(PLAIN, 20)
    assert with_fitting_windows(data, MIB) is data
    sized = bytes(cramjam.zstd.compress(PLAIN))
    assert with_fitting_windows(sized, MIB) is sized


def test_every_frame_of_a_stream_is_looked_at() -> None:
    """Also behind those that are skipped, and behind checksums."""
    first, last = bytes(cramjam.zstd.compress(PLAIN)), streamed(PLAIN, 31)
    data = SKIPPABLE + first + SKIPPABLE + last + last
    assert decompress(ZSTD, data, MIB) == PLAIN * 3
    fitting = bytes(with_fitting_windows(data, MIB) or b"")
    assert declared(fitting[len(SKIPPABLE + first + SKIPPABLE) :]) == 2 * MIB
    assert declared(fitting[-len(last) :]) == 2 * MIB


@pytest.mark.parametrize("flags", [0x20, 0xA0, 0xE0, 0xC0])
def test_a_frame_that_declares_too_much_is_refused_without_being_expanded(flags: int) -> None:
    """A frame in one segment makes the decoder allocate what it says."""
    head = b"\x28\xb5\x2f\xfd" + bytes([flags]) + (b"" if flags & 0x20 else b"\x00")
    text = {0x20: b"\xff", 0xA0: (64 * MIB).to_bytes(4, "little")}.get(flags, (1 << 50).to_bytes(8, "little"))
    most = 100 if flags == 0x20 else MIB
    with pytest.raises(ExpandedError):
        decompress(ZSTD, head + text + b"\x01\x00\x00", most)


def test_whatever_the_bytes_are_nothing_but_a_value_error_is_raised() -> None:
    """Cut and changed anywhere."""
    chance = random.Random(5)
    data = SKIPPABLE + streamed(PLAIN, 27) + bytes(cramjam.zstd.compress(PLAIN))
    for _ in range(2_000):
        wrong = bytearray(data[: chance.randrange(len(data) + 1)])
        for _ in range(chance.randrange(3)):
            if wrong:
                wrong[chance.randrange(min(len(wrong), 40))] = chance.randrange(256)
        with suppress(ValueError):
            decompress(ZSTD, bytes(wrong), MIB)


@pytest.mark.parametrize("room", [MIB // 2, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_references_as_far_back_as_the_output_reaches_are_followed(room: int) -> None:
    """Where the output does not fit at first, the work is done again and not given up."""
    chance = random.Random(room)
    block = chance.randbytes(room)
    plain = block + block[:200_000]
    writer = cramjam.zstd.Compressor(19)
    writer.compress(plain)
    data = bytes(writer.finish())
    assert decompress(ZSTD, data, len(plain)) == plain
    with pytest.raises(ExpandedError):
        decompress(ZSTD, data, room)
