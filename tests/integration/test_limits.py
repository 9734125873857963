"""Rate limits on a real Redis: a hundred callers at once, and exactly as many pass as may."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr

from api.adapters.redis_limiter import RedisLimiter
from api.adapters.redis_receipts import RedisReceipts
from api.adapters.redis_store import connect
from api.security.rate_limits import Payer, parse_limits
from schemas.redis.client import RedisClient
from schemas.settings import Settings
from tests.services import Namespace, Services
from tests.support.installation import Installation

CALLERS = 100
LIMIT = 5
READ = "/api/brain/sleep_mode"


@pytest.mark.cluster
async def test_of_a_hundred_callers_at_once_exactly_five_pass(services: Services, namespace: Namespace) -> None:
    """Through two clients that know nothing of each other, as two processes are."""
    settings = Settings(
        kafka_bootstrap=services.kafka,
        redis_url=SecretStr(services.redis),
        redis_prefix=namespace.redis_prefix,
        rate_limits={"*": f"{LIMIT}/minute"},
    )
    clients = [connect(settings) for _ in range(2)]
    try:
        limiters = [_limiter(client, settings) for client in clients]
        tenants = [Payer("tenant", name) for name in ("acme", "other")]
        verdicts = await asyncio.gather(
            *(limiters[caller % 2].spend(tenant, "sleep", 1) for caller in range(CALLERS) for tenant in tenants)
        )
        for first in range(2):
            passed = [verdict for verdict in verdicts[first::2] if verdict.violated is None]
            assert len(passed) == LIMIT
        assert all(1 <= verdict.statuses[0].reset_seconds <= 60 for verdict in verdicts)
        assert {verdict.statuses[0].remaining for verdict in verdicts if verdict.violated} == {0}
        # A batch is one step too: of two fours at once in a budget of five, one passes.
        batches = await asyncio.gather(*(limiter.spend(tenants[0], "emit", 4) for limiter in limiters))
        assert sorted(verdict.violated is None for verdict in batches) == [False, True]
        # Given back, there is room for as much again, and no more.
        await limiters[0].refund(tenants[0], "emit", 4)
        again = [await limiter.spend(tenants[0], "emit", 5) for limiter in limiters]
        assert [verdict.violated is None for verdict in again] == [True, False]
        (key,) = [key async for key in clients[0].scan_iter(f"{{{namespace.redis_prefix}:*}}:limit:emit:60:acme")]
        assert 0 < await clients[0].ttl(key) <= 60
    finally:
        for client in clients:
            await client.aclose()


@pytest.mark.cluster
async def test_limits_count_on_redis_clock(
    services: Services, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is two hours ahead, or behind, gets no budget of its own and takes none of others."""
    settings = Settings(
        kafka_bootstrap=services.kafka,
        redis_url=SecretStr(services.redis),
        redis_prefix=namespace.redis_prefix,
        rate_limits={"*": "3/minute"},
    )
    client = connect(settings)
    limiter, payer = _limiter(client, settings), Payer("tenant", "acme")
    try:
        passed = []
        for skew in (7_200, 0, -45, 7_200, -7_200):
            monkeypatch.setattr(
                "limits.aio.storage.redis.redispy.time", SimpleNamespace(time=lambda skew=skew: time.time() + skew)
            )
            verdict = await limiter.spend(payer, "sleep", 1)
            passed.append(verdict.violated is None)
            assert 50 < verdict.statuses[0].reset_seconds <= 60
        assert passed == [True, True, True, False, False]
        batch = await limiter.spend(payer, "sleep", 2)
        assert batch.violated is not None
        assert 50 < batch.violated.reset_seconds <= 60
    finally:
        await client.aclose()


async def test_a_flooding_tenant_is_held_at_the_door_and_locks_nobody_else_out(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Over HTTP through two API processes: the tenant's hundred, another tenant's one, and the operator's."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        limits = f'{{"*": "{LIMIT}/minute"}}'
        apis = await asyncio.gather(*(installation.open_door(SLEEP_RATE_LIMITS=limits) for _ in range(2)))
        clients = [door.client("acme") for door in apis]
        try:
            flood = [clients[caller % 2].get(READ) for caller in range(CALLERS)]
            operator = {"Authorization": f"Bearer {apis[0].token('platform', 'sleep:operate')}", "X-Tenant-Id": "acme"}
            other = {"Authorization": f"Bearer {apis[0].token('other')}"}
            *answers, of_operator, of_other = await asyncio.gather(
                *flood, clients[0].get(READ, headers=operator), clients[1].get(READ, headers=other)
            )
        finally:
            for client in clients:
                await client.aclose()
        assert (of_operator.status_code, of_other.status_code) == (200, 200), (of_operator.text, of_other.text)
        assert Counter(answer.status_code for answer in answers) == {200: LIMIT, 429: CALLERS - LIMIT}
        for answer in answers:
            _assert_told(answer)


def _limiter(client: RedisClient, settings: Settings) -> RedisLimiter:
    of_installation = (client, settings.redis_prefix, settings.partitions)
    return RedisLimiter(*of_installation, parse_limits(settings), RedisReceipts(*of_installation))


def _assert_told(answer: httpx.Response) -> None:
    assert answer.headers["RateLimit-Policy"] == f'"read";q={LIMIT};w=60'
    assert answer.headers["RateLimit"].startswith('"read";r=')
    if answer.status_code == 429:
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit"] == f'"read";r=0;t={answer.headers["Retry-After"]}'
        assert answer.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert answer.json()["violated-policies"] == ["read"]
