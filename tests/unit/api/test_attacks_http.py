"""Attacks on the door by what is in a request, beside its token. Each test is named for the attack."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any, Final

import httpx
import pytest
import structlog
from starlette.datastructures import Headers

from api.clock import uuid7
from api.describe.problems import ProblemError
from api.door.bodies import MAX_BODY_BYTES, read_limited
from schemas.events import OperationEvent
from tests.unit.api.conftest import World
from tests.unit.api.fakes import outcome, token

SLEEP: Final = {"target_state": "deep", "ttl_seconds": 60}
URL: Final = "/api/util/sleep"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
BODIES: Final = (
    ("POST", "/api/util/sleep"),
    ("POST", "/api/brain/sleep_mode"),
    ("PUT", "/api/brain/sleep_policy"),
    ("POST", "/api/brain/sleep_policy/preview"),
    ("POST", "/api/breakers/events"),
)


@pytest.mark.parametrize("field", ["reason", "trace_id"])
@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b=c", "a\nb", "a\x00", "\x1b[31m", "a\x85"])
async def test_header_injection_by_a_field(world: World, field: str, text: str) -> None:
    """A line break never gets as far as a header, a log line or an event."""
    response = await world.client.post(URL, json=SLEEP | {field: text})
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, [field])
    assert world.log.published == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "GZIP"])
async def test_a_compressed_body(world: World, encoding: str) -> None:
    """A small one could unfold to gigabytes; none is taken."""
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = await world.client.post(URL, content=b"\x1f\x8b" + b"\x00" * 100, headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_a_compressed_body_behind_a_harmless_coding(world: World) -> None:
    """Every header of the kind counts."""
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip"), ("Content-Type", "application/json")]
    response = await world.client.post(URL, content=b"{}", headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_a_chunked_body_without_end(world: World) -> None:
    """It is read no further than the limit, and the connection is given up."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 8_192
            yield b" " * 8_192

    response = await world.client.post(URL, content=endless(), headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"
    assert sent <= MAX_BODY_BYTES + 2 * 8_192


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 30])
async def test_a_body_that_declares_itself_too_large_is_not_read(world: World, length: str) -> None:
    """The declaration is enough."""

    async def never() -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk
        raise AssertionError("nothing is to be read")

    headers = {"Content-Length": length, "Content-Type": "application/json"}
    response = await world.client.post(URL, content=never(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_a_body_that_never_comes() -> None:
    """It is waited for no longer than the limit."""

    class Silent:
        headers = Headers()

        async def stream(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    with pytest.raises(ProblemError) as raised:
        await read_limited(Silent(), seconds=0)  # type: ignore[arg-type]
    assert raised.value.code == "request_timeout"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/operations/{}"), ("GET", "/api/util/sleep/{}"), ("DELETE", "/api/util/sleep/{}")],
)
async def test_probing_for_another_tenants_operations(world: World, method: str, path: str) -> None:
    """Theirs and one that never was are answered alike, but for the request id."""
    world.store.outcomes["globex", "theirs"] = outcome(operation_id="theirs", tenant_id="globex")

    async def seen(operation_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        response = await world.client.request(method, path.format(operation_id))
        # The second request leaves one less.
        counting = {"x-request-id", "ratelimit"}
        headers = {name: value for name, value in response.headers.items() if name not in counting}
        return response.status_code, response.json() | {"instance": None}, headers

    assert await seen("theirs") == await seen("nobody")
    assert (await seen("theirs"))[0] == 404
    assert world.log.published == []


@pytest.mark.parametrize("header", ["Authorization", "X-Tenant-Id"])
async def test_two_of_a_header_that_says_who_calls(world: World, header: str) -> None:
    """A proxy may look at the one and we at the other."""
    headers = [("Authorization", f"Bearer {token()}"), ("X-Tenant-Id", "acme")]
    headers.append(next(pair for pair in headers if pair[0] == header))
    # The client's own header would be a third.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://api") as client:
        response = await client.post(URL, json=SLEEP, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert world.log.published == []


async def test_a_traceparent_names_the_trace_of_a_command(world: World) -> None:
    """W3C Trace Context, in the event and in the log line; a body's own `trace_id` goes first."""
    world.replies.answer = outcome()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with structlog.testing.capture_logs() as logs:
        await world.client.post(URL, json=SLEEP, headers=headers)
    await world.client.post(URL, json=SLEEP | {"trace_id": "mine"}, headers=headers)
    traces = [event.data.trace_id for event in world.log.events if isinstance(event, OperationEvent)]
    assert traces == [TRACE, "mine"]
    assert logs[-1]["trace_id"] == TRACE


@pytest.mark.parametrize(
    "value",
    [
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"00-{TRACE}\r-00f067aa0ba902b7-01",
        "../../etc/passwd",
        "",
    ],
)
async def test_a_traceparent_that_is_none_is_ignored(world: World, value: str) -> None:
    """As the standard wants it."""
    world.replies.answer = outcome()
    response = await world.client.post(URL, json=SLEEP, headers={"traceparent": value})
    assert response.status_code == 200
    assert [event.data.trace_id for event in world.log.events if isinstance(event, OperationEvent)] == [None]


async def test_a_later_version_of_traceparent_is_read_as_far_as_it_is_known(world: World) -> None:
    """With what it may have after the flags."""
    world.replies.answer = outcome()
    await world.client.post(URL, json=SLEEP, headers={"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-new"})
    assert [event.data.trace_id for event in world.log.events if isinstance(event, OperationEvent)] == [TRACE]


async def test_a_request_id_goes_through(world: World) -> None:
    """So that a caller finds its request in our log; only a UUID, which `instance` can hold."""
    mine = str(uuid7(1, bytes(10)))
    response = await world.client.get("/nowhere", headers={"X-Request-Id": mine})
    assert (response.headers["x-request-id"], response.json()["instance"]) == (mine, f"urn:uuid:{mine}")
    other = await world.client.get("/nowhere", headers={"X-Request-Id": "' OR 1=1 --"})
    assert "OR" not in other.headers["x-request-id"] + other.text


async def test_a_wrong_method_is_told_all_the_right_ones(world: World) -> None:
    """RFC 9110, section 15.5.6."""
    response = await world.client.patch("/api/brain/sleep_policy")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, PUT")
    response = await world.client.delete(URL)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


async def test_every_answer_carries_the_security_headers(world: World) -> None:
    """Answers, problems, and what no route knows."""
    world.replies.answer = outcome()
    for response in [
        await world.client.post(URL, json=SLEEP),
        await world.client.post(URL, content=b"{"),
        await world.client.get("/api/brain/sleep_mode", headers={"Authorization": ""}),
        await world.client.get("/nowhere"),
        await world.client.get("/healthz"),
        await world.client.patch(URL),
    ]:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


@pytest.mark.parametrize("seed", range(4))
async def test_ten_thousand_random_bodies(world: World, seed: int) -> None:
    """Never a 500; a refusal is a problem that says where, and publishes nothing. A quarter of them a seed."""
    random_ = random.Random(20_261_124 + seed)
    world.replies.answer = outcome()
    world.limiter.amount = 1_000_000
    statuses: dict[int, int] = {}
    with structlog.testing.capture_logs():
        for (method, path), _ in zip(cycle(BODIES), range(2_500), strict=False):
            before = len(world.log.published)
            headers = {
                "Content-Type": random_.choice(
                    ["application/json"] * 8 + ["application/cloudevents+json", "text/plain"]
                ),
                "If-Match": random_.choice(["*", '"0"', '"1", "2"']),
            }
            response = await world.client.request(method, path, content=_body(random_), headers=headers)
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            if response.status_code not in {200, 202}:
                problem = response.json()
                assert response.status_code in {400, 412, 413, 415, 422}, problem
                assert problem["errors"] if response.status_code == 422 else problem["detail"]
                assert len(world.log.published) == before
    print(f"2,500 random bodies: {statuses}")
    assert statuses[422] > 250


def _body(random_: random.Random) -> bytes:
    """A body between sense and rubbish: random fields, values of all kinds, sometimes bytes turned."""
    names = [
        *SLEEP,
        "override",
        "async_mode",
        "reason",
        "trace_id",
        "floor",
        "ceiling",
        "breakers",
        "schedule",
        "extra",
    ]
    names += ["enforce", "max_ttl_seconds", "ramp_seconds", "specversion", "id", "source", "type", "subject", "data"]
    document: Any = {random_.choice(names): _value(random_, 3) for _ in range(random_.randrange(6))}
    if random_.random() < 0.3:
        document |= random_.choice([SLEEP, {"target_state": "deep"}, {"floor": "light"}])
    if random_.random() < 0.1:
        document = _value(random_, 3)
    body = bytearray(json.dumps(document, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass"))
    if random_.random() < 0.2 and body:
        body[random_.randrange(len(body))] = random_.randrange(256)
    return bytes(body)


def _value(random_: random.Random, depth: int) -> Any:  # noqa: ANN401, PLR0911 - any JSON, one case a kind
    kind = random_.randrange(10 if depth else 8)
    match kind:
        case 0 | 1:
            return random_.choice(
                ["active", "light", "deep", "freeze", "open", "", "*", "\u0000", "\ud800", "é", "a" * 300]
            )
        case 2 | 3:
            return random_.choice([0, 1, -1, 60, 1.5, 0.0001, 1e308, 10**400, -0.0, 2**63, float("nan"), float("inf")])
        case 4:
            return random_.random() < 0.5
        case 5:
            return None
        case 6 | 7:
            return random_.choice(["sleep.breaker.v1", "1.0", "acme", "globex", "2026-01-01T00:00:00Z"])
        case 8:
            return [_value(random_, depth - 1) for _ in range(random_.randrange(4))]
        case _:
            keys = ["match", "open", "half_open", "quorum", "lease_seconds", "deepen", "wake", "breaker", "state", "K"]
            return {random_.choice(keys): _value(random_, depth - 1) for _ in range(random_.randrange(4))}
