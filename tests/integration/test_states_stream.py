"""The stream of states on real services: a reader that hops between two API processes ends equal to the fold."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from tests.services import Namespace, Services
from tests.support.events import event_bytes
from tests.support.installation import ApiClient, Installation
from tests.support.records import Sent
from tests.support.sse import events
from tests.support.states_reader import StatesReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 4
URL = "/api/states/events"
TENANTS = [f"tenant-{number}" for number in range(30)]
SCHEDULE = {
    state: {"K": k, "t": 1.0, "tau": 0.1, "eta": 0.0, "lambda": 0.5, "B": 1.0}
    for state, k in (("active", 90), ("light", 50), ("deep", 20), ("freeze", 1))
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """One worker on four partitions."""
    directory: Path = tmp_path_factory.mktemp("states")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as opened:
        opened.start("worker")
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(installation: Installation) -> list[ApiClient]:
    """Two API processes."""
    return [await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}') for _ in range(2)]


def _breaker(tenant: str, state: str, number: int) -> Sent:
    data = {"breaker": "payments", "state": state}
    value = event_bytes(types.BREAKER, data, tenant, id_=f"{tenant}-{number}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


def _http(door: ApiClient, scope: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {door.token('watcher', scope)}"}
    return httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0)


async def _follow(reader: StatesReader, doors: list[ApiClient], chance: random.Random, done: asyncio.Event) -> None:
    """Follow the states over connections that are cut again and again, to one process or the other."""
    while True:
        leave_after = chance.randrange(20, 200)
        reader.connect()
        headers = {"Last-Event-ID": reader.last_id} if reader.last_id else {}
        async with _http(chance.choice(doors), "sleep:read-any") as client:
            with suppress(httpx.TransportError):
                async with client.stream("GET", URL, headers=headers) as response:
                    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                        await asyncio.sleep(0.2)
                        continue
                    assert response.status_code == httpx.codes.OK, await response.aread()
                    async for event in events(response):
                        before = dict(reader.records)
                        reader.take(event)
                        for tenant, record in reader.records.items():
                            known = before.get(tenant, record)
                            assert record["version"] >= known["version"], f"{tenant} goes backwards"
                        leave_after -= 1
                        if leave_after < 0 and not done.is_set():
                            break


async def test_a_reader_that_reconnects_ends_equal_to_what_the_api_answers(
    installation: Installation, doors: list[ApiClient]
) -> None:
    """While breakers open and close, the worker is killed, and the rules change. No tenant goes backwards."""
    chance = random.Random(11)
    await installation.write(_breaker(tenant, "open", 0) for tenant in TENANTS)
    await installation.caught_up()
    readers, done = [StatesReader() for _ in range(3)], asyncio.Event()
    following = [asyncio.create_task(_follow(reader, doors, chance, done)) for reader in readers]
    async with asyncio.timeout(100):
        while not all(reader.ready for reader in readers):
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in following)
        for number in range(1, 40):
            chosen = chance.sample(TENANTS, 8)
            states = ("open", "half_open", "closed")
            await installation.write(_breaker(tenant, chance.choice(states), number) for tenant in chosen)
            if number == 13:
                installation.processes[0].kill()
                installation.start("worker")
            if number == 26:
                rules = {"policy": {}, "schedule": SCHEDULE}
                data = {"rules": rules, "operation_id": "rules-1", "actor": "test"}
                value = event_bytes(types.RULES, data, None, id_="rules")
                await installation.write(Sent(None, value, partition) for partition in range(PARTITIONS))
            await asyncio.sleep(0.03)
        await installation.caught_up()
        done.set()
        async with _http(doors[0], "sleep:read-any") as client:
            for tenant in TENANTS:
                while True:
                    answer = (await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})).json()
                    read = [reader.state(tenant, answer["now"]) for reader in readers]
                    depths, parameters = {state for state, _ in read}, [values for _, values in read]
                    if depths == {answer["state"]} and parameters == [pytest.approx(answer["parameters"])] * 3:
                        break
                    await asyncio.sleep(0.1)
                    assert not any(task.done() for task in following)
    print([(reader.snapshots, reader.resets) for reader in readers])
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    assert all(reader.snapshots == 1 for reader in readers), "an id of one process resumes at the other"


async def test_some_tenants_are_followed_by_those_who_may_read_them(
    installation: Installation, doors: list[ApiClient]
) -> None:
    """One charge, and nothing of another tenant."""
    door = doors[0]
    async with asyncio.timeout(60), _http(door, "sleep:read-any") as client:
        async with client.stream("GET", URL, params={"tenants": "tenant-1,tenant-2"}) as response:
            reader = StatesReader()
            reader.connect()
            async for event in events(response):
                reader.take(event)
                if event.name == "ready":
                    await installation.write([_breaker(tenant, "forced_open", 99) for tenant in TENANTS[:3]])
                if {tenant for tenant, known in reader.records.items() if known["state"] == "freeze"} >= {
                    "tenant-1",
                    "tenant-2",
                }:
                    break
        assert reader.records.keys() == {"tenant-1", "tenant-2"}
    async with _http(door, "sleep:read") as client:
        answer = await client.get(URL, params={"tenants": "watcher,tenant-1"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert answer.json()["detail"].endswith(": tenant-1")
        assert (await client.get(URL)).status_code == httpx.codes.FORBIDDEN
