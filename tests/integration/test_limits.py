"""Rate limits on a real Redis: a hundred callers at once, and exactly as many pass as may."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from api.clock import now_ms
from api.door.limits import Payer, RedisLimiter, parse_limits
from api.read.store import connect
from schemas.settings import Settings
from tests.installation import Installation
from tests.services import Namespace, Services

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
    limits = parse_limits(settings)
    try:
        limiters = [RedisLimiter(client, settings.redis_prefix, limits, now_ms) for client in clients]
        tenants = [Payer("tenant", name) for name in ("acme", "other")]
        verdicts = await asyncio.gather(
            *(limiters[caller % 2].spend(tenant, "sleep", 1) for caller in range(CALLERS) for tenant in tenants)
        )
        for first in range(2):
            passed = [verdict for verdict in verdicts[first::2] if verdict.violated is None]
            assert len(passed) == LIMIT
        assert all(1 <= verdict.standings[0].reset_seconds <= 60 for verdict in verdicts)
        assert {verdict.standings[0].remaining for verdict in verdicts if verdict.violated} == {0}
        # A batch is one step too: of two fours at once in a budget of five, one passes.
        batches = await asyncio.gather(*(limiter.spend(tenants[0], "emit", 4) for limiter in limiters))
        assert sorted(verdict.violated is None for verdict in batches) == [False, True]
        (key,) = [key async for key in clients[0].scan_iter(f"{settings.redis_prefix}:limits:*/acme/emit/*")]
        assert 0 < await clients[0].ttl(key) <= 60
    finally:
        for client in clients:
            await client.aclose()


@pytest.mark.needs_kafka
async def test_a_flooding_tenant_is_held_at_the_door_and_locks_nobody_else_out(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Over HTTP through two API processes: the tenant's hundred, another tenant's one, and the operator's."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        limits = f'{{"*": "{LIMIT}/minute"}}'
        doors = await asyncio.gather(*(installation.open_door(SLEEP_RATE_LIMITS=limits) for _ in range(2)))
        clients = [door.client("acme") for door in doors]
        try:
            flood = [clients[caller % 2].get(READ) for caller in range(CALLERS)]
            operator = {"Authorization": f"Bearer {doors[0].token('platform', 'sleep:operate')}", "X-Tenant-Id": "acme"}
            other = {"Authorization": f"Bearer {doors[0].token('other')}"}
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


def _assert_told(answer: httpx.Response) -> None:
    assert answer.headers["RateLimit-Policy"] == f'"read";q={LIMIT};w=60'
    assert answer.headers["RateLimit"].startswith('"read";r=')
    if answer.status_code == 429:
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit"] == f'"read";r=0;t={answer.headers["Retry-After"]}'
        assert answer.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert answer.json()["violated-policies"] == ["read"]
