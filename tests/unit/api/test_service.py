"""Health, version, metrics, documentation, and what holds for every answer."""

import asyncio
import platform
import re
from typing import get_args

import pytest
import structlog

from api.adapters.dependency import Dependency, UnavailableError
from api.errors.catalog import KINDS, REFUSALS
from api.http.middleware import SECURITY_HEADERS
from api.observability.lag import STALLED_MS, Lag
from api.observability.status import Status
from schemas.redis.health import RedisHealth
from schemas.wire.operation import RefusalCode
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.endpoints import ENDPOINTS, Endpoint
from tests.unit.api.fakes import FakeClock, unasked_redis


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        ("", "Bearer"),
        ("Basic b3BzOnNlY3JldA==", "Bearer"),
        ("Bearer x", 'Bearer error="invalid_token", error_description="the token is malformed"'),
    ],
)
async def test_without_a_token_nothing_is_done(
    api: ApiOverFakes, endpoint: Endpoint, authorization: str, challenge: str
) -> None:
    """401 with a challenge, before the body is looked at."""
    headers = {"Authorization": authorization}
    response = await api.client.request(endpoint.method, endpoint.path, content=b"{", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge
    assert response.headers["content-type"] == "application/problem+json"
    assert api.authoriser.questions == []


@pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in ENDPOINTS if endpoint.operation_id != "listPermissions"], ids=str
)
async def test_without_policys_consent_no_route_answers(api: ApiOverFakes, endpoint: Endpoint) -> None:
    """403 everywhere."""
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    headers = {"If-Match": "*"}
    response = await api.client.request(endpoint.method, endpoint.path, json=endpoint.body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert api.log.published == []


async def test_another_tenant_is_named_by_a_header(api: ApiOverFakes) -> None:
    """The policy judges it against the token's."""
    response = await api.client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": "globex"})
    assert response.json()["tenant_id"] == "globex"
    assert api.authoriser.questions[0][1:3] == ("globex", "acme")


@pytest.mark.parametrize("tenant", ["", "a/b", "a{b}", "a" * 129, "a b"])
async def test_a_header_that_names_no_tenant_is_refused(api: ApiOverFakes, tenant: str) -> None:
    """422 names the header."""
    response = await api.client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "X-Tenant-Id")
    assert api.authoriser.questions == []


async def test_a_token_without_a_tenant_needs_the_header(api: ApiOverFakes) -> None:
    """422 without it, and with it the policy knows that the token has none."""
    headers = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}
    response = await api.client.get("/api/brain/sleep_mode", headers=headers)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "X-Tenant-Id")
    await api.client.get("/api/brain/sleep_mode", headers=headers | {"X-Tenant-Id": "acme"})
    assert api.authoriser.questions[0][1:3] == ("acme", None)


async def test_keys_that_cannot_be_read_are_503(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 401: the token may be good."""

    async def away(_: str) -> None:
        raise UnavailableError("jwks", "refused")

    monkeypatch.setattr(api.services.verifier, "verify", away)
    response = await api.client.get("/api/brain/sleep_mode")
    assert (response.status_code, response.json()["code"]) == (503, "jwks_unavailable")


async def test_healthz_says_that_the_process_answers(api: ApiOverFakes) -> None:
    """Without a token, whatever else is wrong."""
    api.client.headers.pop("Authorization")
    assert (await api.client.get("/healthz")).json() == {"status": "alive"}


async def test_readyz_does_not_look_at_dependencies(api: ApiOverFakes) -> None:
    """503 only while starting and stopping."""
    assert (await api.client.get("/readyz")).status_code == 503
    await api.services.status.begin()
    api.dependencies[1].mark_down("refused")
    assert (await api.client.get("/readyz")).status_code == 200
    api.services.status.end()
    assert (await api.client.get("/readyz")).status_code == 503


async def test_the_process_is_ready_when_each_dependency_was_tried() -> None:
    """The last one counts, and a failed attempt is one."""
    tried, untried = Dependency("kafka"), Dependency("redis")
    tried.mark_up()
    status = Status([tried, untried], Lag(), FakeClock(), unasked_redis())
    starting = asyncio.create_task(status.begin())
    await asyncio.sleep(0)
    assert not status.ready
    untried.mark_down("refused")
    await starting
    assert status.ready


async def test_a_dependency_that_hangs_does_not_keep_the_process_from_being_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readiness waits for the first attempts, but not for ever."""
    monkeypatch.setattr("api.observability.status.STARTING_SECONDS", 0)
    status = Status([Dependency("kafka")], Lag(), FakeClock(), unasked_redis())
    await status.begin()
    assert status.ready
    assert status.began.is_set()


async def test_status_shows_each_dependency_with_its_finding(api: ApiOverFakes) -> None:
    """200 while all answer, 503 if one does not."""
    response = await api.client.get("/status")
    assert (response.status_code, response.json()["status"]) == (200, "ok")
    api.dependencies[0].mark_down("the topic sleep.events has 4 partitions and SLEEP_PARTITIONS is 8")
    response = await api.client.get("/status")
    assert (response.status_code, response.json()["status"]) == (503, "bad")
    assert response.json()["dependencies"] == {
        "kafka": {
            "up": False,
            "finding": "the topic sleep.events has 4 partitions and SLEEP_PARTITIONS is 8",
        },
        "redis": {"up": True, "finding": "answers"},
    }


async def test_status_shows_how_redis_is_run(api: ApiOverFakes) -> None:
    """What takes records away is bad though Redis answers; what only costs time is a warning."""
    watch = api.services.status.redis
    watch.health = RedisHealth(warnings=("the AOF is off",))
    response = await api.client.get("/status")
    assert (response.status_code, response.json()["status"], response.json()["warnings"]) == (
        200, "ok", ["the AOF is off"],
    )  # fmt: skip
    watch.health = RedisHealth(bad=("maxmemory-policy is allkeys-lru",))
    response = await api.client.get("/status")
    assert (response.status_code, response.json()["status"]) == (503, "bad")
    assert response.json()["dependencies"]["redis"] == {"up": True, "finding": "maxmemory-policy is allkeys-lru"}
    api.dependencies[1].mark_down("refused")
    assert (await api.client.get("/status")).json()["dependencies"]["redis"]["finding"] == "refused"


async def test_status_shows_partitions_that_stand_still(api: ApiOverFakes) -> None:
    """They are the workers' trouble, so the status code stays."""
    api.services.status.lag.sample({3: 40}, {3: 42}, NOW - STALLED_MS)
    response = await api.client.get("/status")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["standing_partitions"] == [{"partition": 3, "next": 40, "waiting": 2, "for_ms": STALLED_MS}]


async def test_version_says_which_build_this_is(api: ApiOverFakes) -> None:
    """Version, Python, build."""
    document = (await api.client.get("/version")).json()
    assert document["python"] == platform.python_version()
    assert document["build"]
    assert document["version"][0].isdigit()


async def test_metrics_count_requests_commands_and_dependencies(api: ApiOverFakes) -> None:
    """By route, not by path."""
    api.replies.answer = outcome(refused=True, code="too_many_operations")
    await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1})
    api.replies.answer = outcome()
    await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1})
    await api.client.get("/api/operations/op-9")
    await api.client.request("BREW", "/nowhere")
    api.log.down = UnavailableError("kafka", "no broker")
    await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1})
    api.dependencies[0].mark_down("no broker")
    response = await api.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    for line in (
        'sleep_api_requests_total{method="POST",route="/api/util/sleep",status="409"} 1.0',
        'sleep_api_requests_total{method="GET",route="/api/operations/{operation_id}",status="404"} 1.0',
        'sleep_api_requests_total{method="other",route="unmatched",status="404"} 1.0',
        'sleep_api_request_seconds_count{method="POST",route="/api/util/sleep"} 3.0',
        'sleep_api_commands_total{result="too_many_operations",type="operation"} 1.0',
        'sleep_api_commands_total{result="done",type="operation"} 1.0',
        'sleep_api_commands_total{result="unavailable",type="operation"} 1.0',
        "sleep_api_waiting_callers 0.0",
        'sleep_api_dependency_up{dependency="kafka"} 0.0',
        'sleep_api_dependency_up{dependency="redis"} 1.0',
    ):
        assert line in response.text


async def test_every_answer_has_a_request_id_and_security_headers(api: ApiOverFakes) -> None:
    """Also a 404."""
    for url in ("/healthz", "/nowhere"):
        response = await api.client.get(url)
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f-]{16}", response.headers["x-request-id"]
        )
        for name, value in SECURITY_HEADERS:
            assert response.headers[name.decode()] == value.decode()


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PATCH", "/api/util/sleep", 405, "method_not_allowed"),
        ("GET", "/api/util/sleep/", 404, "not_found"),
    ],
)
async def test_what_the_framework_refuses_is_a_problem_too(
    api: ApiOverFakes, method: str, url: str, status: int, code: str
) -> None:
    """One form for every error."""
    response = await api.client.request(method, url)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_defect_is_a_500_that_tells_nothing(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is in the log, under the request id."""

    async def fail(_: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(api.services.reads, "present", fail)
    with structlog.testing.capture_logs() as logs:
        response = await api.client.get("/api/brain/sleep_mode")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    failed, line = logs
    assert (failed["event"], failed["request_id"]) == ("request_failed", response.headers["x-request-id"])
    assert (line["event"], line["status"], line["code"]) == ("request", 500, "internal_error")


async def test_one_line_says_all_of_a_request(api: ApiOverFakes) -> None:
    """Who, what, for whom, how it ended; never the token."""
    with structlog.testing.capture_logs() as logs:
        await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1})
    [line] = logs
    assert line.pop("ms") >= 0
    assert line.pop("request_id")
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/api/util/sleep",
        "status": 202,
        "subject": "ops@acme",
        "tenant": "acme",
        "decision_id": "decision-1",
        "operation_id": "id-1",
    }


async def test_the_finding_of_an_outage_is_in_the_line(api: ApiOverFakes) -> None:
    """Where callers do not see it."""
    api.store.down = {"tenant"}
    with structlog.testing.capture_logs() as logs:
        await api.client.get("/api/brain/sleep_mode")
    assert (logs[0]["code"], logs[0]["finding"]) == ("redis_unavailable", "connection refused")


async def test_probes_are_quiet(api: ApiOverFakes) -> None:
    """They come every few seconds."""
    with structlog.testing.capture_logs() as logs:
        await api.client.get("/healthz")
    assert logs[0]["log_level"] == "debug"


async def test_openapi_describes_every_route(api: ApiOverFakes) -> None:
    """Version 3.1, with bodies, answers and problems, and no dangling reference."""
    response = await api.client.get("/openapi.json")
    document = response.json()
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(endpoint.method, endpoint.template) for endpoint in ENDPOINTS}
    references = set(re.findall(r"#/components/schemas/(\w+)", response.text))
    assert references <= set(document["components"]["schemas"])
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"401", "403", "422", "429", "503"} <= operation["responses"].keys()
            for status in operation["responses"].keys() - {"200", "202"}:
                assert "application/problem+json" in operation["responses"][status]["content"]
            assert operation["security"] == [{"HTTPBearer": []}]
    body = document["paths"]["/api/util/sleep"]["post"]["requestBody"]["content"]["application/json"]
    assert body == {"schema": {"$ref": "#/components/schemas/SleepBody"}}
    assert (await api.client.get("/openapi.json")).json() == document


async def test_the_documentation_needs_nothing_from_outside(api: ApiOverFakes) -> None:
    """Plain HTML with its own style, and a policy that lets nothing else in."""
    response = await api.client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    assert "http" not in re.sub(r"HTTP\w*|http_\w+", "", response.text)
    for endpoint in ENDPOINTS:
        assert f"<code>{endpoint}</code>" in response.text
    assert "<td>light / deep / freeze</td>" in response.text
    assert "Publish <code>sleep.operation.v1</code>." in response.text
    assert "`" not in response.text


def test_every_refusal_code_has_a_problem() -> None:
    """The table is whole."""
    codes = set(get_args(RefusalCode))
    assert codes == set(REFUSALS) <= set(KINDS)
