"""Messages of before Kafka 0.11: read as aiokafka reads them, and expanded within bounds."""

import random
import struct
import tracemalloc
from typing import Any, Final
from zlib import crc32

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder

from schemas.kafka.batches import MOST_BYTES, MOST_RECORDS
from schemas.kafka.source_record import UNREADABLE_BATCH, Unreadable
from tests.support.fetch_answers import Log, Stored
from tests.support.raw_batches import CODECS, compressed

LOG_APPEND_TIME: Final = 0x08
CASES: Final = [(magic, name) for magic in (0, 1) for name in ("gzip", "snappy", "lz4") if (magic, name) != (0, "lz4")]


def message(magic: int, offset: int, value: bytes | None, *, key: bytes | None = None, attributes: int = 0) -> bytes:
    """Return a message of format 0 or 1, stamped 1,000 ms after its offset."""
    fields = b"".join(struct.pack(">i", -1 if part is None else len(part)) + (part or b"") for part in (key, value))
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", 1_000 + offset) if magic else b"") + fields
    return struct.pack(">qiI", offset, len(body) + 4, crc32(body)) + body


def wrapper(magic: int, codec: int, plain: bytes, last: int, attributes: int = 0) -> Stored:
    """Return a compressed message of other messages, the last of which has this offset."""
    return Stored(0, last, message(magic, last, compressed(codec, plain), attributes=codec | attributes))


def shown(records: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - aiokafka's and ours
    """Return what there is to say of records."""
    return [(each.offset, each.timestamp, each.timestamp_type, each.key, each.value, each.checksum) for each in records]


@pytest.mark.parametrize(("magic", "codec"), CASES)
@pytest.mark.parametrize("attributes", [0, LOG_APPEND_TIME])
def test_a_compressed_message_is_read_as_aiokafka_reads_it(magic: int, codec: str, attributes: int) -> None:
    """Its offsets, times, keys, values and checksums."""
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for number in range(5):
        builder.append(number, 1_000 + number, None if number == 3 else b"k", b"v%d" % number)
    stored = wrapper(magic, CODECS[codec], bytes(builder.build()), 4, attributes)
    expected = shown(LegacyRecordBatch(bytearray(stored.raw), magic))
    result = shown(Log(stored).read())
    assert [offset for offset, *_ in result] == list(range(5))
    # aiokafka says None for the time of format 0, and consumers get -1.
    assert result == [(offset, -1 if at is None else at, *rest) for offset, at, *rest in expected]


@pytest.mark.parametrize(("magic", "codec"), CASES)
def test_one_that_expands_to_too_much_is_set_aside_without_being_expanded(magic: int, codec: str) -> None:
    """A few bytes hold 100 MiB; those before and after it are read."""
    plain = message(magic, 1, bytes(100 << 20))
    bomb = wrapper(magic, CODECS[codec], plain, 1)._replace(first=1)
    del plain
    log = Log(Stored(0, 0, message(magic, 0, b"a")), bomb, Stored(2, 2, message(magic, 2, b"b")))
    tracemalloc.start()
    try:
        before, aside, after = log.read(most=64 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (before.value, after.value) == (b"a", b"b")
    assert isinstance(aside, Unreadable)
    assert (aside.first, aside.offset, aside.failure.code) == (1, 1, UNREADABLE_BATCH)
    assert f"more than {MOST_BYTES} bytes" in aside.failure.message
    assert peak < 3 * MOST_BYTES + 2 * len(bomb.raw)


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (b"", "holds none"),
        (b"\x00" * 20, "is cut"),
        (message(1, 0, b"v")[:-1], "with 34 left"),
        (message(1, 0, b"v") + b"x", "is cut"),
        (message(1, 0, b"v", attributes=1), "within a compressed message"),
        (message(1, 0, b"v") * 2, "offset 1, which is not between 1 and 1"),
        (struct.pack(">qiIbbqii", 0, 22, 0, 1, 0, 0, 99, 0), "a field of 99 bytes"),
        (message(1, 0, b"") * (MOST_RECORDS + 1), f"{MOST_RECORDS + 1} records, more than {MOST_RECORDS}"),
    ],
)
def test_what_holds_no_messages_is_set_aside(plain: bytes, reason: str) -> None:
    """With what is wrong about it."""
    [result] = Log(wrapper(1, 1, plain, 1)).read()[-1:]
    assert isinstance(result, Unreadable)
    assert reason in result.failure.message


def test_bytes_that_were_changed_cost_no_more_than_their_own_message() -> None:
    """Whatever they are, the next message is read."""
    chance = random.Random(13)
    good = b"".join(message(1, number, b"v%d" % number, key=b"k") for number in range(4))
    for _ in range(1_000):
        plain = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            plain[chance.randrange(len(plain))] = chance.randrange(256)
        log = Log(wrapper(1, 1, bytes(plain), 3), Stored(4, 4, message(1, 4, b"after")))
        assert log.read()[-1].value == b"after"
