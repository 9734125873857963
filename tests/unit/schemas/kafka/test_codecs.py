"""The codecs: what each expands to, and no more than is taken."""

import random
from contextlib import suppress

import cramjam
import pytest
from aiokafka.codec import snappy_encode

from schemas.kafka.codecs import ExpandedError, decompress
from tests.support.raw_batches import CODECS, compressed

PLAIN = random.Random(1).randbytes(500) * 100
COMPRESSED = [(CODECS[name], compressed(CODECS[name], PLAIN)) for name in CODECS if name != "none"]
IDS = [name for name in CODECS if name != "none"]
MOST = 1 << 20


@pytest.mark.parametrize(("codec", "data"), COMPRESSED, ids=IDS)
def test_what_was_compressed_comes_back(codec: int, data: bytes) -> None:
    """Of every codec of the protocol, up to the very bound."""
    assert decompress(codec, data, MOST) == PLAIN
    assert decompress(codec, memoryview(data), len(PLAIN)) == PLAIN


@pytest.mark.parametrize("most", [0, 10, len(PLAIN) - 1])
@pytest.mark.parametrize(("codec", "data"), COMPRESSED, ids=IDS)
def test_what_holds_more_than_is_taken_is_refused(codec: int, data: bytes, most: int) -> None:
    """Whatever its own header says."""
    with pytest.raises(ExpandedError, match=f"more than {most} bytes"):
        decompress(codec, data, most)


@pytest.mark.parametrize(("codec", "data"), COMPRESSED, ids=IDS)
def test_a_stream_that_was_continued_is_read_whole(codec: int, data: bytes) -> None:
    """Clients flush a compressor more than once."""
    assert decompress(codec, data * 2, MOST) == PLAIN * 2


@pytest.mark.parametrize(("codec", "data"), COMPRESSED, ids=IDS)
def test_what_is_no_such_stream_is_a_value_error(codec: int, data: bytes) -> None:
    """Cut anywhere, changed anywhere, or anything at all."""
    chance = random.Random(2)
    for _ in range(300):
        wrong = bytearray(data)
        wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
        for attempt in (bytes(wrong), data[: chance.randrange(len(data))], chance.randbytes(chance.randrange(60))):
            with suppress(ValueError):
                decompress(codec, attempt, MOST)


def test_snappy_is_read_without_its_framing_too() -> None:
    """As librdkafka writes it so."""
    assert decompress(CODECS["snappy"], snappy_encode(PLAIN, xerial_compatible=False), MOST) == PLAIN


@pytest.mark.parametrize("linked", [True, False])
def test_lz4_blocks_may_refer_to_one_another(linked: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    """Clients differ in that."""
    writer = cramjam.lz4.Compressor(block_linked=linked, content_checksum=linked)
    writer.compress(PLAIN)
    assert decompress(CODECS["lz4"], bytes(writer.finish()), MOST) == PLAIN


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_is_named(codec: int) -> None:
    """Its bits leave room for more than there are."""
    with pytest.raises(ValueError, match=f"number {codec}, which nobody knows"):
        decompress(codec, b"x", MOST)
