"""A worker that may have 512 MiB, under every attack on the log, on ingress and on its page for a while.

The limit is of the address space (`RLIMIT_AS`). A control group of version 2 with the memory controller is seldom
writable. What the process has mapped and does not use at the start is added: the worker may grow to 512 MiB resident.
"""

import resource
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from schemas.domain.record import unpack
from tests.attack.attack import Attack, BrokenError
from tests.attack.ingress import LEGAL_BOMB_BYTES, bomb, send_flood, tiny_batches
from tests.attack.outputs import flip, grown_tenant
from tests.attack.target import PARTITIONS, Target
from tests.attack.wire import pipeline, request
from tests.support.installation import Process
from tests.support.load import tenant_load
from tests.support.raw_producer import RawProducer
from tests.support.resident import field_mib, peak_mib

LIMIT_MIB: Final = 512.0
_MIB: Final = 1 << 20
_LONG_SECONDS: Final = 300.0
_SHORT_SECONDS: Final = 10.0
_CATCH_UP_SECONDS: Final = 240.0
# What is folded again, a record at a time, must end some day: bombs and flips are on the log for a few rounds only.
_ROUNDS_ON_LOG: Final = 3


class Siege(NamedTuple):
    """What a worker went through: its peak, how many rounds of attacks, how many records it has folded."""

    peak_mib: float
    rounds: int
    records: int


def limit(process: Process, mib: float) -> None:
    """Let a process grow to so much resident memory, and no further."""
    unused = field_mib(process.pid, "VmSize") - field_mib(process.pid, "VmRSS")
    most = int((mib + unused) * _MIB)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))


async def besiege(target: Target, seconds: float) -> Siege:
    """Attack a worker under the limit for so long at least, then hold Redis against the plain fold.

    Raises:
        BrokenError: if the worker ended, ran out of memory, or holds anything else than the fold.
    """
    process, pid = target.worker, target.worker.pid
    limit(process, LIMIT_MIB)
    tenant = await grown_tenant(target)
    until, rounds = time.monotonic() + seconds, 0
    while not rounds or time.monotonic() < until:
        for attack in _round(target, tenant, rounds):
            await attack()
            if not process.running:
                raise BrokenError(f"the worker ended in round {rounds + 1}")
        rounds += 1
    await target.ingress_delay(_CATCH_UP_SECONDS)
    await target.installation.caught_up(_CATCH_UP_SECONDS)
    peak = peak_mib(pid)
    if "MemoryError" in (target.installation.directory / "worker.log").read_text():
        raise BrokenError(f"the worker ran out of its {LIMIT_MIB:g} MiB")
    return Siege(peak, rounds, await _equals_fold(target))


def _round(target: Target, tenant: str, number: int) -> list[Callable[[], Awaitable[object]]]:
    """Return the attacks of a round; each returns once it was sent."""
    topics = target.installation.settings.topics
    on_ingress = [bomb("gzip", 700 * _MIB), *[bomb("zstd", LEGAL_BOMB_BYTES)] * 12, *tiny_batches(50_000)]
    on_log = [bomb("gzip", LEGAL_BOMB_BYTES)] * 4

    async def send(topic: str, batches: list[bytes]) -> None:
        async with RawProducer(target.installation) as producer:
            await producer.send(topic, batches)

    async def load() -> None:
        now = time.time_ns() // 1_000_000
        await target.installation.write(
            tenant_load(number, 2_000, tenants=50, partitions=PARTITIONS, now=now, ids=f"{number}-")
        )

    attacks: list[Callable[[], Awaitable[object]]] = [
        load,
        lambda: send(topics.breakers, on_ingress),
        lambda: send_flood(target, target.tenant(), 5_000),
        lambda: pipeline(target.page, request("GET", "/"), seconds=2, reads=True),
        lambda: pipeline(target.page, request("GET", "/metrics"), seconds=2, reads=False),
    ]
    if number < _ROUNDS_ON_LOG:
        attacks += [lambda: send(topics.events, on_log), lambda: flip(target, tenant, 2)]
    return attacks


async def _equals_fold(target: Target) -> int:
    """Return how many records the log has.

    Raises:
        BrokenError: if Redis holds other records than their fold.
    """
    installation, count = target.installation, 0
    for partition, position in (await installation.applied()).items():
        plain = await installation.plain_fold(partition, position)
        stored = await installation.stored(partition)
        if {tenant: unpack(packed, plain.rules) for tenant, packed in stored.items()} != plain.records:
            raise BrokenError(f"partition {partition} is not the fold of its {position} records")
        count += position
    return count


async def _long(target: Target) -> float:
    siege = await besiege(target, _SHORT_SECONDS if target.short else _LONG_SECONDS)
    print(f"           {siege.rounds} rounds, {siege.records:,} records, equal to the fold", flush=True)
    return siege.peak_mib


ATTACKS: Final = (
    Attack("1-10", "a worker with 512 MiB under all of this", LIMIT_MIB, "MiB", _long, short=False, seconds=900),
)
