"""Attacks on the API by what is in a request, beside its token. Each test is named for the attack."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any, ClassVar, Final

import httpx
import pytest
import structlog
from starlette.datastructures import Headers

from api.commands.operation_id import uuid7
from api.errors.problems import ProblemError
from api.http.bodies import MAX_BODY_BYTES, read_limited
from schemas.wire.events import OperationEvent
from tests.support.operations import outcome
from tests.support.random_bodies import BODIES, SLEEP, random_body
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

URL: Final = "/api/util/sleep"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("field", ["reason", "trace_id"])
@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b=c", "a\nb", "a\x00", "\x1b[31m", "a\x85"])
async def test_header_injection_by_a_field(api: ApiOverFakes, field: str, text: str) -> None:
    """A line break never gets as far as a header, a log line or an event."""
    response = await api.client.post(URL, json=SLEEP | {field: text})
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, [field])
    assert api.log.published == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "GZIP"])
async def test_a_compressed_body(api: ApiOverFakes, encoding: str) -> None:
    """A small one could unfold to gigabytes; none is taken."""
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = await api.client.post(URL, content=b"\x1f\x8b" + b"\x00" * 100, headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_a_compressed_body_behind_a_harmless_coding(api: ApiOverFakes) -> None:
    """Every header of the kind counts."""
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip"), ("Content-Type", "application/json")]
    response = await api.client.post(URL, content=b"{}", headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_a_chunked_body_without_end(api: ApiOverFakes) -> None:
    """It is read no further than the limit, and the connection is given up."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 8_192
            yield b" " * 8_192

    response = await api.client.post(URL, content=endless(), headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"
    assert sent <= MAX_BODY_BYTES + 2 * 8_192


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 30])
async def test_a_body_that_declares_itself_too_large_is_not_read(api: ApiOverFakes, length: str) -> None:
    """The declaration is enough."""

    async def never() -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk
        raise AssertionError("nothing is to be read")

    headers = {"Content-Length": length, "Content-Type": "application/json"}
    response = await api.client.post(URL, content=never(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_a_body_that_never_comes() -> None:
    """It is waited for no longer than the limit."""

    class Silent:
        headers = Headers()
        scope: ClassVar[dict[str, object]] = {}

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
async def test_probing_for_another_tenants_operations(api: ApiOverFakes, method: str, path: str) -> None:
    """Theirs and one that never was are answered alike, but for the request id."""
    api.store.outcomes["globex", "theirs"] = outcome(operation_id="theirs", tenant_id="globex")

    async def seen(operation_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        response = await api.client.request(method, path.format(operation_id))
        # The second request leaves one less.
        counting = {"x-request-id", "ratelimit"}
        headers = {name: value for name, value in response.headers.items() if name not in counting}
        return response.status_code, response.json() | {"instance": None}, headers

    assert await seen("theirs") == await seen("nobody")
    assert (await seen("theirs"))[0] == 404
    assert api.log.published == []


@pytest.mark.parametrize("header", ["Authorization", "X-Tenant-Id"])
async def test_two_of_a_header_that_says_who_calls(api: ApiOverFakes, header: str) -> None:
    """A proxy may look at the one and we at the other."""
    headers = [("Authorization", f"Bearer {token()}"), ("X-Tenant-Id", "acme")]
    headers.append(next(pair for pair in headers if pair[0] == header))
    # The client's own header would be a third.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://api") as client:
        response = await client.post(URL, json=SLEEP, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert api.log.published == []


async def test_a_traceparent_names_the_trace_of_a_command(api: ApiOverFakes) -> None:
    """W3C Trace Context, in the event and in the log line; a body's own `trace_id` goes first."""
    api.replies.answer = outcome()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with structlog.testing.capture_logs() as logs:
        await api.client.post(URL, json=SLEEP, headers=headers)
    await api.client.post(URL, json=SLEEP | {"trace_id": "mine"}, headers=headers)
    traces = [event.data.trace_id for event in api.log.events if isinstance(event, OperationEvent)]
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
async def test_a_traceparent_that_is_none_is_ignored(api: ApiOverFakes, value: str) -> None:
    """As the standard wants it."""
    api.replies.answer = outcome()
    response = await api.client.post(URL, json=SLEEP, headers={"traceparent": value})
    assert response.status_code == 200
    assert [event.data.trace_id for event in api.log.events if isinstance(event, OperationEvent)] == [None]


async def test_a_later_version_of_traceparent_is_read_as_far_as_it_is_known(api: ApiOverFakes) -> None:
    """With what it may have after the flags."""
    api.replies.answer = outcome()
    await api.client.post(URL, json=SLEEP, headers={"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-new"})
    assert [event.data.trace_id for event in api.log.events if isinstance(event, OperationEvent)] == [TRACE]


async def test_a_request_id_goes_through(api: ApiOverFakes) -> None:
    """So that a caller finds its request in our log; only a UUID, which `instance` can hold."""
    mine = str(uuid7(1, bytes(10)))
    response = await api.client.get("/nowhere", headers={"X-Request-Id": mine})
    assert (response.headers["x-request-id"], response.json()["instance"]) == (mine, f"urn:uuid:{mine}")
    other = await api.client.get("/nowhere", headers={"X-Request-Id": "' OR 1=1 --"})
    assert "OR" not in other.headers["x-request-id"] + other.text


async def test_a_wrong_method_is_told_all_the_right_ones(api: ApiOverFakes) -> None:
    """RFC 9110, section 15.5.6."""
    response = await api.client.patch("/api/brain/sleep_policy")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")
    response = await api.client.delete(URL)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_every_answer_carries_the_security_headers(api: ApiOverFakes) -> None:
    """Answers, problems, and what no route knows."""
    api.replies.answer = outcome()
    for response in [
        await api.client.post(URL, json=SLEEP),
        await api.client.post(URL, content=b"{"),
        await api.client.get("/api/brain/sleep_mode", headers={"Authorization": ""}),
        await api.client.get("/nowhere"),
        await api.client.get("/healthz"),
        await api.client.patch(URL),
    ]:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


@pytest.mark.parametrize("seed", range(10))
async def test_ten_thousand_random_bodies(api: ApiOverFakes, seed: int) -> None:
    """Never a 500; a refusal is a problem that says where, and publishes nothing. A tenth of them a seed."""
    random_ = random.Random(20_261_124 + seed)
    api.replies.answer = outcome()
    api.limiter.amount = 1_000_000
    statuses: dict[int, int] = {}
    with structlog.testing.capture_logs():
        for (method, path), _ in zip(cycle(BODIES), range(1_000), strict=False):
            before = len(api.log.published)
            headers = {
                "Content-Type": random_.choice(
                    ["application/json"] * 8 + ["application/cloudevents+json", "text/plain"]
                ),
                "If-Match": random_.choice(["*", '"0"', '"1", "2"']),
            }
            response = await api.client.request(method, path, content=random_body(random_), headers=headers)
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            if response.status_code not in {200, 202}:
                problem = response.json()
                assert response.status_code in {400, 412, 413, 415, 422}, problem
                assert problem["errors"] if response.status_code == 422 else problem["detail"]
                assert len(api.log.published) == before
    print(f"1,000 random bodies: {statuses}")
    assert statuses[422] > 100
