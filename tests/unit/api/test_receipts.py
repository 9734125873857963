"""Receipts in Redis, by the scripts as they are: when one is written, and when one goes."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.adapters.dependency import UnavailableError
from api.adapters.redis_receipts import RedisReceipts
from api.commands.receipt import Receipt
from api.security.rate_limits import Payer
from schemas.kafka.partitioner import partition_of
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys
from schemas.redis import command_memory as remembered
from schemas.redis.command_memory import field_of
from schemas.wire.operation import REMEMBERED_MS
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.limited_redis import LimitedRedis

PARTITION = partition_of("acme", 8)
KEYS = PartitionKeys("sleep", PARTITION)
KEY = KEYS.receipt("acme", "op-1")
RECEIPT = Receipt("op-1", "acme", "mode", "deep", NOW, "ops@acme", "why", None)
PLACED = RECEIPT._replace(position="3:7")
TENANT, OPERATOR = Payer("tenant", "acme"), Payer("operator", "acme")
RECORD = outcome(type="mode", position=f"{PARTITION}:7", created_at=NOW, expires_at=None).without_texts()


@pytest.fixture
def limited() -> LimitedRedis:
    """A limiter and receipts over a fake Redis."""
    return LimitedRedis()


def remember(limited: LimitedRedis, ended: int = NOW) -> None:
    """Write the command's record, as the worker's commit does."""
    record = RECORD._replace(created_at=ended)
    limited.redis.hashes[KEYS.operations, field_of("acme", "op-1")] = remembered.pack(record, live=False)


# Before the command is published


async def test_a_receipt_is_kept_for_a_day_and_the_first_of_an_id_stays(limited: LimitedRedis) -> None:
    """Who wrote it is told."""
    assert await limited.receipts.put(RECEIPT)
    assert not await limited.receipts.put(RECEIPT._replace(reason="again"))
    assert (limited.redis.texts, limited.redis.lifetimes) == ({KEY: RECEIPT.pack()}, {KEY: RECEIPT_KEPT_MS})


async def test_a_tenant_pays_and_gets_its_receipt_in_one_round_trip(limited: LimitedRedis) -> None:
    """All windows and the receipt in one script."""
    verdict = await limited.limiter(sleep="2/second; 9/hour").spend(TENANT, "sleep", 1, RECEIPT)
    assert (verdict.violated, verdict.noted, limited.redis.round_trips) == (None, True, 1)
    assert [(status.quota.name, status.remaining, status.reset_seconds) for status in verdict.statuses] == [
        ("sleep-1s", 1, 1),
        ("sleep-3600s", 8, 3600),
    ]
    assert limited.redis.texts == {KEY: RECEIPT.pack()}
    assert limited.redis.lifetimes[KEY] == RECEIPT_KEPT_MS


async def test_a_request_that_brings_no_receipt_writes_none(limited: LimitedRedis) -> None:
    """A read, or a command whose caller waits."""
    verdict = await limited.limiter(any="2/minute").spend(TENANT, "sleep", 1)
    assert (verdict.noted, limited.redis.texts) == (False, {})


@pytest.mark.parametrize("payer", [TENANT, OPERATOR])
async def test_a_command_that_a_limit_refuses_gets_no_receipt(limited: LimitedRedis, payer: Payer) -> None:
    """Whole or not at all."""
    limiter = limited.limiter(sleep="1/minute")
    await limiter.spend(payer, "sleep", 1)
    refused = await limiter.spend(payer, "sleep", 1, RECEIPT)
    assert refused.violated is not None
    assert (refused.noted, limited.redis.texts) == (False, {})


@pytest.mark.parametrize("payer", [TENANT, OPERATOR])
async def test_a_payer_is_told_if_another_request_wrote_the_receipt(limited: LimitedRedis, payer: Payer) -> None:
    """A repeat under one key must not take the first one's away."""
    limiter = limited.limiter(any="9/minute")
    await limited.receipts.put(RECEIPT)
    assert not (await limiter.spend(payer, "sleep", 1, RECEIPT._replace(reason="again"))).noted
    assert limited.redis.texts == {KEY: RECEIPT.pack()}


@pytest.mark.parametrize("payer", [OPERATOR, Payer("subject", "acme"), Payer("tenant", "other")])
async def test_who_pays_for_another_tenant_writes_its_receipt_after_that(limited: LimitedRedis, payer: Payer) -> None:
    """On a cluster the payer's keys are elsewhere; the receipt is where the commit deletes it."""
    verdict = await limited.limiter(any="2/minute").spend(payer, "sleep", 1, RECEIPT)
    assert (verdict.noted, limited.redis.round_trips) == (True, 2)
    assert limited.redis.texts == {KEY: RECEIPT.pack()}


# After it


@pytest.mark.parametrize("receipt", [RECEIPT, PLACED])
async def test_a_command_without_a_record_gets_a_receipt(limited: LimitedRedis, receipt: Receipt) -> None:
    """In one round trip, for a day."""
    assert await limited.receipts.note(receipt) is None
    assert (limited.redis.texts, limited.redis.lifetimes) == ({KEY: receipt.pack()}, {KEY: RECEIPT_KEPT_MS})
    assert limited.redis.round_trips == 1


@pytest.mark.parametrize("receipt", [RECEIPT, PLACED])
async def test_a_command_with_a_record_gets_no_receipt(limited: LimitedRedis, receipt: Receipt) -> None:
    """Its commit has deleted the receipt, and no other commit would delete a later one. The record comes back."""
    remember(limited)
    assert await limited.receipts.note(receipt) == RECORD
    assert limited.redis.texts == {}


async def test_a_record_of_another_command_is_not_its_own(limited: LimitedRedis) -> None:
    """Of another tenant in the partition, or of another id."""
    remember(limited)
    assert await limited.receipts.note(RECEIPT._replace(operation_id="op-2")) is None


@pytest.mark.parametrize(("passed", "remembers"), [(REMEMBERED_MS - 1, True), (REMEMBERED_MS, False)])
async def test_a_record_that_the_log_has_forgotten_counts_for_none(
    limited: LimitedRedis, *, passed: int, remembers: bool
) -> None:
    """The id is a new command then; the old record may go before that one is folded, and a `GET` must find it."""
    remember(limited, NOW - passed)
    assert (await limited.receipts.note(PLACED) is not None) is remembers
    assert (limited.redis.texts == {}) is remembers


async def test_a_position_is_added_to_a_receipt_and_never_taken_away(limited: LimitedRedis) -> None:
    """Of a repeat whose acknowledgement was lost, the first one's position is still true."""
    await limited.receipts.put(RECEIPT)
    await limited.receipts.note(PLACED)
    assert limited.redis.texts == {KEY: PLACED.pack()}
    await limited.receipts.note(RECEIPT._replace(reason="again"))
    assert limited.redis.texts == {KEY: PLACED.pack()}


async def test_a_receipt_is_withdrawn_by_the_request_that_wrote_it(limited: LimitedRedis) -> None:
    """One that another request has replaced was promised by that one's 202."""
    await limited.receipts.put(RECEIPT)
    await limited.receipts.withdraw(RECEIPT)
    assert limited.redis.texts == {}
    await limited.receipts.note(PLACED)
    await limited.receipts.withdraw(RECEIPT)
    assert limited.redis.texts == {KEY: PLACED.pack()}


@pytest.mark.parametrize("call", [RedisReceipts.put, RedisReceipts.note, RedisReceipts.withdraw])
async def test_redis_away_is_told(
    limited: LimitedRedis, call: Callable[[RedisReceipts, Receipt], Awaitable[object]]
) -> None:
    """No answer is no receipt."""
    limited.redis.failure = RedisConnectionError("refused")
    with pytest.raises(UnavailableError, match="redis"):
        await call(limited.receipts, RECEIPT)


async def test_a_record_that_cannot_be_read_is_told(limited: LimitedRedis) -> None:
    """It is there, so no receipt is written either."""
    remember(limited)
    field = (KEYS.operations, field_of("acme", "op-1"))
    limited.redis.hashes[field] = limited.redis.hashes[field][:-1] + b"\0"
    with pytest.raises(UnavailableError, match="cannot be read"):
        await limited.receipts.note(RECEIPT)
    assert limited.redis.texts == {}
