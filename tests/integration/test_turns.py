"""The API's turns at a real Redis: a server that hangs, and one that comes back, with more callers than connections."""

import asyncio

from pydantic import SecretStr

from api.adapters.dependency import UnavailableError
from api.adapters.redis_receipts import RedisReceipts
from api.adapters.redis_store import RedisStore, connect
from api.adapters.redis_turns import CALLER, PLACES
from api.commands.receipt import Receipt
from schemas.settings import Settings
from tests.services import Namespace, Services

CALLERS = 3 * PLACES


async def test_a_redis_that_hangs_is_said_and_each_answer_is_its_own_afterwards(
    services: Services, namespace: Namespace
) -> None:
    """Calls that were cut off leave nothing behind on a connection for the next one to read."""
    settings = Settings(
        kafka_bootstrap=services.kafka,
        redis_url=SecretStr(services.redis),
        redis_prefix=namespace.redis_prefix,
        partitions=4,
    )
    client = connect(settings, shared=True)
    store = RedisStore(client, settings.redis_prefix, settings.partitions)
    written = RedisReceipts(client, settings.redis_prefix, settings.partitions)
    receipts = [
        Receipt(f"op-{number}", f"tenant-{number}", "mode", "deep", number, "ops", None, None)
        for number in range(CALLERS)
    ]

    async def read(receipt: Receipt) -> object:
        CALLER.set(receipt.tenant_id)
        return await store.operation(receipt.tenant_id, receipt.operation_id)

    try:
        assert await asyncio.gather(*(written.put(receipt) for receipt in receipts)) == [True] * CALLERS
        assert await asyncio.gather(*map(read, receipts)) == receipts
        cut_off = [asyncio.create_task(read(receipt)) for receipt in receipts]
        await asyncio.sleep(0)
        with services.store.paused():
            answers = await asyncio.gather(*cut_off, *map(read, receipts), return_exceptions=True)
        away = [answer for answer in answers if isinstance(answer, UnavailableError)]
        assert len(away) >= CALLERS, "those that came while it hung, at least"
        assert all(answer in away or answer in receipts for answer in answers)
        for _ in range(3):
            assert await asyncio.gather(*map(read, receipts)) == receipts
    finally:
        await client.aclose()
