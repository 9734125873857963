"""One key, many callers, processes that die: one operation, one answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation, Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 2
CALLERS = 50
SLEEP = {"target_state": "deep", "ttl_seconds": 600}


class TwoApis:
    """Two API processes, and a worker that a test may kill."""

    def __init__(self, installation: Installation, apis: list[ApiClient]) -> None:
        self.installation = installation
        self.doors = apis
        self.worker: Process = installation.start("worker")

    async def audit(self, tenant: str) -> list[dict[str, Any]]:
        """Return the audit rows of a tenant."""
        records = await self.installation.read(
            self.installation.settings.topics.transitions, partition_of(tenant, PARTITIONS)
        )
        return [row for row in (from_json(record.value or b"") for record in records) if row["tenant"] == tenant]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_apis(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TwoApis]:
    """Two API processes before one worker, once a command has gone through."""
    directory: Path = tmp_path_factory.mktemp("idempotency")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as installation:
        two_apis = TwoApis(installation, [await installation.open_door() for _ in range(2)])
        async with asyncio.timeout(60), two_apis.doors[0].client("warm-up") as client:
            while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
                await asyncio.sleep(0.2)
        yield two_apis


async def _insist(door: ApiClient, tenant: str, key: str) -> dict[str, Any]:
    """Send a sleep until it is answered with its outcome, as a careful caller does: always under the same key."""
    async with door.client(tenant) as client, asyncio.timeout(90):
        while True:
            try:
                answer = await client.post("/api/util/sleep", json=SLEEP, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                # Ours was killed: the next one is as good.
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 200:
                document: dict[str, Any] = answer.json()
                return document
            assert answer.status_code in {202, 503}, answer.text
            await asyncio.sleep(0.2)


def _outcomes(rows: list[dict[str, Any]]) -> list[str]:
    """Return the operation of each outcome, once: what is emitted twice has the same id."""
    return [row["operation_id"] for row in {row["id"]: row for row in rows}.values() if row["kind"] == "outcome"]


async def test_fifty_callers_with_one_key_make_one_operation_and_get_equal_answers(two_apis: TwoApis) -> None:
    """At once, through two processes."""
    answers = await asyncio.gather(*(_insist(two_apis.doors[n % 2], "t-fifty", "k-1") for n in range(CALLERS)))
    assert answers == [answers[0]] * CALLERS
    assert _outcomes(await two_apis.audit("t-fifty")) == [answers[0]["operation_id"]]
    async with two_apis.doors[0].client("t-fifty") as client:
        [live] = (await client.get("/api/util/sleep")).json()["operations"]
    assert live == answers[0]


async def test_of_two_decisions_under_one_key_the_first_counts(two_apis: TwoApis) -> None:
    """Each caller hears what the log said to it, though both wait for the same id in the same process."""
    async with two_apis.doors[0].client("t-conflict") as client:
        headers = {"Idempotency-Key": "k-1"}
        answers = await asyncio.gather(
            *(
                client.post("/api/util/sleep", json=SLEEP | {"ttl_seconds": 100 + n % 2}, headers=headers)
                for n in range(20)
            )
        )
    by_status = {status: {a.text for a in answers if a.status_code == status} for status in (200, 422)}
    assert (len(by_status[200]), sum(a.status_code == 200 for a in answers)) == (1, 10)
    assert {a.json()["code"] for a in answers if a.status_code == 422} == {"idempotency_conflict"}
    assert len(_outcomes(await two_apis.audit("t-conflict"))) == 1


async def test_a_repeat_after_the_worker_was_killed_is_the_same_operation(two_apis: TwoApis) -> None:
    """`kill -9` while fifty wait; the next worker judges the repeats by what the first committed."""
    callers = [asyncio.create_task(_insist(two_apis.doors[n % 2], "t-worker", "k-1")) for n in range(CALLERS)]
    await asyncio.sleep(0.05)
    two_apis.worker.kill()
    two_apis.worker = two_apis.installation.start("worker")
    answers = await asyncio.gather(*callers)
    assert answers == [answers[0]] * CALLERS
    assert _outcomes(await two_apis.audit("t-worker")) == [answers[0]["operation_id"]]


async def test_a_repeat_through_another_process_is_the_same_operation(two_apis: TwoApis) -> None:
    """`kill -9` of an API while its callers wait: they come again through the other one."""
    dying, other = two_apis.doors

    async def caller(number: int) -> dict[str, Any]:
        door = dying if number % 2 else other
        async with door.client("t-api") as client:
            try:
                answer = await client.post("/api/util/sleep", json=SLEEP, headers={"Idempotency-Key": "k-1"})
            except httpx.TransportError:
                return await _insist(other, "t-api", "k-1")
        return answer.json() if answer.status_code == 200 else await _insist(other, "t-api", "k-1")

    callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
    await asyncio.sleep(0.05)
    dying.process.kill()
    answers = await asyncio.gather(*callers)
    assert answers == [answers[0]] * CALLERS
    assert _outcomes(await two_apis.audit("t-api")) == [answers[0]["operation_id"]]
