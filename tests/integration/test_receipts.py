"""Receipts on real services: none for a prompt answer, one before each 202, and a 503 where Redis takes none."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio

from api.adapters.redis_receipts import RedisReceipts
from api.adapters.redis_store import connect
from api.commands.receipt import Receipt
from schemas.kafka.partitioner import partition_of
from schemas.names import PartitionKeys
from schemas.redis import command_memory as remembered
from tests.integration.conftest import settings_of
from tests.services import Client, Namespace, Services, redis_client
from tests.support.commits import EMPTY, OP
from tests.support.heard_redis import HeardRedis
from tests.support.installation import ApiClient, Installation
from tests.support.operations import outcome
from tests.support.times import NOW
from worker.adapters.redis_store import LaneStore
from worker.ports import Commit

PARTITIONS = 2
SLEEP = {"target_state": "deep", "ttl_seconds": 600}
URL = "/api/util/sleep"


class Heard(NamedTuple):
    """An API whose calls to Redis are heard, before a log that no worker reads unless a test starts one."""

    installation: Installation
    door: ApiClient
    redis: HeardRedis


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def heard(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Heard]:
    """One API before an empty log."""
    directory: Path = tmp_path_factory.mktemp("receipts")
    address = httpx.URL(services.redis)
    async with (
        HeardRedis.to(address.host, address.port or 6379) as redis,
        Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as installation,
    ):
        own = str(address.copy_with(host="127.0.0.1", port=redis.port))
        door = await installation.open_door(SLEEP_REDIS_URL=own)
        async with door.client("warm-up") as client:
            # Each script is sent once with its text.
            assert (await client.post(URL, json=SLEEP | {"async_mode": True})).status_code == 202
        yield Heard(installation, door, redis)


def _words(heard: Heard, tenant: str) -> list[tuple[str, bool]]:
    """Return the names of the commands about a tenant, each with whether it names a receipt."""
    return [
        (command[0].decode(), any(b":receipt:" in word for word in command)) for command in heard.redis.about(tenant)
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_asynchronous_command_has_its_receipt_with_its_cost(heard: Heard, services: Services) -> None:
    """One call before the publish, one for the position, and a `GET` right after the 202 finds the command."""
    async with heard.door.client("t-async") as client:
        answer = await client.post(URL, json=SLEEP | {"async_mode": True})
        assert answer.status_code == 202
        assert _words(heard, "t-async") == [("EVALSHA", True), ("EVALSHA", True)]
        keys = PartitionKeys(heard.installation.settings.redis_prefix, partition_of("t-async", PARTITIONS))
        redis = redis_client(services.redis)
        packed = await redis.get(keys.receipt("t-async", answer.json()["operation_id"]))
        await redis.aclose()
        assert Receipt.unpack(packed).position == answer.json()["position"]
        shown = await client.get(answer.headers["location"])
        assert (shown.status_code, shown.json()["status"], shown.json()["code"]) == (200, "accepted", None)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_wait_in_vain_has_its_receipt_before_the_202(heard: Heard) -> None:
    """And not before the publish. A `DELETE` of it publishes the cancel."""
    async with heard.door.client("t-late") as client:
        answer = await client.post(URL, json=SLEEP, headers={"Prefer": "wait=1"})
        assert answer.status_code == 202
        assert _words(heard, "t-late") == [("EVALSHA", False), ("EVALSHA", True), ("EVALSHA", True)]
        shown = await client.get(answer.headers["location"])
        assert (shown.status_code, shown.json()["status"]) == (200, "accepted")
        cancel = await client.delete(f"{URL}/{answer.json()['operation_id']}", headers={"Prefer": "respond-async"})
        assert cancel.status_code == 202


@pytest.mark.asyncio(loop_scope="module")
async def test_without_redis_at_the_end_of_the_wait_the_outcome_is_unknown(heard: Heard) -> None:
    """It went away after the limit. Once the command is folded, its location has the outcome."""
    async with heard.door.client("t-gone") as client:
        heard.redis.cut_after = b"t-gone"
        answer = await client.post(URL, json=SLEEP, headers={"Prefer": "wait=1"})
        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown"), answer.text
        heard.redis.mend()
        heard.installation.start("worker")
        async with asyncio.timeout(60):
            while (shown := await client.get(answer.headers["location"])).status_code != 200:
                assert shown.json()["code"] in {"unknown_operation", "redis_unavailable"}
                await asyncio.sleep(0.2)
        assert shown.json()["status"] == "running"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_that_is_answered_at_once_writes_no_receipt(heard: Heard) -> None:
    """Its limit is all that is asked of Redis, in one call."""
    async with heard.door.client("t-prompt") as client, asyncio.timeout(60):
        prompt = 0
        while prompt < 5:
            heard.redis.commands.clear()
            started = time.monotonic()
            answer = await client.post("/api/brain/sleep_mode", json={"target_state": "light"})
            # On a busy machine an answer may take longer, and then has a receipt.
            if answer.status_code == 200 and time.monotonic() - started < 0.2:
                assert _words(heard, "t-prompt") == [("EVALSHA", False)]
                prompt += 1


@pytest.mark.cluster
async def test_no_receipt_outlives_the_commit_of_its_command(
    real: LaneStore, redis: Client, services: Services, namespace: Namespace
) -> None:
    """Whichever of the two comes first, at a hundred attempts."""
    client = connect(settings_of(services, namespace))
    receipts = RedisReceipts(client, namespace.redis_prefix, 1)
    receipt = Receipt(OP[1], OP[0], "operation", "deep", NOW, "ops@acme", None, None, "0:7")
    packed = remembered.pack(outcome(position="0:7"), live=True)
    folded: Commit = EMPTY._replace(operations={OP: packed}, removed_receipts=[OP])
    try:
        for _ in range(100):
            await redis.delete(real.keys(0).operations, real.keys(0).progress)
            _, committed = await asyncio.gather(receipts.note(receipt), real.commit(0, folded))
            assert committed
            assert await redis.get(real.keys(0).receipt(*OP)) is None
            assert (await receipts.note(receipt)) == outcome(position="0:7")
    finally:
        await client.aclose()
