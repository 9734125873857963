"""The boundaries and headers of the record batches in a fetched answer. Pure."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from aiokafka.record.default_records import DefaultRecordBatch

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_FRAME: Final = struct.Struct(">qi")
_MAGIC_AT: Final = 16
# An empty message of the first format, which is the shortest.
_LEAST_LENGTH: Final = 14
MAGIC: Final = 2
"""The format of a batch since Kafka 0.11."""
HEADER_BYTES: Final = _HEADER.size
_CODEC_MASK: Final = 0x07
_CONTROL_MASK: Final = 0x20
_LOG_APPEND_TIME_MASK: Final = 0x08


class Header(NamedTuple):
    """The header of a batch of format 2; times in milliseconds."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @classmethod
    def of(cls, raw: bytes | memoryview) -> Self:
        """Return the header of a batch that has at least `HEADER_BYTES`."""
        return cls._make(_HEADER.unpack_from(raw))

    @property
    def codec(self) -> int:
        """The number of the codec, 0 for none."""
        return self.attributes & _CODEC_MASK

    @property
    def control(self) -> bool:
        """Whether the batch is the marker of a transaction."""
        return bool(self.attributes & _CONTROL_MASK)

    @property
    def timestamp_type(self) -> int:
        """1 for the broker's timestamp, 0 for that of the producer."""
        return int(bool(self.attributes & _LOG_APPEND_TIME_MASK))

    def uncompressed(self, records: bytes) -> bytes:
        """Return the batch with uncompressed records; its CRC is not updated."""
        length = HEADER_BYTES - _FRAME.size + len(records)
        return _HEADER.pack(*self._replace(length=length, attributes=self.attributes & ~_CODEC_MASK)) + records


class Frame(NamedTuple):
    """A batch in a fetched answer.

    Attributes:
        raw: its bytes.
        base_offset: its first offset, by its header.
        following: the first offset of the next batch in the answer, None if no batch certainly follows.
        intact: whether its length and its CRC are right.
        batch: aiokafka's batch of format 2, None for another format.
    """

    raw: bytes
    base_offset: int
    following: int | None
    intact: bool
    batch: DefaultRecordBatch | None

    @property
    def magic(self) -> int:
        """The number of its format, -1 if it is too short."""
        return self.raw[_MAGIC_AT] if len(self.raw) > _MAGIC_AT else -1


def frames_in(answer: bytes) -> Iterator[Frame]:
    """Yield the batches of an answer, in order.

    The last batch may be cut, since a broker sends a range of bytes; the next fetch returns it completely. Only the
    first batch is certainly complete. The length of a damaged batch may be wrong. Then a batch with a right CRC must
    begin where this one ends; otherwise the answer is searched for the next batch with a right CRC.
    """
    at, size = 0, len(answer)
    base, length = _frame_at(answer, 0)
    while at < size:
        end = at + _FRAME.size + length
        possible = length >= _LEAST_LENGTH
        if possible and at and end > size:
            return
        possible = possible and end <= size
        raw = answer[at:end] if possible else answer[at:]
        batch = DefaultRecordBatch(raw) if len(raw) >= HEADER_BYTES and raw[_MAGIC_AT] == MAGIC else None
        intact = possible and (raw[_MAGIC_AT] != MAGIC if batch is None else batch.validate_crc())
        if not intact and not (possible and _is_batch(answer, end, base)):
            next_begin = _next_batch(answer, at, base)
            if next_begin < size or not possible:
                end, raw = next_begin, answer[at:next_begin]
        following, length = _frame_at(answer, end)
        certain = intact or _is_batch(answer, end, base) or (batch is not None and following == batch.next_offset)
        yield Frame(raw, base, following if certain and following >= 0 else None, intact, batch)
        at, base = end, following


def _frame_at(answer: bytes, at: int) -> tuple[int, int]:
    """Return the offset and the length in a batch's header; -1 and the answer's length if the header is cut."""
    offset_and_length: tuple[int, int] = (
        _FRAME.unpack_from(answer, at) if len(answer) - at >= _FRAME.size else (-1, len(answer))
    )
    return offset_and_length


def _next_batch(answer: bytes, at: int, base: int) -> int:
    """Return the start of the next batch with a right CRC, or the answer's end."""
    begin = at + 1
    while (magic_at := answer.find(MAGIC, begin + _MAGIC_AT)) >= 0:
        begin = magic_at - _MAGIC_AT
        if _is_batch(answer, begin, base):
            return begin
        begin += 1
    return len(answer)


def _is_batch(answer: bytes, at: int, base: int) -> bool:
    """Tell whether a complete batch of format 2 with a right CRC, and with a later offset than `base`, begins here."""
    offset, length = _frame_at(answer, at)
    end = at + _FRAME.size + length
    if not (offset > base and at + HEADER_BYTES <= end <= len(answer) and answer[at + _MAGIC_AT] == MAGIC):
        return False
    return bool(DefaultRecordBatch(answer[at:end]).validate_crc())
