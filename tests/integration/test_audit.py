"""The audit, the dead letters, the partitions and the permissions on real services, as the API answers them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from tests.services import Kind, Namespace, Services
from tests.support.events import event_bytes
from tests.support.installation import ApiClient, Installation
from tests.support.records import Sent
from worker.ports import Output

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS = 4
TENANTS = [f"tenant-{number}" for number in range(12)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """One worker on four partitions that has applied something of every tenant, and rows that were written again."""
    directory: Path = tmp_path_factory.mktemp("audit")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as opened:
        opened.start("worker")
        for number in range(30):
            state = ("open", "half_open", "closed")[number % 3]
            await opened.write(_breaker(tenant, state, number) for tenant in TENANTS)
            if number == 15:
                await opened.caught_up()
                await _write_again(opened)
        await opened.write(_sleep(tenant) for tenant in TENANTS[:3])
        await opened.caught_up()
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(installation: Installation) -> ApiClient:
    """The API."""
    return await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')


async def _write_again(installation: Installation) -> None:
    """Append the latest rows of each partition once more, as a worker does that has died before its commit."""
    topic = installation.settings.topics.transitions
    for partition in range(PARTITIONS):
        records = await installation.read(topic, partition)
        again = [Output(record.key, record.value, record.headers) for record in records[-20:]]
        await installation.outputs.send(topic, partition, again)


def _breaker(tenant: str, state: str, number: int) -> Sent:
    data = {"breaker": "payments", "state": state}
    value = event_bytes(types.BREAKER, data, tenant, id_=f"{tenant}-{number}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


def _sleep(tenant: str) -> Sent:
    """A sleep that the fold refuses: it is longer than the policy allows."""
    data = {"operation_id": f"op-{tenant}", "target": "deep", "ttl_ms": 10**9, "actor": f"ops@{tenant}"}
    value = event_bytes(types.OPERATION, data, tenant, id_=f"sleep-{tenant}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


def _http(door: ApiClient, tenant: str, scope: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {door.token(tenant, scope)}"}
    return httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0)


async def _pages(client: httpx.AsyncClient, **query: str | int) -> list[dict[str, Any]]:
    """Every row of the audit that fits, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/api/audit", params={**query, **cursor})
        assert answer.status_code == httpx.codes.OK, answer.text
        page = answer.json()
        assert page["unreadable"] == 0
        rows += page["rows"]
        if page["cursor"] is None:
            return rows
        cursor = {"cursor": page["cursor"]}


async def test_the_audit_is_what_a_plain_fold_of_the_log_says(installation: Installation, door: ApiClient) -> None:
    """Of each tenant, the newest first, each row once, in pages of any size."""
    expected: dict[str, dict[str, Any]] = {}
    for partition, until in (await installation.applied()).items():
        plain = await installation.plain_fold(partition, until)
        expected |= {row["id"]: row for row in plain.transitions}
    assert await installation.length(installation.settings.topics.transitions) > len(expected)
    async with _http(door, "nobody", "sleep:operate") as client:
        for limit in (40, 1000):
            rows = await _pages(client, limit=limit)
            assert len(rows) == len({row["id"] for row in rows})
            assert {row["id"]: row for row in rows} == expected
    for tenant in TENANTS:
        async with _http(door, tenant, "sleep:read") as client:
            rows = await _pages(client, tenant=tenant, limit=20)
            own = [row for row in expected.values() if row["tenant"] == tenant]
            assert rows == sorted(own, key=lambda row: int(row["position"].split(":")[1]), reverse=True)
            refusals = await _pages(client, tenant=tenant, kind="refusal", actor=f"ops@{tenant}")
            assert [row["code"] for row in refusals] == ["ttl_out_of_range"] * (tenant in TENANTS[:3])


async def test_nobody_reads_the_audit_of_another(door: ApiClient) -> None:
    """Nor of all tenants, without the scope of an operator."""
    async with _http(door, TENANTS[0], "sleep:read sleep:read-any sleep:write") as client:
        for query in ({"tenant": TENANTS[1]}, {}):
            answer = await client.get("/api/audit", params=query)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        permissions = {each["action"]: each for each in (await client.get("/api/permissions")).json()["permissions"]}
        assert permissions["audit"] == {
            "action": "audit",
            "own_tenant": True,
            "any_tenant": False,
            "platform": False,
        }
        for path in ("/api/partitions", "/api/deadletters", "/api/history"):
            assert (await client.get(path)).status_code == httpx.codes.FORBIDDEN


async def test_dead_letters_are_listed_with_their_redrive(installation: Installation, door: ApiClient) -> None:
    """As the worker wrote them."""
    for number in range(5):
        await installation.write([Sent("acme", b"{" * (number + 1), partition_of("acme", PARTITIONS))])
    await installation.caught_up()
    async with _http(door, "nobody", "sleep:operate") as client:
        first = (await client.get("/api/deadletters", params={"limit": 2})).json()
        rest = (await client.get("/api/deadletters", params={"cursor": first["cursor"]})).json()
    listed = first["dead_letters"] + rest["dead_letters"]
    assert [each["size"] for each in listed] == [5, 4, 3, 2, 1]
    assert {(each["code"], each["key"]) for each in listed} == {("undecodable", "acme")}
    place = listed[0]["place"].split(":")
    assert listed[0]["redrive"] == f"sleepctl deadletters redrive --partition {place[0]} --offset {place[1]}"


class Cli:
    """A command of `sleepctl` that runs, and its lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, door: ApiClient, token: str, *arguments: str) -> "Cli":
        """Start the command."""
        environment = {**os.environ, "SLEEP_URL": door.url, "SLEEP_TOKEN": token}
        return cls(
            await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("sleepctl"),
                *arguments,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def document(self) -> dict[str, Any]:
        """Return the next line, as JSON."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        document: dict[str, Any] = json.loads(line)
        return document

    async def end(self) -> tuple[str, str]:
        """Return what is left of stdout and stderr."""
        async with asyncio.timeout(60):
            out, err = await self.process.communicate()
        return out.decode(), err.decode()


async def test_the_command_line_asks_who_slept_a_tenant(door: ApiClient) -> None:
    """All rows, and one kind; who may not is told so in a line."""
    own = door.token(TENANTS[0], "sleep:read")
    out, err = await (await Cli.start(door, own, "audit", TENANTS[0], "--limit", "0")).end()
    assert len(out.splitlines()) > 10
    assert err.endswith("rows; all that is kept was searched\n")
    out, _ = await (await Cli.start(door, own, "audit", TENANTS[0], "--kind", "refusal", "--from", "1h")).end()
    [line] = out.splitlines()
    assert line.endswith(f"{TENANTS[0]}  refused ttl_out_of_range  sleep, by ops@{TENANTS[0]}")
    refused = await Cli.start(door, own, "audit", TENANTS[1])
    assert "403 forbidden" in (await refused.end())[1]
    assert refused.process.returncode == 1


async def test_watch_says_when_it_is_live_and_misses_nothing_while_it_is_not(installation: Installation) -> None:
    """The API is killed, a tenant freezes meanwhile, and another API comes back at the same place."""
    door = await installation.open_door()
    watching = await Cli.start(door, door.token(TENANTS[4], "sleep:read"), "watch", TENANTS[4], "--json")
    try:
        first, live = await watching.document(), await watching.document()
        assert (first["event"], first["tenant"], live["event"]) == ("now", TENANTS[4], "live")
        number = 1_000
        for state, shown in (("closed", "active"), ("open", "freeze")):
            number += 1
            await installation.write([_breaker(TENANTS[4], state, number)])
            if first["state"] != shown:
                change = await watching.document()
                assert (change["event"], change["state"]) == ("change", shown)
                first = change
        door.process.kill()
        assert (await watching.document())["event"] == "not_live"
        await installation.write([_breaker(TENANTS[4], "closed", number + 1)])
        await installation.caught_up()
        again = await installation.open_door(SLEEP_API_PORT=door.url.rpartition(":")[2])
        try:
            while (document := await watching.document())["event"] == "not_live":
                pass
            assert (document["event"], document["before"], document["state"]) == ("change", "freeze", "active")
            assert (await watching.document())["event"] == "live"
        finally:
            await asyncio.to_thread(again.process.stop)
    finally:
        watching.process.send_signal(signal.SIGINT)
        _, err = await watching.end()
    assert "stopped by Ctrl-C" in err
    assert "Traceback" not in err


async def test_partitions_have_owners_and_no_lag(
    installation: Installation, services: Services, door: ApiClient
) -> None:
    """The embedded broker says nothing of owners, and the answer says so. History has begun."""
    await installation.caught_up()
    async with _http(door, "nobody", "sleep:operate") as client:
        async with asyncio.timeout(30):
            while True:
                document = (await client.get("/api/partitions")).json()
                if services.kind is Kind.EMBEDDED or all(each["owner"] for each in document["partitions"]):
                    break
                await asyncio.sleep(0.5)
        assert [(each["partition"], each["lag"], each["finding"]) for each in document["partitions"]] == [
            (number, 0, None) for number in range(PARTITIONS)
        ]
        assert (document["owners"] is None) == (services.kind is not Kind.EMBEDDED)
        began = time.monotonic()
        while not (history := (await client.get("/api/history")).json())["samples"]:
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.2)
        assert history["since"] == history["samples"][0]["at"]
        assert sum(history["samples"][-1]["counts"].values()) == len(TENANTS)
