"""The Python client's readers, a real API and a real worker: what they say is what the API says, also after outages."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from sleep_client import AsyncSleepReader, Change, NotReady, NotWatched, ReaderStatus, SleepReader, TenantState
from sleepctl.io.signing_keys import TokenClaims
from tests.support.events import event_bytes
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation
from tests.support.records import Sent

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS: Final = 4
CLIENT: Final = Path(__file__).resolve().parents[2] / "clients" / "python"
TENANTS: Final = [f"tenant-{number}" for number in range(12)]
SECONDS: Final = 120.0
"""How long anything may take on a busy machine."""


def breaker(tenant: str, state: str, number: int) -> Sent:
    """Return a breaker event of a tenant."""
    value = event_bytes(types.BREAKER, {"breaker": "payments", "state": state}, tenant, id_=f"{tenant}-{number}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)


def shows(state: TenantState, document: Mapping[str, Any]) -> bool:
    """Tell whether a reader's answer is that of the API; of a tenant that is not listed, nobody remembers the rest."""
    following = document["forecast"][0]["at"] if document["forecast"] else None
    same = (state.state, state.ends_at) == (document["state"], following)
    if state.since is None:
        return same and dict(state.parameters) == document["parameters"]
    cause = document["cause"] or {}
    return same and (state.since, state.cause) == (document["since"], (cause.get("kind"), cause.get("key")))


async def agree(door: ApiClient, readers: list[SleepReader | AsyncSleepReader]) -> bool:
    """Tell whether all readers say of each tenant what the API says."""
    headers = {"Authorization": f"Bearer {door.token('watcher', 'sleep:read-any')}"}
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0) as client:
        for tenant in TENANTS:
            answer = await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
            if answer.status_code != httpx.codes.OK:
                return False
            if not all(shows(reader.state(tenant), answer.json()) for reader in readers):
                return False
    return True


async def test_readers_end_equal_to_the_api_over_restarts(installation: Installation, door: ApiClient) -> None:
    """The API and the worker are killed while breakers trip. No reader goes back."""
    chance = random.Random(7)
    api = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
    token = api.token("watcher", "sleep:read-any")
    statuses: list[ReaderStatus] = []
    threaded = SleepReader(api.url, token, on_change=lambda change: statuses.append(change.status))
    async with AsyncSleepReader(api.url, token) as reader:
        await reader.wait_ready(SECONDS)
        await asyncio.to_thread(threaded.wait_ready, SECONDS)
        known: dict[str, int] = {}
        for number in range(60):
            await installation.write(
                breaker(tenant, chance.choice(["open", "half_open", "closed"]), number)
                for tenant in chance.sample(TENANTS, 5)
            )
            for tenant in TENANTS:
                since = reader.state(tenant).since or 0
                assert since == 0 or since >= known.get(tenant, 0), f"{tenant} goes back"
                known[tenant] = since
            if number == 20:
                api.process.kill()
            if number == 25:
                assert reader.status is ReaderStatus.STALE
                assert reader.state(TENANTS[0]).stale
                port = api.url.rpartition(":")[2]
                await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}', SLEEP_API_PORT=port)
            if number == 40:
                installation.processes[0].kill()
                installation.start("worker")
            await asyncio.sleep(0.05)
        await installation.caught_up()
        await until(lambda: agree(door, [reader, threaded]))
        assert (reader.status, threaded.status) == (ReaderStatus.READY, ReaderStatus.READY)
    assert threaded.close(SECONDS)
    assert ReaderStatus.STALE in statuses
    assert ReaderStatus.ERROR not in statuses


async def test_a_token_is_renewed_without_a_moment_of_stale(installation: Installation, door: ApiClient) -> None:
    """Each token lives for eight seconds; the second stream is open before the first one ends."""
    given: list[float] = []
    changes: list[Change] = []

    def token() -> str:
        given.append(time.monotonic())
        return installation.key.token(TokenClaims(ISSUER, AUDIENCE, "watcher", "sleep:read-any", None, 8))

    reader = SleepReader(door.url, token, on_change=changes.append)
    await asyncio.to_thread(reader.wait_ready, SECONDS)

    async def three_tokens() -> bool:
        return len(given) >= 3 and reader.status is ReaderStatus.READY

    await until(three_tokens)
    await installation.write([breaker("renewed", "open", 1)])

    async def frozen() -> bool:
        return reader.state("renewed").state == "freeze"

    await until(frozen)
    assert {change.status for change in changes} == {ReaderStatus.READY}
    assert await asyncio.to_thread(reader.close, SECONDS)


async def test_some_tenants_need_the_right_to_read_each(door: ApiClient) -> None:
    """A tenant's own token is enough for its own state."""
    own = door.token("acme", "sleep:read")
    async with AsyncSleepReader(door.url, own, tenants=["acme"]) as reader:
        await reader.wait_ready(SECONDS)
        assert reader.state("acme").state == "active"
        with pytest.raises(NotWatched):
            reader.state("globex")
    async with AsyncSleepReader(door.url, own, tenants=["acme", "globex"]) as reader:
        with pytest.raises(NotReady, match="globex"):
            await reader.wait_ready(SECONDS)


@pytest.mark.parametrize(
    ("path", "scope", "finding"),
    [
        ("", None, "check the token"),
        ("", "sleep:read", "sleep:read-any"),
        ("/elsewhere", "sleep:read-any", "check the URL"),
    ],
)
async def test_what_is_wrong_is_said_at_the_start(
    door: ApiClient, caplog: pytest.LogCaptureFixture, path: str, scope: str | None, finding: str
) -> None:
    """In one line and in the error of the wait, without the token."""
    token = "wrong-token" if scope is None else door.token("acme", scope)
    with SleepReader(door.url + path, token) as reader, pytest.raises(NotReady, match=finding) as error:
        await asyncio.to_thread(reader.wait_ready, SECONDS)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sleep_client"]
    assert finding in line
    assert token not in line + str(error.value)


async def test_a_wrong_local_clock_does_no_harm(
    installation: Installation, door: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes off either way, and set while the stream is lost: leases end by the log's time."""
    real = time.time
    api = await installation.open_door()
    token, client = api.token("watcher", "sleep:read-any"), door.client("clock")
    monkeypatch.setattr(time, "time", lambda: real() + 600)
    reader = SleepReader(api.url, token)
    await asyncio.to_thread(reader.wait_ready, SECONDS)
    async with client:
        answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 6})
        assert answer.status_code == httpx.codes.OK, answer.text

    async def asleep() -> bool:
        return reader.state("clock").state == "deep"

    await until(asleep)
    ends_at = reader.state("clock").ends_at
    assert ends_at is not None
    api.process.kill()
    monkeypatch.setattr(time, "time", lambda: real() - 600)

    async def awake() -> bool:
        return not await asleep()

    await until(awake)
    late = real() * 1000 - ends_at
    print(f"the sleep ended {late:.0f} ms after its forecast")
    assert reader.status is ReaderStatus.STALE
    assert reader.state("clock").stale
    assert -500 < late < 5_000
    assert await asyncio.to_thread(reader.close, SECONDS)


FORK: Final = """
import os, sys
from sleep_client import NotReady, ReaderStatus, SleepReader
reader = SleepReader(sys.argv[1], os.environ["SLEEP_TOKEN"])
reader.wait_ready(60)
if (child := os.fork()) == 0:
    try:
        reader.state("acme")
    except NotReady as error:
        with SleepReader(sys.argv[1], os.environ["SLEEP_TOKEN"]) as own:
            own.wait_ready(60)
            os._exit(0 if "before a fork" in str(error) and own.state("acme").state == "active" else 3)
    os._exit(4)
assert os.waitpid(child, 0)[1] == 0
assert reader.state("acme").state == "active" and reader.status is ReaderStatus.READY
assert reader.close(60)
"""


async def test_after_a_fork_the_child_opens_a_reader_of_its_own(door: ApiClient) -> None:
    """It is told so, and its parent goes on."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, door.url],
        env=os.environ | {"PYTHONPATH": str(CLIENT), "SLEEP_TOKEN": door.token("watcher", "sleep:read-any")},
        timeout=SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
