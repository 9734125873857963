"""Who pays: requests of one caller that use up what another one needs."""

import asyncio
from collections import Counter
from typing import Final

from pydantic_core import to_json

from tests.attack.attack import Attack
from tests.attack.target import EMIT, MODE, SLEEP, Target
from tests.attack.wire import ask, ask_all, bearer, request
from tests.support.installation import ApiClient

_READS: Final = 4_000
_SPENT: Final = 60
_OWN: Final = 10
_OK: Final = 200
_LIMITED: Final = 429
_WAKES: Final = 5
# Few enough that a test can use them up; what is not named has the same.
_SMALL: Final = {"SLEEP_RATE_LIMITS": '{"*": "30/minute", "read": "30/minute", "emit": "30/minute"}'}
_BATCH: Final = "application/cloudevents-batch+json"


async def _crowd(target: Target) -> float:
    """Return how many of 4,000 reads at once are neither served nor told to wait, or of another tenant's not served."""
    raw = request("GET", MODE, bearer(target.token(target.tenant(), "sleep:read")))
    crowd = asyncio.create_task(ask_all(target.door.url, [raw] * _READS))
    other = request("GET", MODE, bearer(target.token(target.tenant(), "sleep:read", "innocent")))
    innocent: Counter[int] = Counter()
    while not crowd.done():
        innocent[await ask(target.door.url, other)] += 1
        await asyncio.sleep(0.02)
    statuses = await crowd
    print(f"           of the crowd {dict(statuses)}, of the other tenant {dict(innocent)}", flush=True)
    refused = innocent.total() - innocent[_OK]
    return float(statuses.total() - statuses[_OK] - statuses[_LIMITED] + refused)


async def _small_door(target: Target) -> ApiClient:
    """Return a door with small budgets; the next restart leaves it, and the installation's end stops it."""
    if target.small is None or not target.small.process.running:
        target.small = await target.installation.open_door(**_SMALL)
        await target.works(target.small)
    return target.small


async def _spend(door: ApiClient, raw: bytes, count: int = _SPENT) -> Counter[int]:
    return Counter([await ask(door.url, raw) for _ in range(count)])


async def _dashboard(target: Target) -> float:
    """Return how many reads a tenant is refused after a dashboard has read it as often as it may."""
    door, tenant = await _small_door(target), target.tenant()
    token = target.token(target.tenant(), "sleep:read-any", "dashboard")
    await _spend(door, request("GET", MODE, bearer(token) | {"X-Tenant-Id": tenant}))
    own = request("GET", MODE, bearer(target.token(tenant, "sleep:read", "owner")))
    return float((await _spend(door, own, _OWN))[_LIMITED])


async def _wakes(door: ApiClient, token: str) -> float:
    """Return how many of five cancels and five modes `active` are refused for a budget."""
    cancel = request("DELETE", f"{SLEEP}/none", bearer(token))
    wake = request("POST", MODE, bearer(token), b'{"target_state":"active"}')
    refused = [(await _spend(door, raw, _WAKES))[_LIMITED] for raw in (cancel, wake)]
    return float(sum(refused))


async def _sleeps(target: Target) -> float:
    """Return how many requests that wake are refused after refused sleeps have used up the budget."""
    door, token = await _small_door(target), target.token(target.tenant(), "sleep:write")
    await _spend(door, request("POST", SLEEP, bearer(token), b'{"target_state":"deep","ttl_seconds":9999999}'))
    return await _wakes(door, token)


async def _modes(target: Target) -> float:
    door, token = await _small_door(target), target.token(target.tenant(), "sleep:write")
    await _spend(door, request("POST", MODE, bearer(token), b'{"target_state":"freeze"}'))
    return await _wakes(door, token)


async def _refusals(target: Target) -> float:
    """Return how many requests that wake are refused after bodies that are refused have used up any budget."""
    door, token = await _small_door(target), target.token(target.tenant(), "sleep:write")
    for body in (b"{", b'{"unknown":1}', b'{"target_state":"nowhere"}'):
        await _spend(door, request("POST", SLEEP, bearer(token), body))
    return await _wakes(door, token)


async def _emits(target: Target) -> float:
    """Return how many requests that wake are refused after events have used up the budget of emit."""
    door, tenant = await _small_door(target), target.tenant()
    fields = {"specversion": "1.0", "id": "1", "source": "u", "type": "sleep.breaker.v1", "subject": tenant}
    body = to_json([fields | {"data": {"breaker": "b", "state": "open"}}])
    headers = bearer(target.token(tenant, "sleep:emit")) | {"Content-Type": _BATCH}
    await _spend(door, request("POST", EMIT, headers, body))
    return await _wakes(door, target.token(tenant, "sleep:write"))


ATTACKS: Final = (
    Attack("6", "4,000 reads of one tenant at once", 0, "not served, and not told to wait", _crowd),
    Attack("7", "a dashboard that reads a tenant to the limit", 0, "of its own reads refused", _dashboard),
    Attack("7", "refused sleeps to the limit, then waking", 0, "refused", _sleeps),
    Attack("7", "modes to the limit, then waking", 0, "refused", _modes, short=False),
    Attack("7", "malformed bodies to the limit, then waking", 0, "refused", _refusals),
    Attack("7", "events to the limit, then waking", 0, "refused", _emits, short=False),
)
