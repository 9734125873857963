"""A tenant with the largest record that there may be, of which every event shows a change: memory and log stay bounded.

Each of its states was published once: 2.1 GB for six requests of 64 KiB, and 2.8 GB of memory.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic_core import to_json

from schemas.domain.claim import MAX_BREAKER_BYTES
from schemas.domain.record import unpack
from schemas.kafka.partitioner import partition_of
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation, Process

pytestmark = pytest.mark.once

TENANT: Final = "loud"
WIDE: Final = "\N{BRAIN}"
_BODY_BYTES: Final = 65_000
_REQUESTS: Final = 6
_MOST_STATE_BYTES: Final = 256 * 1024
_MOST_LOG_BYTES: Final = 16 << 20
# A piece of 8 MiB, as values, as the producer's batches and as what is sent, and what is read meanwhile.
_MOST_GROWTH_BYTES: Final = 128 << 20


def _event(name: str, state: str, **data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": "e", "source": "s", "type": "sleep.breaker.v1", "subject": TENANT,
        "data": {"breaker": name, "state": state, **data},
    }  # fmt: skip


def _bodies(events: list[dict[str, Any]]) -> list[bytes]:
    """Return the events as bodies of requests, each as large as it may be."""
    bodies: list[bytes] = []
    batch: list[bytes] = []
    size = 2
    for event in map(to_json, events):
        if size + len(event) + 1 > _BODY_BYTES:
            bodies.append(b"[" + b",".join(batch) + b"]")
            batch, size = [], 2
        batch.append(event)
        size += len(event) + 1
    return [*bodies, b"[" + b",".join(batch) + b"]"]


async def _emit(door: ApiClient, bodies: list[bytes]) -> None:
    headers = {
        "Authorization": f"Bearer {door.token(TENANT, 'sleep:emit')}",
        "Content-Type": "application/cloudevents-batch+json",
    }
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=60.0) as client:
        for answer in await asyncio.gather(*(client.post("/api/breakers/events", content=body) for body in bodies)):
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text


def _memory(process: Process, what: str) -> int:
    """Return what the kernel says of a process's memory, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


@pytest.mark.timeout(400)
async def test_a_tenant_whose_record_is_as_large_as_it_may_be_costs_little(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """256 breakers with long names, causes of characters of 4 bytes, then requests that change one again and again."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as installation:
        worker = installation.start("worker")
        door = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
        names = ["flip", *(f"{number:03}{WIDE * 46}" for number in range(1, 256))]
        await _emit(door, _bodies([_event(name, "open") for name in names]))
        await installation.caught_up()
        await _emit(door, _bodies([_event(name, "half_open", cause=WIDE * 256) for name in names]))
        await installation.caught_up()
        before = _memory(worker, "VmRSS")

        flips = [_event("flip", state) for state in ("open", "half_open") * 2_000]
        bodies = _bodies(flips)[:_REQUESTS]
        assert len(bodies) == _REQUESTS
        await _emit(door, bodies)
        await installation.caught_up()
        assert worker.running
        growth = _memory(worker, "VmHWM") - before

        partition = partition_of(TENANT, 2)
        plain = await installation.plain_fold(partition, (await installation.applied())[partition])
        record = plain.records[TENANT]
        texts = [(claim.key, claim.reason or "") for claim in record.claims.values()]
        assert len(texts) == len(names)
        assert sum(len(text.encode()) for pair in texts for text in pair) <= MAX_BREAKER_BYTES
        assert unpack((await installation.stored(partition))[TENANT], plain.rules) == record

        topic = installation.settings.topics.states
        states = await installation.read(topic, partition)
        largest = max(len(state.value or b"") for state in states)
        appended = (await installation.ends(topic))[partition] * largest
        print(f"\nstates of up to {largest} bytes, {appended} on the log; {growth >> 20} MiB of memory at the peak")
        assert {state.key: state.value for state in states} == plain.states
        assert 80_000 < largest < _MOST_STATE_BYTES
        assert appended < _MOST_LOG_BYTES
        assert growth < _MOST_GROWTH_BYTES
