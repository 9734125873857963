"""How long a caller of the Python client's `state` waits, with 100,000 listed tenants, and the memory of those."""

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from docs.generator.reader_records import DEFAULTS, RULES, T, record_of
from schemas.domain.claim import Cause
from schemas.domain.schedule import Ramp
from schemas.kafka.partitioner import partition_of
from schemas.wire.tenant_view import encoded_state
from sleep_client.reading.intake import Changed, Intake
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.sse import EventParser
from sleep_client.reading.tenants import Tenants
from sleep_client.runtime.clock import seconds
from tests.benchmarks.figures import Figure, Latencies
from tests.services import Services
from tests.support.states_server import event

TENANTS: Final = 100_000
_CALLS: Final = 20_000
_PARTITIONS: Final = 4


async def reader(_services: Services, _directory: Path) -> list[Figure]:
    """Ask for one tenant again and again, for listed ones and for others at random, and inside of a ramp."""
    tenants, clock = Tenants(None, None), LogClock()
    intake, parser = Intake(tenants, clock, ParameterReader(), Changed(), ""), EventParser()
    before, spent = _resident_mib(), 0.0
    for data in _snapshot():
        begun = time.process_time()
        for each in parser.feed(data):
            intake.take(each, seconds())
        spent += time.process_time() - begun
    tenants.stale = False
    names = [f"tenant-{call * 7_919 % TENANTS:06d}" for call in range(_CALLS)]

    def ask(name: Callable[[int], str]) -> Callable[[int], object]:
        return lambda call: tenants.at(name(call), clock.at(seconds()))

    figures = [
        _measure("reader: state of one tenant", ask(lambda _: "tenant-000007")),
        _measure("reader: state of any of 100,000 listed tenants, first time", ask(lambda call: names[call])),
        _measure("reader: state of any of 100,000 listed tenants, again", ask(lambda call: names[call])),
        _measure("reader: state of a tenant that is not listed", ask(lambda _: "other-7")),
        _measure("reader: nothing, to compare", lambda _: None),
    ]
    for number in range(TENANTS):
        tenants.at(f"tenant-{number:06d}", clock.at(seconds()))
    gc.collect()
    taken = _resident_mib() - before
    clock.learn(T + 915_000, seconds())
    inside = [
        _measure("reader: state of one tenant inside of a ramp", ask(lambda _: "tenant-000007")),
        _measure("reader: state of any of 100,000 tenants inside of a ramp", ask(lambda call: names[call])),
    ]
    return [*figures, *inside, Figure("reader: snapshot of 100,000 tenants", more={"mib": taken, "cpu_s": spent})]


def _snapshot() -> Iterator[bytes]:
    """Yield a snapshot, an event at a time: each tenant has a time and a key of its own."""
    for partition in range(_PARTITIONS):
        rules = {"partition": partition, "partitions": _PARTITIONS, "position": None, "active": DEFAULTS[0].as_json()}
        yield event("rules", rules)
    record, terms = record_of("one breaker"), RULES[0].terms
    (claim,) = record.claims.values()
    for number in range(TENANTS):
        tenant, now, key = f"tenant-{number:06d}", T + number % 600, f"db@pod-{number}"
        own = replace(claim, key=key, since=now, expires_at=now + 900_000)
        ramp = Ramp(record.ramp.start, record.ramp.target, now, now)
        each = replace(
            record, since=now, at=now, offset=number, claims={("breaker", key): own}, ramp=ramp,
            cause=Cause("breaker", key),
        )  # fmt: skip
        value = encoded_state(tenant, partition_of(tenant, _PARTITIONS), each, terms)
        yield b"event: state\ndata: %s\n\n" % value
    yield event("ready", {"now": T + 1_000})


def _measure(name: str, call: Callable[[int], object]) -> Figure:
    milliseconds = []
    for number in range(_CALLS):
        begun = time.perf_counter()
        call(number)
        milliseconds.append((time.perf_counter() - begun) * 1000)
    latencies = Latencies.of(milliseconds)
    return Figure(name, more={"p50_us": latencies.p50 * 1000, "p99_us": latencies.p99 * 1000})


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024
