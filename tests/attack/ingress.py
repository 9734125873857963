"""Attacks by those who may write to an ingress topic: bombs of every codec, floods of rubbish, one tenant's flood."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.attack.attack import Attack, BrokenError
from tests.attack.target import Target, breaker
from tests.support.raw_batches import CODECS, RawBatch, RawRecord, compressed, numbered, varint
from tests.support.raw_producer import RawProducer
from worker.ports import Output

# A few batches of 32 MiB may be expanded at a time, with their records beside them. Of 512 MiB some 400 are free.
_EXPANDED_MIB: Final = 256.0
_MIB: Final = 1 << 20
# A batch that `schemas.wire` takes as one: many of them are in one fetch.
LEGAL_BOMB_BYTES: Final = 30 * _MIB
_LEGAL_BOMBS: Final = 24
_TINY: Final = 200_000
_TOLD_SECONDS: Final = 45.0
# An empty header takes two bytes of a batch, and 64 in memory.
_HEADERS_MIB: Final = 64.0
_EMPTY_HEADERS: Final = 500_000
_LOADED: Final = 12
_FULL_TENANTS: Final = 14
_CLAIMS: Final = 1_000
_INNOCENT: Final = 5
_LOST_SECONDS: Final = 120.0
_BATCH_HEADERS: Final = [("content-type", b"application/cloudevents-batch+json")]
_LETTERS: Final = 64.0
_LETTER_MB: Final = 1.0
_FLOOD: Final = 40_000
_FLOOD_SHARE: Final = 0.25
_LEAST_DELAY: Final = 0.2
_SLOWER: Final = 10.0
_HEADERS: Final = [(name.encode(), content) for name, content in STRUCTURED_HEADERS]


def _record(size: int) -> bytes:
    """Return the beginning of a record whose value of so many zeros is to follow, and no header behind it."""
    body = b"\x00" + varint(0) + varint(0) + varint(-1) + varint(size)
    return varint(len(body) + size + 1) + body


def bomb(codec: str, size: int) -> bytes:
    """Return a batch of one record of zeros, compressed."""
    head, tail = _record(size), b"\x00"
    if codec == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        payload = packer.compress(head)
        block = bytes(8 * _MIB)
        for begin in range(0, size, len(block)):
            payload += packer.compress(block[: size - begin])
        payload += packer.compress(tail) + packer.flush()
    else:
        plain = head + bytes(size) + tail
        payload = compressed(CODECS[codec], plain)
    record = RawRecord(b"")
    return RawBatch([record], codec=CODECS[codec], payload=payload).encode()


async def _bombed(codec: str, size: int, count: int, target: Target, *, log: bool = False) -> float:
    """Return by how much the worker grew; afterwards an innocent event must come through."""
    topics = target.installation.settings.topics
    topic = topics.events if log else topics.breakers
    packed = bomb(codec, size)

    async def attack() -> None:
        async with RawProducer(target.installation) as producer:
            if not await producer.send(topic, [packed] * count):
                raise BrokenError(f"the broker refuses the batch of {len(packed)} bytes")
        await (target.fold_delay() if log else target.ingress_delay())

    return await target.growth(target.worker, attack(), _EXPANDED_MIB)


async def _headers(target: Target, *, log: bool = False) -> float:
    """Return by how much the worker grew for records of half a million empty headers, each in a batch of its own."""
    topics = target.installation.settings.topics
    record = RawRecord(b"x", headers=[(b"", None)] * _EMPTY_HEADERS)
    batch = RawBatch([record], codec=CODECS["gzip"]).encode()

    async def attack() -> None:
        async with RawProducer(target.installation) as producer:
            if not await producer.send(topics.events if log else topics.breakers, [batch] * _LOADED):
                raise BrokenError(f"the broker refuses the batch of {len(batch)} bytes")
        await (target.fold_delay() if log else target.ingress_delay())

    return await target.growth(target.worker, attack(), _HEADERS_MIB)


async def _crowded_out(target: Target) -> float:
    """Return how many of five innocent tenants' batches are lost beside tenants that fill the room for what waits."""
    topic, outputs = target.installation.settings.topics.breakers, target.installation.outputs
    fill = [
        Output(None, breaker(tenant, name=f"{number}", cause="\N{BRAIN}" * 250), STRUCTURED_HEADERS)
        for tenant in [target.tenant() for _ in range(_FULL_TENANTS)]
        for number in range(_CLAIMS)
    ]
    innocent = [target.tenant() for _ in range(_INNOCENT)]
    for begin in range(0, len(fill), _CLAIMS):
        await outputs.send(topic, 0, fill[begin : begin + _CLAIMS])
    for tenant in innocent:
        events = b",".join(breaker(tenant, name=f"{number}") for number in range(_INNOCENT))
        await outputs.send(topic, 0, [Output(tenant.encode(), b"[" + events + b"]", _BATCH_HEADERS)])
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOST_SECONDS):
            while not all([await target.present(tenant) for tenant in innocent]):
                await asyncio.sleep(0.1)
    return float(sum([not await target.present(tenant) for tenant in innocent]))


def tiny_batches(count: int = _TINY) -> Iterator[bytes]:
    """Yield so many records that are no events, in batches far below 1 MiB."""
    each = min(count, 50_000)
    batch = RawBatch(numbered([RawRecord(b"x")] * each), codec=CODECS["gzip"])
    payload = gzip.compress(b"".join(record.encode() for record in batch.records))
    for _ in range(count // each):
        yield RawBatch(batch.records, codec=CODECS["gzip"], payload=payload).encode()


async def _flooded(target: Target) -> dict[int, int]:
    """Send the flood, wait for an innocent event and for a dead letter, and return where the dead letters began."""
    topics = target.installation.settings.topics
    before = await target.installation.ends(topics.deadletter)
    async with RawProducer(target.installation) as producer:
        await producer.send(topics.breakers, list(tiny_batches()))
    await target.ingress_delay(100)
    # A flood may be gathered for a while; that it is told of at all is part of the bound.
    async with asyncio.timeout(_TOLD_SECONDS):
        while await target.installation.ends(topics.deadletter) == before:
            await asyncio.sleep(0.5)
    return before


async def _letters(target: Target) -> float:
    before = await _flooded(target)
    after = await target.installation.ends(target.installation.settings.topics.deadletter)
    return float(sum(after.values()) - sum(before.values()))


async def _letter_bytes(target: Target) -> float:
    before = await _flooded(target)
    return await target.bytes_since(target.installation.settings.topics.deadletter, before) / 1e6


async def _flood_memory(target: Target) -> float:
    return await target.growth(target.worker, _flooded(target), _EXPANDED_MIB)


async def send_flood(target: Target, tenant: str, count: int = _FLOOD) -> None:
    """Send so many events of one breaker of a tenant to ingress."""
    states = ("open", "half_open", "closed")
    outputs = [Output(None, breaker(tenant, states[number % 3]), STRUCTURED_HEADERS) for number in range(count)]
    for begin in range(0, count, 5_000):
        await target.installation.outputs.send(
            target.installation.settings.topics.breakers, 0, outputs[begin : begin + 5_000]
        )


async def _forwarded_share(target: Target) -> float:
    events = target.installation.settings.topics.events
    before = await target.installation.length(events)
    await send_flood(target, target.tenant())
    await target.ingress_delay(100)
    return (await target.installation.length(events) - before) / _FLOOD


async def _flood_delay(target: Target) -> float:
    quiet = max(await target.ingress_delay(), _LEAST_DELAY)
    await send_flood(target, target.tenant())
    return await target.ingress_delay(100) / quiet


ATTACKS: Final = (
    Attack(
        "3", "700 MB in one gzip batch on ingress", _EXPANDED_MIB, "MiB more", partial(_bombed, "gzip", 700 * _MIB, 1)
    ),
    Attack(
        "3",
        "24 gzip batches of 30 MiB on ingress, each of a legal size",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "gzip", LEGAL_BOMB_BYTES, _LEGAL_BOMBS),
    ),
    Attack(
        "3",
        "24 zstd batches of 30 MiB on ingress, each of a legal size",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "zstd", LEGAL_BOMB_BYTES, _LEGAL_BOMBS),
        short=False,
    ),
    Attack(
        "3",
        "200 MiB in one lz4 batch on ingress",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "lz4", 200 * _MIB, 1),
        short=False,
    ),
    Attack(
        "3",
        "20 MiB in each of eight snappy batches on ingress",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "snappy", 20 * _MIB, 8),
        short=False,
    ),
    Attack(
        "3",
        "700 MB in one zstd batch on ingress",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "zstd", 700 * _MIB, 1),
        short=False,
    ),
    Attack(
        "3",
        "24 gzip batches of 30 MiB on the log",
        _EXPANDED_MIB,
        "MiB more",
        partial(_bombed, "gzip", LEGAL_BOMB_BYTES, _LEGAL_BOMBS, log=True),
        short=False,
    ),
    Attack("3", "12 records of half a million empty headers on ingress", _HEADERS_MIB, "MiB more", _headers),
    Attack(
        "3",
        "12 records of half a million empty headers on the log",
        _HEADERS_MIB,
        "MiB more",
        partial(_headers, log=True),
        short=False,
    ),
    Attack("3", "200,000 tiny records on ingress, dead letters", _LETTERS, "dead letters", _letters),
    Attack("3", "200,000 tiny records on ingress, bytes of dead letters", _LETTER_MB, "MB", _letter_bytes, short=False),
    Attack("3", "200,000 tiny records on ingress, memory", _EXPANDED_MIB, "MiB more", _flood_memory, short=False),
    Attack("10", "40,000 events of one breaker on ingress, forwarded", _FLOOD_SHARE, "of them", _forwarded_share),
    Attack(
        "10",
        "tenants that fill the room on ingress, batches of five others",
        0,
        "lost",
        _crowded_out,
        short=False,
        seconds=180,
    ),
    Attack(
        "10",
        "40,000 events of one tenant on ingress, another tenant's event",
        _SLOWER,
        "times as long",
        _flood_delay,
        short=False,
    ),
)
