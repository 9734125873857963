"""A hundred thousand tenants listed over HTTP, from a real Redis, by a process whose memory stays as it is."""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace
from pydantic_core import from_json

from schemas.clock import now_ms
from schemas.domain.claim import Cause, Claim
from schemas.domain.decision import decide
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record, pack
from schemas.domain.state import LABELS, SleepState
from schemas.kafka.partitioner import partition_of
from schemas.redis.progress import ProgressUpdate
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation
from worker.ports import Commit

PARTITIONS: Final = 4
TENANTS: Final = 100_000
FROZEN_EVERY, OPEN_EVERY, DUE_EVERY = 100, 1_000, 50
MOST_GROWTH_KIB: Final = 64 * 1024
BATCH: Final = 10_000


def _packed(now: int, expires_at: int | None) -> bytes:
    """A record whose breaker is open until then."""
    claim = Claim("breaker", "payments@pod-1", None, "open", None, now, expires_at, None, "timeouts")
    record = replace(new_record(BUILT_IN_RULES, now), claims={("breaker", claim.key): claim}, offset=1)
    record, _ = decide(record, BUILT_IN_RULES.terms, now, Cause("breaker", claim.key))
    assert record.state is SleepState.freeze
    return pack(record, BUILT_IN_RULES.terms.schedule)


async def _fill(installation: Installation) -> dict[str, set[str]]:
    """Write the records as a worker does, and return the tenants of each sort."""
    now = now_ms()
    forms = {
        "awake": pack(new_record(BUILT_IN_RULES, now), BUILT_IN_RULES.terms.schedule),
        "frozen": _packed(now, now + 3_600_000),
        "open": _packed(now, None),
        "due": _packed(now - 10_000, now - 5_000),
    }
    sorts: dict[str, set[str]] = {sort: set() for sort in forms}
    by_partition: dict[int, list[tuple[str, str]]] = {}
    for number in range(TENANTS):
        tenant = f"tenant-{number}"
        sort = "awake"
        if number % OPEN_EVERY == 0:
            sort = "open"
        elif number % FROZEN_EVERY == 0:
            sort = "frozen"
        elif number % DUE_EVERY == 0:
            sort = "due"
        sorts[sort].add(tenant)
        by_partition.setdefault(partition_of(tenant, PARTITIONS), []).append((tenant, sort))
    for partition, members in by_partition.items():
        for first in range(0, len(members), BATCH):
            batch = members[first : first + BATCH]
            states = Counter("active" if sort == "awake" else "freeze" for _, sort in batch)
            records = {tenant: forms[sort] for tenant, sort in batch}
            open_ended = {tenant: True for tenant, sort in batch if sort == "open"}
            position = first // BATCH
            written = Commit(
                position,
                ProgressUpdate(next=position + 1, layout=None),
                records,
                count_changes=dict(states),
                open_ended=open_ended,
            )
            assert await installation.store.commit(partition, written)
    return sorts


async def _walk(client: httpx.AsyncClient, **query: str | int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every page, and every entry in them."""
    pages: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        asked = {**query, **({"cursor": cursor} if cursor else {})}
        answer = await client.get("/api/tenants", params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        entries += page.pop("tenants")
        pages.append(page)
        cursor = page["cursor"]
    return pages, entries


def _resident_kib(door: ApiClient) -> int:
    """How much memory the API's process has, in KiB; 0 where the system does not tell."""
    status = Path(f"/proc/{door.process.pid}/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def _names(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["tenant_id"] for entry in entries}


@pytest.mark.timeout(400)
async def test_a_hundred_thousand_tenants_are_listed_in_memory_that_does_not_grow(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Each is met, whatever the pages; those of a state and the open-ended ones are found; the numbers are right."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as installation:
        sorts = await _fill(installation)
        door = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
        headers = {"Authorization": f"Bearer {door.token('platform', 'sleep:operate')}"}
        async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0) as client:
            await client.get("/api/tenants", params={"limit": 1000})
            before = _resident_kib(door)
            began = time.perf_counter()
            pages, entries = await _walk(client, limit=1000)
            took = time.perf_counter() - began
            growth = _resident_kib(door) - before
            print(f"{len(entries)} entries in {len(pages)} pages, {took:.1f} s, {growth} KiB more than before")
            assert _names(entries) == set().union(*sorts.values())
            assert len(entries) < TENANTS * 1.05
            assert growth < MOST_GROWTH_KIB

            frozen = len(sorts["frozen"]) + len(sorts["open"]) + len(sorts["due"])
            counts = dict.fromkeys(LABELS, 0) | {"active": TENANTS - frozen, "freeze": frozen}
            assert all(page["counts"] == counts and page["open_ended"] == len(sorts["open"]) for page in pages)

            _, asleep = await _walk(client, state="freeze", limit=300)
            assert _names(asleep) == sorts["frozen"] | sorts["open"], "what fell due is awake, whoever has noticed"
            pages, without_end = await _walk(client, open_ended="true")
            assert _names(without_end) == sorts["open"]
            assert len(pages) < 20, "found by their own key"
            assert {entry["cause"]["key"] for entry in without_end} == {"payments@pod-1"}


async def test_only_an_operator_lists_tenants(services: Services, namespace: Namespace, tmp_path: Path) -> None:
    """With the shipped policy; a token without a tenant will do."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        door = await installation.open_door()
        async with door.client("acme") as client:
            assert (await client.get("/api/tenants")).status_code == 403
            headers = {"Authorization": f"Bearer {door.token('acme', 'sleep:operate')}"}
            answer = await client.get("/api/tenants", headers=headers)
        assert (answer.status_code, answer.json()["tenants"], answer.json()["cursor"]) == (200, [], None)


async def test_the_command_line_lists_them(services: Services, namespace: Namespace, tmp_path: Path) -> None:
    """All pages, through the same API."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        tenants = {f"tenant-{number}": _packed(now_ms(), None) for number in range(1_500)}
        open_ended = dict.fromkeys(tenants, True)
        written = Commit(
            0,
            ProgressUpdate(next=1, layout=None),
            tenants,
            count_changes={"freeze": len(tenants)},
            open_ended=open_ended,
        )
        assert await installation.store.commit(0, written)
        door = await installation.open_door()
        listing = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("sleepctl"),
            *("tenants", "--state", "freeze", "--open-ended", "--json", "--url", door.url),
            env={**os.environ, "SLEEP_TOKEN": door.token("platform", "sleep:operate")},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await listing.communicate()
    document = from_json(output)
    assert (listing.returncode, _names(document["tenants"])) == (0, set(tenants))
    assert (document["counts"]["freeze"], document["open_ended"]) == (len(tenants), len(tenants))
