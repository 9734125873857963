"""The codecs of Kafka's record batches, with a bound on the expanded size. Pure."""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import cramjam

from schemas.errors import SchemasError
from schemas.kafka.zstd import with_fitting_windows

NAMES: Final[Mapping[int, str]] = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
"""The codecs by their number in a batch's attributes; 0 is none."""
_GZIP_WITH_HEADER: Final = 31
# The framing of snappy-java, which Kafka's Java client and others write: a marker, two versions, then sized blocks.
# Appended streams repeat the marker.
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_SIZE: Final = struct.Struct(">i")
# lz4 and zstd expand into a buffer. If it is too small, the work is repeated with a larger one.
_FIRST_GUESS_BYTES: Final = 16_384
_USUAL_RATIO: Final = 8
_GROWTH: Final = 8


class ExpandedError(SchemasError, ValueError):
    """A batch expands to more than the limit.

    Attributes:
        most: the limit in bytes.
    """

    def __init__(self, most: int) -> None:
        super().__init__(f"it expands to more than {most} bytes")
        self.most = most


def decompress(codec: int, data: bytes | memoryview, most: int) -> bytes:
    """Return the expanded data, at most `most` bytes.

    Raises:
        ExpandedError: if there is more; no more than `most` bytes were expanded.
        ValueError: if the codec is unknown, or the data is invalid.
    """
    expand = _EXPAND.get(codec)
    if expand is None:
        msg = f"its codec has the number {codec}, which nobody knows"
        raise ValueError(msg)
    try:
        return expand(data, most)
    except ExpandedError:
        raise
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        msg = f"it is not {NAMES[codec]}: {error}"
        raise ValueError(msg) from error


def _gunzip(data: bytes | memoryview, most: int) -> bytes:
    out = bytearray()
    rest = bytes(data)
    # A stream may have several members, followed by zeros.
    while rest:
        member = zlib.decompressobj(_GZIP_WITH_HEADER)
        out += member.decompress(rest, most - len(out) + 1)
        if len(out) > most:
            raise ExpandedError(most)
        if not member.eof:
            msg = "it ends too early"
            raise ValueError(msg)
        rest = member.unused_data.lstrip(b"\x00")
    return bytes(out)


def _unsnap(data: bytes | memoryview, most: int) -> bytes:
    view = memoryview(data)
    if bytes(view[: len(_XERIAL)]) != _XERIAL:
        return _unsnap_block(view, most, most)
    out = bytearray()
    at = 0
    while at < len(view):
        if bytes(view[at : at + len(_XERIAL)]) == _XERIAL:
            at += _XERIAL_HEADER_BYTES
            continue
        (size,) = _SIZE.unpack_from(view, at)
        at += _SIZE.size
        if not 0 <= size <= len(view) - at:
            msg = f"a block of {size} bytes, with {len(view) - at} left"
            raise ValueError(msg)
        out += _unsnap_block(view[at : at + size], most - len(out), most)
        at += size
    return bytes(out)


def _unsnap_block(block: memoryview, rest: int, most: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > rest:
        raise ExpandedError(most)
    return bytes(cramjam.snappy.decompress_raw(block))


def _expand_into(expand: Callable[[bytes | memoryview, bytearray], int]) -> Callable[[bytes | memoryview, int], bytes]:
    def expanded(data: bytes | memoryview, most: int) -> bytes:
        size = max(_FIRST_GUESS_BYTES, _USUAL_RATIO * len(data))
        while True:
            out = bytearray(min(size, most + 1))
            try:
                end = expand(data, out)
            except cramjam.DecompressionError as error:
                # The library reports a too small buffer in its message only.
                if "whole buffer" not in str(error) and "too small" not in str(error):
                    raise
                end = len(out) + 1
            if end > most or (end > len(out) and size > most):
                raise ExpandedError(most)
            if end <= len(out):
                return bytes(memoryview(out)[:end])
            size *= _GROWTH

    return expanded


def _unzstd_into(data: bytes | memoryview, out: bytearray) -> int:
    """Expand into a buffer, and return the number of bytes; more than its length if they do not fit."""
    fitting = with_fitting_windows(data, len(out))
    return len(out) + 1 if fitting is None else cramjam.zstd.decompress_into(fitting, out)


_EXPAND: Final[Mapping[int, Callable[[bytes | memoryview, int], bytes]]] = {
    1: _gunzip,
    2: _unsnap,
    3: _expand_into(cramjam.lz4.decompress_into),
    4: _expand_into(_unzstd_into),
}
