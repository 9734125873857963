"""The bounds of the door on real services: a crowd of one tenant, bodies that cost much, budgets that are used up."""

import asyncio
import json
import resource
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from api.http.json_bounds import MOST_MEMBERS
from api.security.in_flight import MOST_OF_SUBJECT
from tests.support.installation import ApiClient, Installation

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

CROWD: Final = 4_000
SLEEP, MODE = "/api/util/sleep", "/api/brain/sleep_mode"
UNKNOWN: Final = json.dumps({f"k{index}": 0 for index in range(6_200)}, separators=(",", ":"))
CONNECTIONS: Final = 8
ROUNDS: Final = 60


class Answer(NamedTuple):
    """An answer as it came over a connection of its own."""

    status: int
    head: str
    body: str


@contextmanager
def _many_files() -> Iterator[None]:
    """Allow this process a connection for each of the crowd, or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CROWD + 1_024
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this needs {wanted} open files, and the system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _crowd(door: ApiClient, request: bytes) -> list[Answer]:
    """Send a request over thousands of connections, all of which are open before the first one speaks."""
    parts = urlsplit(door.url)
    opened = []
    for _ in range(0, CROWD, 100):
        opened += await asyncio.gather(*(asyncio.open_connection(parts.hostname, parts.port) for _ in range(100)))

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        try:
            writer.write(request)
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            return Answer(int(head.split(" ", 2)[1]), head.lower(), body)
        finally:
            writer.close()

    return await asyncio.gather(*(ask(*streams) for streams in opened))


async def test_thousands_of_reads_of_one_tenant_cost_no_other_tenant_an_answer(door: ApiClient) -> None:
    """As many as may be in flight are served. Redis, which is idle, is never called away, for nobody."""
    token = door.token("crowded")
    request = f"GET {MODE} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with _many_files():
        async with door.client("other") as other:
            assert (await other.get(MODE)).status_code == 200
            flood = asyncio.create_task(_crowd(door, request))
            others: Counter[int] = Counter()
            while not flood.done():
                others[(await other.get(MODE)).status_code] += 1
                others[(await other.post(MODE, json={"target_state": "active"})).status_code] += 1
            answers = await flood
    statuses = Counter(answer.status for answer in answers)
    print(f"the crowd: {dict(statuses)}, another tenant meanwhile: {dict(others)}")
    assert set(statuses) <= {200, 429}, [answer for answer in answers if answer.status not in {200, 429}][:3]
    assert statuses[200] >= MOST_OF_SUBJECT
    for answer in answers:
        if answer.status == 429:
            assert "\r\nretry-after: " in answer.head
    # A command whose outcome takes longer than ten seconds is answered 202.
    assert set(others) <= {200, 202}


class _Line:
    """A connection that is kept, with a client that costs next to nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def open(cls, door: ApiClient) -> AsyncIterator["_Line"]:
        """Connect for the length of a block."""
        parts = urlsplit(door.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def ask(self, request: bytes) -> int:
        """Return the status with which a request is answered."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head.split(b" ", 2)[1])


def _request(door: ApiClient, tenant: str, method: str, path: str, body: str = "") -> bytes:
    # No scope at all where it posts: the policy would refuse it, were it asked.
    token = door.token(tenant, "sleep:read" if method == "GET" else "")
    return (
        f"{method} {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def _median(door: ApiClient, body: str) -> float:
    """Return how long another tenant's reads take while eight connections send a body, each again and again."""
    over = asyncio.Event()
    unwanted = _request(door, "anybody", "POST", SLEEP, body)

    async def send() -> None:
        async with _Line.open(door) as line:
            while not over.is_set():
                assert await line.ask(unwanted) == 422

    read = _request(door, "bystander", "GET", MODE)
    times: list[float] = []
    async with asyncio.TaskGroup() as senders, _Line.open(door) as line:
        for _ in range(CONNECTIONS):
            senders.create_task(send())
        for _ in range(ROUNDS):
            began = time.perf_counter()
            assert await line.ask(read) == 200
            times.append(time.perf_counter() - began)
        over.set()
    return statistics.median(times)


async def test_a_body_of_thousands_of_members_costs_about_what_a_small_one_costs(installation: Installation) -> None:
    """To another tenant, measured by its own reads; both bodies are refused before the policy is asked."""
    limits = '{"*": "9999999/minute"}'
    door = await installation.open_door(SLEEP_RATE_LIMITS=limits)
    small = await _median(door, json.dumps({"surprise": 1}))
    large = await _median(door, UNKNOWN)
    again = await _median(door, json.dumps({"surprise": 1}))
    print(f"p50 beside small bodies {small * 1e3:.1f} and {again * 1e3:.1f} ms, beside large ones {large * 1e3:.1f} ms")
    # Without the bounds: 20 times. To read 64 KiB from a socket is what is left.
    assert large < 4 * max(small, again)
    installation.processes.remove(door.process)
    await asyncio.to_thread(door.process.stop)


async def test_who_is_refused_too_often_is_refused_at_once_and_still_wakes(installation: Installation) -> None:
    """Through two processes: each finds out by one more refused request. What wakes passes in both."""
    limits = '{"refused": "5/minute", "sleep": "3/minute"}'
    apis = await asyncio.gather(*(installation.open_door(SLEEP_RATE_LIMITS=limits) for _ in range(2)))
    async with apis[0].client("clumsy") as first, apis[1].client("clumsy") as second:
        asleep = await first.post(SLEEP, json={"target_state": "light", "ttl_seconds": 60})
        assert asleep.status_code == 200, asleep.text
        members = {f"k{index}": 0 for index in range(MOST_MEMBERS + 1)}
        wrong: list[object] = [{}, members, {"x": 1}, [], 7]
        refused = [(await first.post(SLEEP, json=body)).status_code for body in wrong]
        assert refused == [422] * 5
        blocked = await first.post(SLEEP, json={"target_state": "light", "ttl_seconds": 60})
        assert (blocked.status_code, blocked.json()["violated-policies"]) == (429, ["refused"])
        assert 1 <= int(blocked.headers["Retry-After"]) <= 60
        assert [(await second.get(f"{MODE}?x=1")).status_code for _ in range(3)] == [422, 429, 429]
        cancelled = await second.delete(f"{SLEEP}/{asleep.json()['operation_id']}")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await first.post(MODE, json={"target_state": "active"})).status_code == 200
        assert (await first.post(MODE, json={"target_state": "light"})).status_code == 429
    for door in apis:
        installation.processes.remove(door.process)
        await asyncio.to_thread(door.process.stop)


async def test_sleeping_and_foreign_reads_use_up_neither_waking_nor_anothers_reads(installation: Installation) -> None:
    """A tenant at its limit of sleeps cancels them all; a dashboard over all tenants pays for itself."""
    door = await installation.open_door(SLEEP_RATE_LIMITS='{"sleep": "3/minute", "read": "4/minute"}')
    async with door.client("busy") as busy:
        body = {"target_state": "light", "ttl_seconds": 60}
        started = [await busy.post(SLEEP, json=body) for _ in range(5)]
        assert [answer.status_code for answer in started] == [200, 200, 200, 429, 429]
        for answer in started[:3]:
            assert (await busy.delete(f"{SLEEP}/{answer.json()['operation_id']}")).status_code == 200
        dashboard = {"Authorization": f"Bearer {door.token('panel', 'sleep:read-any')}", "X-Tenant-Id": "busy"}
        async with httpx.AsyncClient(base_url=door.url, headers=dashboard) as panel:
            assert [(await panel.get(MODE)).status_code for _ in range(5)] == [200] * 4 + [429]
        assert [(await busy.get(MODE)).status_code for _ in range(5)] == [200] * 4 + [429]
    installation.processes.remove(door.process)
    await asyncio.to_thread(door.process.stop)


async def test_what_the_log_must_refuse_is_not_in_the_log(door: ApiClient, installation: Installation) -> None:
    """A large invalid policy, whatever its version, and TTLs that no policy allows: refused, and no record of them."""
    rules = [{"match": "x" * 200, "open": "asleep"} for _ in range(32)]
    bodies: list[tuple[str, str, object]] = [
        ("PUT", "/api/brain/sleep_policy", {"breakers": rules}),
        ("POST", SLEEP, {"target_state": "light", "ttl_seconds": 0}),
        ("POST", MODE, {"target_state": "active", "ttl_seconds": 60}),
        ("POST", MODE, {"target_state": "deep", "override": True}),
    ]
    before = sum((await installation.ends()).values())
    async with door.client("formless") as client:
        for if_match in ("*", '"7"'):
            for method, path, body in bodies:
                response = await client.request(method, path, json=body, headers={"If-Match": if_match})
                assert (response.status_code, response.json()["code"]) in {
                    (422, "invalid_policy"),
                    (422, "ttl_out_of_range"),
                }
    assert sum((await installation.ends()).values()) == before
