"""Rewrites the frames of a zstd stream to windows no larger than the output. Pure.

A decoder allocates the window that a frame declares, up to 128 MiB, however small its content. No byte refers further
back than to the first one, so a window of the output's size is enough for every frame.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# Sixteen magic numbers mark a skippable frame.
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_SKIPPABLE_HEADER_BYTES: Final = 8
_SINGLE_SEGMENT: Final = 0x20
_CHECKSUM: Final = 0x04
_CHECKSUM_BYTES: Final = 4
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_SIZE_BYTES: Final = (0, 2, 4, 8)
# A size in two bytes is relative to this.
_SIZE_IN_TWO: Final = 256
_BLOCK_HEADER_BYTES: Final = 3
_REPEATED: Final = 1
# A block has at most the window's size, and encoders make blocks of up to 128 KiB. The decoder expands a block that
# does not fit before it fails.
_BLOCK_BYTES: Final = 1 << 17
_LOWEST_LOG: Final = 10


class _Frame(NamedTuple):
    """The header of a frame: the place and size of its declared window, and the size of its content; None if absent."""

    window_at: int | None
    window: int
    size: int | None


def with_fitting_windows(data: bytes | memoryview, room: int) -> bytes | memoryview | None:
    """Return a stream with windows that `room` bytes need; None if a frame declares more content than that."""
    log = (room + _BLOCK_BYTES).bit_length()
    fitting: bytearray | None = None
    for frame in _frames_in(data):
        if frame.size is not None and frame.size > room:
            return None
        if frame.window_at is not None and frame.window > 1 << log:
            fitting = bytearray(data) if fitting is None else fitting
            fitting[frame.window_at] = (log - _LOWEST_LOG) << 3
    return data if fitting is None else bytes(fitting)


def _frames_in(data: bytes | memoryview) -> Iterator[_Frame]:
    """Yield the frames' headers up to the first invalid one, on which the decoder will fail."""
    at, end = 0, len(data)
    while at + _SKIPPABLE_HEADER_BYTES <= end:
        if bytes(data[at + 1 : at + 4]) == _SKIPPABLE and data[at] & 0xF0 == 0x50:  # noqa: PLR2004 - of the format
            at += _SKIPPABLE_HEADER_BYTES + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if bytes(data[at : at + 4]) != _MAGIC:
            return
        frame, checksum, at = _header_at(data, at + len(_MAGIC))
        yield frame
        last = False
        while not last and at + _BLOCK_HEADER_BYTES <= end:
            block = int.from_bytes(data[at : at + _BLOCK_HEADER_BYTES], "little")
            last = bool(block & 1)
            at += _BLOCK_HEADER_BYTES + (1 if (block >> 1) & 3 == _REPEATED else block >> 3)
        at += checksum


def _header_at(data: bytes | memoryview, at: int) -> tuple[_Frame, int, int]:
    """Return the header of a frame, the length of its checksum, and the start of its blocks."""
    flags = data[at]
    single = bool(flags & _SINGLE_SEGMENT)
    at += 1
    window_at, window = None, 0
    if not single:
        window_at, declared = at, data[at]
        base = 1 << (_LOWEST_LOG + (declared >> 3))
        window = base + (base >> 3) * (declared & 7)
        at += 1
    at += _DICTIONARY_BYTES[flags & 3]
    size_bytes = _SIZE_BYTES[flags >> 6] or int(single)
    size = int.from_bytes(data[at : at + size_bytes], "little") if size_bytes else None
    if size is not None and size_bytes == 2:  # noqa: PLR2004 - see `_SIZE_IN_TWO`
        size += _SIZE_IN_TWO
    return _Frame(window_at, window, size), _CHECKSUM_BYTES if flags & _CHECKSUM else 0, at + size_bytes
