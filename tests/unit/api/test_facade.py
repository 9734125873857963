"""The short way through the application: which requests take it, and that it is not told from the other."""

import pytest
import structlog
from fastapi import FastAPI

from api.adapters.dependency import UnavailableError
from api.http.direct_route import DirectRequest
from tests.support.operations import outcome
from tests.unit.api.application import ApiOverFakes

HOT = [
    ("POST", "/api/util/sleep"),
    ("GET", "/api/brain/sleep_mode"),
    ("POST", "/api/brain/sleep_mode"),
    ("POST", "/api/breakers/events"),
]


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that the framework served."""
    paths: list[str] = []
    real = FastAPI.__call__

    async def noted(self: FastAPI, scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - ASGI
        paths.append(f"{scope['method']} {scope['path']}")
        await real(self, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", noted)
    return paths


@pytest.mark.parametrize(("method", "path"), HOT)
async def test_a_hot_request_takes_the_short_way(
    api: ApiOverFakes, long_way: list[str], method: str, path: str
) -> None:
    """Refused or not."""
    assert (await api.client.request(method, path)).status_code in {200, 400, 415}
    assert long_way == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/api/brain/sleep_mode"),
        ("PATCH", "/api/util/sleep"),
        ("GET", "/api/util/sleep/op-1"),
        ("GET", "/api/util/sleep/"),
        ("GET", "/healthz"),
        ("GET", "/api/tenants"),
    ],
)
async def test_any_other_request_takes_the_long_way(
    api: ApiOverFakes, long_way: list[str], method: str, path: str
) -> None:
    """With all middlewares."""
    await api.client.request(method, path)
    assert long_way == [f"{method} {path}"]


async def test_a_failure_of_ours_is_a_problem_and_a_traceback_in_the_log(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the long way."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.store, "tenant", fail)
    with structlog.testing.capture_logs() as logs:
        answer = await api.client.get("/api/brain/sleep_mode")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert [line["event"] for line in logs] == ["request_failed", "request"]
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)


async def test_an_outage_while_a_problem_is_counted_hides_no_problem(api: ApiOverFakes) -> None:
    """The refusal is told all the same."""
    api.replies.answer = outcome(refused=True, code="not_running")
    spend = api.limiter.spend

    async def away_later(payer, budget, cost, receipt=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as the real one
        if budget == "refused":
            raise UnavailableError("redis", "away")
        return await spend(payer, budget, cost, receipt)

    api.limiter.spend = away_later  # type: ignore[method-assign]
    answer = await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_running")


def test_headers_that_are_read_once_are_those_of_the_framework() -> None:
    """Whatever the case of a name, and however often a header is there."""
    raw = [(b"a", b"1"), (b"b", "é".encode("latin-1")), (b"a", b"2")]
    headers = DirectRequest({"type": "http", "headers": raw}).headers
    assert (headers.get("A"), headers.get("c"), headers.getlist("a"), headers.getlist("C")) == (
        "1",
        None,
        ["1", "2"],
        [],
    )
    assert ("B" in headers, "c" in headers, headers["b"]) == (True, False, "é")
    assert headers.items() == [("a", "1"), ("b", "é"), ("a", "2")]
