"""Record batches, byte by byte: what any client can put on a topic, and what none should."""

import gzip
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import cramjam
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

NOW: Final = 1_700_000_000_000
CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
LOG_APPEND_TIME: Final = 0x08


def varint(number: int) -> bytes:
    """Return a number in zigzag form."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(content: bytes | None) -> bytes:
    """Return bytes after their number, -1 for none."""
    return varint(-1) if content is None else varint(len(content)) + content


@dataclass
class RawRecord:
    """A record of a batch; what is not None in `length` or `headers_said` is said instead of the truth."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[bytes | None, bytes | None]] = ()
    delta: int = 0
    timestamp_delta: int = 0
    length: int | None = None
    headers_said: int | None = None
    tail: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        header_count = len(self.headers) if self.headers_said is None else self.headers_said
        body = b"\x00" + varint(self.timestamp_delta) + varint(self.delta) + sized(self.key) + sized(self.value)
        body += (
            varint(header_count) + b"".join(sized(name) + sized(content) for name, content in self.headers) + self.tail
        )
        return varint(len(body) if self.length is None else self.length) + body


@dataclass
class RawBatch:
    """A batch; what is not None in its last fields is said instead of the truth."""

    records: Sequence[RawRecord]
    base: int = 0
    codec: int = 0
    attributes: int = 0
    timestamp: int = NOW
    producer: tuple[int, int, int] = (-1, -1, -1)
    payload: bytes | None = None
    tail: bytes = b""
    length: int | None = None
    magic: int = 2
    crc: int | None = None
    last_delta: int | None = None
    count: int | None = None
    max_timestamp: int | None = None

    def encode(self) -> bytes:
        """Return its bytes."""
        plain = b"".join(record.encode() for record in self.records)
        payload = (compressed(self.codec, plain) if self.payload is None else self.payload) + self.tail
        last_delta = len(self.records) - 1 if self.last_delta is None else self.last_delta
        covered = (
            struct.pack(
                ">hiqqqhii",
                self.codec | self.attributes,
                last_delta,
                self.timestamp,
                self.timestamp if self.max_timestamp is None else self.max_timestamp,
                *self.producer,
                len(self.records) if self.count is None else self.count,
            )
            + payload
        )
        crc = calc_crc32c(covered) if self.crc is None else self.crc
        body = struct.pack(">ibI", 0, self.magic, crc) + covered
        return struct.pack(">qi", self.base, len(body) if self.length is None else self.length) + body


def numbered(records: Sequence[RawRecord]) -> list[RawRecord]:
    """Return records with the offsets that they have in a batch."""
    return [replace(record, delta=number) for number, record in enumerate(records)]


def compressed(codec: int, plain: bytes) -> bytes:
    """Return what a codec makes of bytes; an unknown one leaves them."""
    encode = {1: gzip.compress, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}.get(codec)
    return plain if encode is None else bytes(encode(plain))


@cache
def _bomb() -> bytes:
    """Return a few bytes that hold more than is taken of a batch."""
    return bytes(cramjam.zstd.compress(bytes(40 << 20)))


def mutated(chance: random.Random, good: RawBatch) -> RawBatch:  # noqa: C901, PLR0911, PLR0912 - a list of what may be wrong
    """Return a batch with something wrong about it, or something unusual; its CRC is mostly right."""
    kind = chance.randrange(20)
    records = list(good.records)
    at = chance.randrange(len(records))
    number = chance.choice((-(1 << 31), -2, -1, 0, 1, 3, 100, 1 << 20, (1 << 31) - 1))
    time = chance.choice((-(1 << 63), -1, 0, 1, 1 << 52, (1 << 63) - 1))
    if kind == 0:
        name = bytes(chance.randrange(128, 256) for _ in range(chance.randrange(1, 9)))
        records[at] = replace(records[at], headers=[*records[at].headers, (name, b"x")])
    elif kind == 1:
        records[at] = replace(records[at], headers=[(None, b"x")])
    elif kind == 2:
        records[at] = replace(records[at], headers_said=number)
    elif kind == 3:
        records[at] = replace(records[at], length=number)
    elif kind == 4:
        records[at] = replace(records[at], delta=number)
    elif kind == 5:
        records[at] = replace(records[at], timestamp_delta=time)
    elif kind == 6:
        records[at] = replace(records[at], tail=chance.randbytes(chance.randrange(1, 30)))
    elif kind == 7:
        return replace(good, codec=chance.choice((5, 6, 7)))
    elif kind == 8:
        return replace(good, codec=chance.choice((1, 2, 3, 4)), payload=chance.randbytes(chance.randrange(300)))
    elif kind == 9:
        return replace(good, count=number)
    elif kind == 10:
        return replace(good, last_delta=number)
    elif kind == 11:
        return replace(good, attributes=chance.choice((CONTROL, CONTROL | TRANSACTIONAL, TRANSACTIONAL, 0x7FC0)))
    elif kind == 12:
        return replace(good, timestamp=time, max_timestamp=chance.choice((time, NOW)))
    elif kind == 13:
        return replace(good, magic=chance.choice((0, 1, 3, 7, 127)))
    elif kind == 14:
        return replace(good, crc=chance.randrange(1 << 32))
    elif kind == 15:
        return replace(good, length=chance.choice((number, number, 14, 48, 49)))
    elif kind == 16:
        return replace(good, tail=chance.randbytes(chance.randrange(1, 50)))
    elif kind == 17:
        payload = bytearray(b"".join(record.encode() for record in records))
        for _ in range(chance.randrange(1, 4)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        return replace(good, payload=compressed(good.codec, bytes(payload)))
    elif kind == 18:
        payload = bytearray(compressed(good.codec, b"".join(record.encode() for record in records)))
        del payload[chance.randrange(len(payload)) :]
        return replace(good, payload=bytes(payload))
    else:
        return replace(good, codec=4, payload=_bomb())
    return replace(good, records=records)
