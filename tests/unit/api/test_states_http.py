"""The stream of states over HTTP: who may have it, of which tenants, and what it costs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.routes.states import MOST_TENANTS
from api.security.opa import Decision
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.connection import STATES, Host

ALLOWED = Decision(allow=True, reasons=(), decision_id="d-1")
REFUSED = Decision(allow=False, reasons=("no role",), decision_id="d-2")


@pytest.fixture
async def host(api: ApiOverFakes) -> AsyncIterator[Host]:
    """The application with its list of states running."""
    async with api.states:
        yield Host(api)


def _asked(api: ApiOverFakes) -> list[tuple[str, str | None]]:
    return [(question.action, question.tenant) for question in api.authoriser.questions]


async def test_all_tenants_are_watched_by_whoever_may(host: Host) -> None:
    """The action is `watch`, of no single tenant; the operator pays."""
    async with host.connect(STATES, Authorization=f"Bearer {token(scope='sleep:operate')}") as (client, _):
        await client.until("ready")
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
    assert _asked(host.api) == [("watch", None)]
    assert [(payer.kind, budget) for payer, budget in host.api.limiter.spent] == [("operator", "watch")]
    assert host.ended("left")


async def test_some_tenants_are_read_one_by_one_and_paid_once(host: Host) -> None:
    """By the subject, also if one of them is its own tenant."""
    async with host.connect(STATES, query="tenants=acme,globex,acme") as (client, _):
        await client.until("ready")
    assert _asked(host.api) == [("read", "acme"), ("read", "globex")]
    [((payer, budget), cost)] = host.api.limiter.spent.items()
    assert (payer.kind, budget, cost) == ("subject", "read", 1)


async def test_one_refused_tenant_refuses_all_and_is_named(api: ApiOverFakes) -> None:
    """Nothing is charged for it but the refusal."""
    api.authoriser.decisions = iter([ALLOWED, REFUSED, ALLOWED, REFUSED])
    answer = await api.client.get(STATES, params={"tenants": "acme,globex,initech,hooli"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "forbidden")
    assert problem["detail"] == "no role: globex, hooli"
    assert (problem["reasons"], problem["decision_id"]) == (["no role"], "d-2")
    assert [budget for _, budget in api.limiter.spent] == ["refused"]


async def test_who_may_not_watch_gets_a_problem_and_no_stream(api: ApiOverFakes) -> None:
    """Decided before anything is sent."""
    api.authoriser.decision = REFUSED
    answer = await api.client.get(STATES)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("tenants", "reason"),
    [
        ("", "'' is no tenant"),
        ("acme,", "'' is no tenant"),
        ("acme, globex", "' globex' is no tenant"),
        ("ac/me", "'ac/me' is no tenant"),
        (",".join(f"t-{number}" for number in range(MOST_TENANTS + 1)), f"at most {MOST_TENANTS} tenants"),
    ],
)
async def test_a_list_of_tenants_that_is_none_is_refused(api: ApiOverFakes, tenants: str, reason: str) -> None:
    """With the first wrong name; the policy is not asked."""
    answer = await api.client.get(STATES, params={"tenants": tenants})
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, "tenants")
    assert error["reason"].startswith(reason)
    assert api.authoriser.questions == []


async def test_as_many_tenants_as_the_bound_are_followed(host: Host) -> None:
    """Two hundred."""
    names = ",".join(f"t-{number}" for number in range(MOST_TENANTS))
    async with host.connect(STATES, query=f"tenants={names}") as (client, _):
        await client.until("ready")
    assert len(host.api.authoriser.questions) == MOST_TENANTS


async def test_a_partition_that_is_not_whole_is_a_problem(host: Host) -> None:
    """503 with the reason, and no default."""
    host.api.states.rows.lacking = "the log of partition 1 is being replayed"
    answer = await host.api.client.get(STATES)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "redis_unavailable")
    assert problem["detail"].startswith("the log of partition 1 is being replayed")


async def test_a_snapshot_too_many_is_a_problem(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with when to try again."""
    monkeypatch.setattr("api.states.session.AT_ONCE", 0)
    monkeypatch.setattr("api.states.session.LARGE", -1)
    answer = await host.api.client.get(STATES)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "2"


async def test_the_streams_of_states_count_with_the_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one bound for all."""
    monkeypatch.setattr("api.streaming.streams.MOST_STREAMS", 1)
    async with host.connect(STATES) as (client, _):
        await client.until("ready")
        answer = await host.api.client.get(STATES)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")


async def test_the_stream_ends_with_the_process(host: Host) -> None:
    """Cleanly."""
    async with host.connect(STATES) as (client, served):
        await client.until("ready")
        host.api.states.feed.release()
        async with asyncio.timeout(5):
            await served
        assert client.complete
    assert host.ended("stopping")


async def test_the_stream_ends_with_its_token(host: Host) -> None:
    """The token's end goes from the token to the stream."""
    host.api.clock.now = (1 << 33) * 1000
    async with host.connect(STATES) as (client, served):
        async with asyncio.timeout(5):
            await served
        assert (client.status, client.complete) == (200, True)
    assert host.ended("expired")
