"""The Python client's emitter, a real API and a real worker: breakers that trip, restarts, one identity for many."""

import asyncio
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import pybreaker
import pytest

from sleep_client import Emitter, Status
from sleep_client.pybreaker import SleepListener
from sleepctl.io.signing_keys import TokenClaims
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

T = TypeVar("T")
PODS: Final = 24
CLIENT: Final = Path(__file__).resolve().parents[2] / "clients" / "python"
MOST_BEHIND_MS: Final = 4_000
"""A stamp is up to two seconds behind the server, and a request on a busy machine takes a while."""


async def read(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return a tenant as `GET sleep_mode` shows it to its client."""
    answer = await client.get("/api/brain/sleep_mode")
    assert answer.status_code == httpx.codes.OK, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.05)


async def until_state(client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    """Wait until a tenant has a state, and return it."""
    seen: dict[str, Any] = {}

    async def has_state() -> bool:
        seen.update(await read(client))
        return bool(seen["state"] == state)

    await until(has_state)
    return seen


def asleep(document: dict[str, Any]) -> set[str]:
    """Return the breakers and instances for which a tenant sleeps."""
    return {claim["key"] for claim in document["claims"] if claim["state"] != "active"}


async def in_threads(function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """Call a function that waits, for each of the arguments, some at a time."""
    with ThreadPoolExecutor(8) as pool:
        return await asyncio.to_thread(lambda: list(pool.map(function, *arguments)))


def fail() -> None:
    """Fail as a call of the payment provider does."""
    raise ConnectionError("refused")


def trip(breaker: pybreaker.CircuitBreaker) -> None:
    """Let a breaker of two failures open."""
    for error in (ConnectionError, pybreaker.CircuitBreakerError):
        with pytest.raises(error):
            breaker.call(fail)


async def test_a_real_breaker_that_trips_freezes_its_tenant(door: ApiClient) -> None:
    """The tenant wakes when the breaker closes, and when the service stops while the breaker is open."""
    emitter = Emitter(door.url, door.token("shop", "sleep:emit"), instance="pod-1")
    listener = SleepListener(emitter, tenant="shop")
    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0, name="payments", listeners=[listener])
    async with door.client("shop") as client:
        trip(breaker)
        seen = await until_state(client, "freeze")
        (claim,) = seen["claims"]
        assert (claim["key"], claim["reason"]) == ("payments@pod-1", "last failure: ConnectionError")
        assert -MOST_BEHIND_MS < claim["occurred_at"] - claim["since"] <= 0
        breaker.call(lambda: None)
        await until_state(client, "active")
        trip(breaker)
        await until_state(client, "freeze")
        assert await asyncio.to_thread(close, emitter)
        assert (await until_state(client, "active"))["cause"] == {"kind": "breaker", "key": "payments@pod-1"}
    # Half-open lasted for less than a request.
    assert emitter.dropped.keys() <= {"replaced"}


async def test_a_wrong_local_clock_does_no_harm(door: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event ten minutes ahead would be refused; one ten minutes behind would be older than the last."""
    real = time.time
    async with door.client("clock") as client:
        with Emitter(door.url, door.token("clock", "sleep:emit"), instance="pod-1") as emitter:
            for minutes, state, depth in (
                (10, "open", "freeze"),
                (-10, "half_open", "light"),
                (10, "closed", "active"),
            ):
                monkeypatch.setattr(time, "time", lambda minutes=minutes: real() + 60 * minutes)
                emitter.report("clock", "payments", state)
                await until_state(client, depth)


@pytest.mark.parametrize(("scope", "finding"), [("sleep:read", "sleep:emit"), (None, "check the token")])
async def test_a_wrong_token_is_said_at_the_start(
    door: ApiClient, caplog: pytest.LogCaptureFixture, scope: str | None, finding: str
) -> None:
    """In one line, without the token."""
    token = "wrong" if scope is None else door.token("acme", scope)
    with Emitter(door.url, token) as emitter:

        async def refused() -> bool:
            return emitter.status is Status.REFUSED

        await until(refused)
    (line,) = caplog.messages
    assert finding in line
    assert token not in line


def close(emitter: Emitter) -> bool:
    """Close an emitter, in more time than a busy machine takes; return whether all was sent."""
    return emitter.close(timeout_seconds=60)


def restart(url: str, token: str, tenant: str, old: Emitter, pod: int) -> Emitter:
    """Stop the process of a pod and start the next one, whose breaker opens too."""
    assert close(old)
    new = Emitter(url, token, instance=f"pod-{pod}-new")
    new.report(tenant, "payments", "open")
    return new


async def test_a_rolling_restart_leaves_no_claim_behind(door: ApiClient) -> None:
    """Each old process releases what it held; the tenant sleeps until the last new one closes."""
    tenant = f"roll-{secrets.token_hex(4)}"
    token = door.token(tenant, "sleep:emit")
    old = [Emitter(door.url, token, instance=f"pod-{pod}-old") for pod in range(PODS)]
    for emitter in old:
        emitter.report(tenant, "payments", "open")
    async with door.client(tenant) as client:

        async def held_by(age: str) -> bool:
            return asleep(await read(client)) == {f"payments@pod-{pod}-{age}" for pod in range(PODS)}

        await until(lambda: held_by("old"))
        new = await in_threads(restart, repeat(door.url), repeat(token), repeat(tenant), old, range(PODS))
        await until(lambda: held_by("new"))
        assert all(await in_threads(close, new))
        assert {reason for emitter in [*old, *new] for reason in emitter.dropped} == set()
        try:
            assert asleep(await until_state(client, "active")) == set()
        except TimeoutError:
            pytest.fail(f"not active: {await read(client)}")


async def test_one_identity_for_many_pods_stays_within_its_limits(installation: Installation) -> None:
    """Pods above the limit of a tenant wait as they are told. All reports arrive, and no pod is refused for good."""
    api = await installation.open_door(SLEEP_RATE_LIMITS='{"emit": "10/second"}')
    token = installation.key.token(TokenClaims(ISSUER, AUDIENCE, "pods", "sleep:emit-any", None, 3600))
    emitters = [Emitter(api.url, token, instance=f"pod-{pod}") for pod in range(PODS)]
    for emitter in emitters:
        emitter.report("fleet-a", "payments", "open")
        emitter.report("fleet-b", "payments", "open")
    async with api.client("fleet-a") as a, api.client("fleet-b") as b:

        async def all_arrived() -> bool:
            return [len(asleep(await read(client))) for client in (a, b)] == [PODS, PODS]

        await until(all_arrived)
        refused = refusals((await a.get("/metrics")).text)
    # A slow machine may stay below the limit by itself.
    assert refused.keys() <= {"429"}
    await in_threads(lambda emitter: emitter.close(release=False), emitters)
    assert {reason for emitter in emitters for reason in emitter.dropped} == set()


def refusals(metrics: str) -> Counter[str]:
    """Return how many reports were refused, by status."""
    pattern = r'^sleep_api_requests_total{.*route="/api/breakers/events",status="(4..)"} (.*)$'
    lines: list[tuple[str, str]] = re.findall(pattern, metrics, re.MULTILINE)
    return Counter({status: int(float(count)) for status, count in lines})


FORK: Final = """
import os, sys
from sleep_client import Emitter
emitter = Emitter(sys.argv[1], os.environ["SLEEP_TOKEN"])
emitter.report("fork", "of-parent", "open")
if (child := os.fork()) == 0:
    emitter.report("fork", "of-child", "open")
    os._exit(0 if emitter.close(release=False, timeout_seconds=30) else 3)
assert os.waitpid(child, 0)[1] == 0
assert emitter.close(release=False, timeout_seconds=30)
"""


async def test_parent_and_child_of_a_fork_report_what_is_theirs(door: ApiClient) -> None:
    """Under names of their own; the child sends nothing of its parent's."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FORK, door.url],
        env=os.environ | {"PYTHONPATH": str(CLIENT), "SLEEP_TOKEN": door.token("fork", "sleep:emit")},
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    async with door.client("fork") as client:

        async def both_arrived() -> bool:
            return len((await read(client))["claims"]) >= 2

        await until(both_arrived)
        names = sorted(asleep(await read(client)))
    assert [name.partition("@")[0] for name in names] == ["of-child", "of-parent"]
    assert len({name.partition("@")[2] for name in names}) == 2
