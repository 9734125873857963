"""Compressed messages in formats before Kafka 0.11, with a bound on the expanded size. Pure.

aiokafka expands them without a bound. Their format is that of KIP-31 and KIP-32.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from schemas.kafka.codecs import NAMES, decompress
from schemas.wire.cloudevents import Headers

_HEADS: Final = (struct.Struct(">qiIbb"), struct.Struct(">qiIbbq"))
_FRAME_BYTES: Final = 12
_SIZE: Final = struct.Struct(">i")
_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME_MASK: Final = 0x08
_ATTRIBUTES_AT: Final = 17
_LZ4: Final = 3
_ZSTD: Final = 4


class Message(NamedTuple):
    """A message, with aiokafka's names of its parts; `timestamp` in milliseconds, None in format 0."""

    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    checksum: int
    headers: Headers = ()


class Wrapper(NamedTuple):
    """The content of a compressed message: the uncompressed messages and their number.

    Attributes:
        plain: their bytes.
        magic: the number of their format.
        base: is added to the offset of each message.
        timestamp: of all messages, None if each has its own.
        timestamp_type: 1 for timestamps of the broker, None in format 0.
        records: the number of messages.
    """

    plain: bytes
    magic: int
    base: int
    timestamp: int | None
    timestamp_type: int | None
    records: int

    def messages(self) -> Iterator[Message]:
        """Yield the messages.

        Raises:
            ValueError: if the bytes are not messages.
        """
        head = _HEADS[self.magic]
        at, end = 0, len(self.plain)
        while at < end:
            offset, length, crc, _, _, *stamped = head.unpack_from(self.plain, at)
            key, behind = _field(self.plain, at + head.size)
            value, _ = _field(self.plain, behind)
            timestamp = stamped[0] if stamped and self.timestamp is None else self.timestamp
            yield Message(self.base + offset, timestamp, self.timestamp_type, key, value, crc)
            at += _FRAME_BYTES + length


def compressed(raw: bytes) -> bool:
    """Tell whether a message of an old format contains compressed messages."""
    return bool(raw[_ATTRIBUTES_AT] & _CODEC_MASK)


def unwrap(raw: bytes, magic: int, most: int) -> Wrapper:
    """Return the content of a compressed message, at most `most` bytes.

    Raises:
        ExpandedError: if there is more; no more than `most` bytes were expanded.
        ValueError: if it contains no messages, or compressed ones.
    """
    head = _HEADS[magic]
    offset, _, _, _, attributes, *stamped = head.unpack_from(raw)
    codec = attributes & _CODEC_MASK
    if codec >= _ZSTD or (codec == _LZ4 and not magic):
        msg = f"format {magic} does not have the codec {NAMES.get(codec, codec)}"
        raise ValueError(msg)
    _, behind_key = _field(raw, head.size)
    data, _ = _field(raw, behind_key)
    if data is None:
        msg = "a compressed message without a value"
        raise ValueError(msg)
    plain = decompress(codec, data, most)
    count, last = _walk(plain, head)
    broker_stamped = bool(attributes & _LOG_APPEND_TIME_MASK)
    return Wrapper(
        plain,
        magic,
        # In format 1 offsets are relative to the wrapper, whose own offset is that of the last message.
        base=offset - last if magic else 0,
        timestamp=stamped[0] if stamped and broker_stamped else None,
        timestamp_type=int(broker_stamped) if magic else None,
        records=count,
    )


def _walk(plain: bytes, head: struct.Struct) -> tuple[int, int]:
    """Return the number of messages, and the offset in the last one.

    Raises:
        ValueError: if there is none, or one is cut or compressed.
    """
    at = count = last = 0
    while at < len(plain):
        if len(plain) - at < head.size:
            msg = "a message that is cut"
            raise ValueError(msg)
        last, length, _, _, attributes, *_ = head.unpack_from(plain, at)
        if attributes & _CODEC_MASK:
            msg = "a compressed message within a compressed message"
            raise ValueError(msg)
        if not head.size - _FRAME_BYTES <= length <= len(plain) - at - _FRAME_BYTES:
            msg = f"a message of {length} bytes, with {len(plain) - at} left"
            raise ValueError(msg)
        at += _FRAME_BYTES + length
        count += 1
    if not count:
        msg = "a compressed message that holds none"
        raise ValueError(msg)
    return count, last


def _field(raw: bytes, at: int) -> tuple[bytes | None, int]:
    """Return length-prefixed bytes, None for the length -1, and the position after them.

    Raises:
        ValueError: if there are fewer bytes.
    """
    begin = at + _SIZE.size
    if begin > len(raw):
        msg = "a message that is cut"
        raise ValueError(msg)
    (size,) = _SIZE.unpack_from(raw, at)
    if size == -1:
        return None, begin
    if not 0 <= size <= len(raw) - begin:
        msg = f"a field of {size} bytes, with {len(raw) - begin} left"
        raise ValueError(msg)
    return raw[begin : begin + size], begin + size
