"""The Node client, a real API and a real worker: what it says is what the API says, also after outages."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx
import pytest

from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from sleepctl.io.signing_keys import TokenClaims
from tests.support.events import event_bytes
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation
from tests.support.node_program import NodeError, NodeProgram
from tests.support.records import Sent

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS: Final = 4
TENANTS: Final = [f"tenant-{number}" for number in range(12)]
SECONDS: Final = 120.0
"""How long anything may take on a busy machine."""
NO_LIMITS: Final = '{"*": "1000000/minute"}'


def breaker(tenant: str, state: str, number: int) -> Sent:
    """Return a breaker event of a tenant."""
    value = event_bytes(types.BREAKER, {"breaker": "payments", "state": state}, tenant, id_=f"{tenant}-{number}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)


async def status(program: NodeProgram, of: str = "reader") -> str:
    """Return the status of the reader or the emitter."""
    return str((await program.call("status"))[of])


async def state(program: NodeProgram, tenant: str) -> dict[str, Any]:
    """Return what the reader says of a tenant."""
    (answer,) = await program.call("states", tenants=[tenant])
    assert isinstance(answer, dict)
    return answer


async def until_state(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Wait until the API says that its caller's tenant has a state, and return what it says."""
    seen: dict[str, Any] = {}

    async def has_state() -> bool:
        answer = await client.get("/api/brain/sleep_mode")
        seen.update(answer.raise_for_status().json())
        return bool(seen["state"] == name)

    await until(has_state)
    return seen


def shows(answer: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Tell whether a reader's answer is that of the API; of a tenant that is not listed, nobody remembers the rest."""
    following = document["forecast"][0]["at"] if document["forecast"] else None
    same = (answer["state"], answer["endsAt"], answer["stale"]) == (document["state"], following, False)
    if answer["since"] is None:
        return bool(same and answer["parameters"] == document["parameters"])
    return bool(same and answer["since"] == document["since"] and answer["cause"] == document["cause"])


async def agrees(door: ApiClient, program: NodeProgram) -> bool:
    """Tell whether the reader says of each tenant what the API says."""
    headers = {"Authorization": f"Bearer {door.token('watcher', 'sleep:read-any')}"}
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0) as client:
        for tenant in TENANTS:
            answer = await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
            if answer.status_code != httpx.codes.OK or not shows(await state(program, tenant), answer.json()):
                return False
    return True


async def open_ready(program: NodeProgram, url: str, token: str | None, **options: Any) -> None:  # noqa: ANN401
    """Open a reader and wait until it is ready."""
    await program.call("openReader", url=url, token=token, options=options)
    await program.call("waitReady", seconds=SECONDS)


async def test_a_reader_ends_equal_to_the_api_over_restarts(installation: Installation, door: ApiClient) -> None:
    """The API and the worker are killed while breakers trip. The reader does not go back."""
    chance = random.Random(7)
    api = await installation.open_door(SLEEP_RATE_LIMITS=NO_LIMITS)
    async with NodeProgram.start() as program:
        await open_ready(program, api.url, api.token("watcher", "sleep:read-any"))
        known: dict[str, int] = {}
        for number in range(60):
            await installation.write(
                breaker(tenant, chance.choice(["open", "half_open", "closed"]), number)
                for tenant in chance.sample(TENANTS, 5)
            )
            for tenant, answer in zip(TENANTS, await program.call("states", tenants=TENANTS), strict=True):
                since = answer["since"] or 0
                assert since == 0 or since >= known.get(tenant, 0), f"{tenant} goes back"
                known[tenant] = since
            if number == 20:
                api.process.kill()
            if number == 25:
                assert await status(program) == "stale"
                assert (await state(program, TENANTS[0]))["stale"]
                await installation.open_door(SLEEP_RATE_LIMITS=NO_LIMITS, SLEEP_API_PORT=api.url.rpartition(":")[2])
            if number == 40:
                installation.processes[0].kill()
                installation.start("worker")
            await asyncio.sleep(0.05)
        await installation.caught_up()
        await until(lambda: agrees(door, program))
        assert await status(program) == "ready"
        statuses = {change[0] for change in await program.call("changes")}
        assert statuses == {"ready", "stale"}
        await program.call("closeReader")


async def test_a_token_is_renewed_without_a_moment_of_stale(installation: Installation, door: ApiClient) -> None:
    """Each token lives for eight seconds; the second stream is open before the first one ends."""
    given: list[float] = []

    def token() -> str:
        given.append(time.monotonic())
        return installation.key.token(TokenClaims(ISSUER, AUDIENCE, "watcher", "sleep:read-any", None, 8))

    async with NodeProgram.start(token=token) as program:
        await open_ready(program, door.url, None)

        async def three_tokens() -> bool:
            return len(given) >= 3 and await status(program) == "ready"

        await until(three_tokens)
        await installation.write([breaker("renewed", "open", 1)])

        async def frozen() -> bool:
            return bool((await state(program, "renewed"))["state"] == "freeze")

        await until(frozen)
        assert {change[0] for change in await program.call("changes")} == {"ready"}


async def test_some_tenants_need_the_right_to_read_each(door: ApiClient) -> None:
    """A tenant's own token is enough for its own state."""
    own = door.token("acme", "sleep:read")
    async with NodeProgram.start() as program:
        await open_ready(program, door.url, own, tenants=["acme"])
        assert (await state(program, "acme"))["state"] == "active"
        with pytest.raises(NodeError, match="NotWatched"):
            await state(program, "globex")
    async with NodeProgram.start() as program:
        with pytest.raises(NodeError, match=r"NotReady: .*globex"):
            await open_ready(program, door.url, own, tenants=["acme", "globex"])


@pytest.mark.parametrize(
    ("path", "scope", "finding"),
    [
        ("", None, "check the token"),
        ("", "sleep:read", "sleep:read-any"),
        ("/elsewhere", "sleep:read-any", "check the URL"),
    ],
)
async def test_what_is_wrong_is_said_at_the_start(door: ApiClient, path: str, scope: str | None, finding: str) -> None:
    """In one line and in the error of the wait, by reader and emitter, without the token."""
    token = "wrong-token" if scope is None else door.token("acme", scope)
    async with NodeProgram.start() as program:
        with pytest.raises(NodeError, match=finding) as error:
            await open_ready(program, door.url + path, token)
        ((level, line),) = await program.call("lines")
        assert (level, finding in line, token in line + str(error.value)) == ("error", True, False)
        await program.call("openEmitter", url=door.url + path, token=token, options={})

        async def refused() -> bool:
            return await status(program, "emitter") == "refused"

        await until(refused)
        _, (level, line) = await program.call("lines")
        assert (level, token in line) == ("error", False)


async def test_a_wrong_local_clock_does_no_harm_to_a_reader(installation: Installation, door: ApiClient) -> None:
    """Ten minutes off either way, and set while the stream is lost: leases end by the log's time."""
    api = await installation.open_door()
    async with NodeProgram.start(wrong_by_ms=600_000) as program, door.client("clock") as client:
        await open_ready(program, api.url, api.token("watcher", "sleep:read-any"))
        answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 6})
        assert answer.status_code == httpx.codes.OK, answer.text

        async def asleep() -> bool:
            return bool((await state(program, "clock"))["state"] == "deep")

        await until(asleep)
        ends_at = (await state(program, "clock"))["endsAt"]
        api.process.kill()
        await program.call("setClock", milliseconds=-600_000)

        async def awake() -> bool:
            return not await asleep()

        await until(awake)
        late = time.time() * 1000 - ends_at
        print(f"the sleep ended {late:.0f} ms after its forecast")
        assert await status(program) == "stale"
        assert -500 < late < 5_000


async def test_a_breaker_that_trips_freezes_its_tenant(door: ApiClient) -> None:
    """By the order of reports, with a local clock that is wrong. The tenant wakes when the process stops."""
    async with NodeProgram.start() as program, door.client("shop") as client:
        options = {"instance": "pod-1"}
        await program.call("openEmitter", url=door.url, token=door.token("shop", "sleep:emit"), options=options)
        for minutes, name, depth in ((10, "open", "freeze"), (-10, "halfOpen", "light"), (10, "CLOSED", "active")):
            await program.call("setClock", milliseconds=60_000 * minutes)
            await program.call("report", tenant="shop", breaker="payments", state=name, options={"cause": name})
            seen = await until_state(client, depth)
            if name == "open":
                (claim,) = seen["claims"]
                assert (claim["key"], claim["reason"]) == ("payments@pod-1", "open")
                # A stamp is up to two seconds behind the server, and a request on a busy machine takes a while.
                assert -4_000 < claim["occurred_at"] - claim["since"] <= 0
        await program.call("report", tenant="shop", breaker="payments", state="open")
        await until_state(client, "freeze")
        assert await program.call("closeEmitter", options={"timeoutSeconds": 60}) is True
        await until_state(client, "active")
        assert (await program.call("status"))["dropped"] == {}


async def test_reports_wait_while_the_api_is_away(installation: Installation, door: ApiClient) -> None:
    """The last state of each breaker arrives when it is back."""
    api = await installation.open_door()
    async with NodeProgram.start() as program, door.client("away") as client:
        await program.call("openEmitter", url=api.url, token=api.token("away", "sleep:emit"), options={"instance": "p"})

        async def ready() -> bool:
            return await status(program, "emitter") == "ready"

        async def away() -> bool:
            return await status(program, "emitter") == "away"

        await until(ready)
        api.process.kill()
        for name in ("open", "half_open", "closed", "open"):
            await program.call("report", tenant="away", breaker="payments", state=name)
            await program.call("report", tenant="away", breaker="mail", state="half_open")
        await until(away)
        await installation.open_door(SLEEP_API_PORT=api.url.rpartition(":")[2])
        seen = await until_state(client, "freeze")
        await until(ready)
        claims = {claim["key"]: claim["breaker_state"] for claim in seen["claims"]}
        assert claims == {"payments@p": "open", "mail@p": "half_open"}
