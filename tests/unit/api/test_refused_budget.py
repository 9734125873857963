"""The budget of refused requests, the budget of what wakes, and the order in which the API checks a request."""

import asyncio
from typing import Any

import httpx
import pytest
import structlog

from api.adapters.dependency import UnavailableError
from api.errors.problems import ProblemError
from api.http import bodies
from api.security.in_flight import InFlight
from api.security.rate_limits import Payer, Quota, QuotaStatus, Verdict, subject_of
from api.security.refused_budget import REMEMBERED_SUBJECTS, RefusedRequests
from api.security.tokens import Principal
from schemas.budgets import Budget
from tests.support.operations import outcome
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.endpoints import ENDPOINTS, Endpoint
from tests.unit.api.fakes import FakeClock, FakeLimiter, ScriptedWait

SLEEP, MODE, POLICY = "/api/util/sleep", "/api/brain/sleep_mode", "/api/brain/sleep_policy"
GOOD = {"target_state": "light", "ttl_seconds": 1}
SUBJECT = Principal("ops@acme", "acme", (), 0)


def spent(api: ApiOverFakes, budget: Budget) -> dict[str, int]:
    """Return what each kind of payer paid of a budget."""
    return {payer.kind: amount for (payer, name), amount in api.limiter.spent.items() if name == budget}


async def use_up(api: ApiOverFakes) -> None:
    """Use up the subject's budget of refused requests."""
    for _ in range(2):
        assert (await api.client.post(SLEEP, json={})).status_code == 422


# What is counted


@pytest.mark.parametrize(
    ("method", "path", "kwargs", "status"),
    [
        ("POST", SLEEP, {"json": {}}, 422),
        ("POST", SLEEP, {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", SLEEP, {"content": b"{}"}, 415),
        ("POST", SLEEP, {"content": b" " * 65_537}, 415),
        ("POST", SLEEP, {"json": {"reason": "a" * 65_537}}, 413),
        ("GET", f"{MODE}?x=1", {}, 422),
        ("GET", "/api/tenants?limit=0", {}, 422),
        ("GET", MODE, {"headers": {"X-Tenant-Id": "no tenant"}}, 422),
        ("GET", f"{SLEEP}/unknown", {}, 404),
        ("DELETE", f"{SLEEP}/unknown", {}, 404),
        ("PUT", POLICY, {"json": {}}, 428),
        ("PUT", POLICY, {"json": {"x": 1}, "headers": {"If-Match": "*"}}, 422),
        ("POST", "/api/breakers/events", {"json": [{}]}, 422),
    ],
)
async def test_each_refused_request_is_counted_once(
    api: ApiOverFakes, method: str, path: str, kwargs: dict[str, Any], status: int
) -> None:
    """For the subject that sent it, whatever it was refused for."""
    response = await api.client.request(method, path, **kwargs)
    assert response.status_code == status, response.text
    assert spent(api, "refused") == {"subject": 1}


async def test_a_refusal_of_policy_or_log_is_counted_too(api: ApiOverFakes) -> None:
    """Both cost more than a wrong body."""
    api.replies.answer = outcome(refused=True, code="too_many_operations")
    assert (await api.client.post(SLEEP, json=GOOD)).status_code == 409
    api.authoriser.decision = api.authoriser.decision._replace(allow=False)
    assert (await api.client.post(SLEEP, json=GOOD)).status_code == 403
    assert spent(api, "refused") == {"subject": 2}


async def test_what_is_no_refusal_of_a_subject_is_not_counted(api: ApiOverFakes) -> None:
    """Success, a limit, an outage, and a caller without a subject."""
    api.replies.answer = outcome()
    assert (await api.client.post(SLEEP, json=GOOD)).status_code == 200
    assert (await api.client.get(MODE, headers={"Authorization": "Bearer x"})).status_code == 401
    assert (await api.client.get("/nowhere")).status_code == 404
    api.limiter.amount = 0
    assert (await api.client.get(MODE)).status_code == 429
    api.limiter.failure = UnavailableError("redis", "away")
    assert (await api.client.get(MODE)).status_code == 503
    assert spent(api, "refused") == {}


async def test_a_refusal_that_cannot_be_counted_is_answered(api: ApiOverFakes) -> None:
    """Its caller is told what is wrong; the log is told of the count."""
    api.limiter.failure = UnavailableError("redis", "away")
    with structlog.testing.capture_logs() as logs:
        assert (await api.client.post(SLEEP, json={})).status_code == 422
    assert [entry["finding"] for entry in logs if entry["event"] == "refusal_not_counted"] == ["away"]


# What a used-up budget does


@pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in ENDPOINTS if endpoint.operation_id != "cancelSleep"], ids=str
)
async def test_who_had_too_many_refused_is_refused_before_the_body(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    """No byte of it is read and no policy is asked, on any route that does not wake."""
    api.limiter.amount = 2
    await use_up(api)
    if not endpoint.may_wake:  # what may wake is looked at further

        async def read(*_: object, **__: object) -> bytes:
            raise AssertionError("the body was read")

        monkeypatch.setattr(bodies, "read_limited", read)
    response = await api.client.request(endpoint.method, endpoint.path, json=endpoint.body)
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
    assert response.json()["violated-policies"] == ["refused"]
    assert response.headers["Retry-After"] == "42"
    assert response.headers["RateLimit"] == '"refused";r=0;t=42'
    assert (api.authoriser.questions, api.log.published) == ([], [])


async def test_a_used_up_budget_never_blocks_waking(api: ApiOverFakes) -> None:
    """A cancel, mode `active`, and the end of a pin, as often as the budget `wake` allows."""
    api.limiter.amount = 2
    await use_up(api)
    api.replies.answer = outcome(type="mode", expires_at=None)
    for override in (False, True):
        body = {"target_state": "active", "override": override}
        assert (await api.client.post(MODE, json=body)).status_code == 200
    api.limiter.spent.clear()
    api.store.outcomes["acme", "op-1"] = outcome(cancelled_at=1)
    assert (await api.client.delete(f"{SLEEP}/op-1")).status_code == 200
    assert (await api.client.post(MODE, json={"target_state": "light"})).status_code == 429


async def test_who_had_too_many_refused_is_one_subject_of_one_tenant(api: ApiOverFakes) -> None:
    """Not its tenant, and not a namesake elsewhere."""
    api.limiter.amount = 2
    await use_up(api)
    for claims, status in (
        ({"sub": "ops@acme"}, 429),
        ({"sub": "another@acme"}, 200),
        ({"sub": "ops@acme", "tenant_id": "globex"}, 200),
    ):
        headers = {"Authorization": f"Bearer {token(**claims)}"}  # type: ignore[arg-type]  # claims only
        assert (await api.client.get(MODE, headers=headers)).status_code == status


async def test_a_used_up_budget_comes_back_with_time() -> None:
    """By what the count said, without asking again."""
    clock, limiter = FakeClock(), FakeLimiter()
    limiter.amount = 1
    requests = RefusedRequests(limiter, clock)
    assert requests.exhausted(SUBJECT) is None
    await requests.count(SUBJECT)
    clock.now += 1_500
    refusal = requests.exhausted(SUBJECT)
    assert refusal is not None
    assert refusal.violated == QuotaStatus(Quota("refused", 1, 60), 0, 41)
    clock.now += 40_500
    assert requests.exhausted(SUBJECT) is None


async def test_of_several_limits_the_one_that_is_empty_for_longest_counts() -> None:
    """The other one is told all the same."""
    second, minute = QuotaStatus(Quota("refused-1s", 1, 1), 0, 1), QuotaStatus(Quota("refused-60s", 9, 60), 0, 50)

    class Two(FakeLimiter):
        async def spend(self, *_: Any, **__: Any) -> Verdict:  # noqa: ANN401 - the arguments do not matter
            return Verdict((second, minute), None)

    requests = RefusedRequests(Two(), FakeClock())
    await requests.count(SUBJECT)
    refusal = requests.exhausted(SUBJECT)
    assert refusal == Verdict((second, minute), minute)


async def test_no_more_subjects_are_remembered_than_fit() -> None:
    """The one that was found first goes first."""
    limiter = FakeLimiter()
    limiter.amount = 1
    requests = RefusedRequests(limiter, FakeClock())
    subjects = [SUBJECT._replace(subject=str(number)) for number in range(REMEMBERED_SUBJECTS + 1)]
    for subject in subjects:
        await requests.count(subject)
    assert requests.exhausted(subjects[0]) is None
    assert all(requests.exhausted(subject) for subject in subjects[1:])


# What wakes


async def test_sleeping_cannot_use_up_what_wakes(api: ApiOverFakes) -> None:
    """Neither sleeps nor modes that are refused, by the limit or by the log."""
    api.limiter.amount = 3
    api.replies.answer = outcome()
    api.store.outcomes["acme", "op-1"] = outcome(cancelled_at=1)
    for _ in range(4):
        await api.client.post(SLEEP, json=GOOD)
        await api.client.post(MODE, json={"target_state": "deep"})
    assert (await api.client.post(SLEEP, json=GOOD)).status_code == 429
    assert [(await api.client.delete(f"{SLEEP}/op-1")).status_code for _ in range(3)] == [200] * 3
    response = await api.client.delete(f"{SLEEP}/op-1")
    assert response.status_code == 429
    assert response.json()["violated-policies"] == ["wake"]
    assert spent(api, "wake") == {"tenant": 3}


async def test_the_policy_is_asked_for_the_same_action_whatever_wakes(api: ApiOverFakes) -> None:
    """`wake` is a budget, and no action that a role could lack."""
    api.replies.answer = outcome(type="mode", expires_at=None)
    await api.client.post(MODE, json={"target_state": "active"})
    await api.client.post(MODE, json={"target_state": "active", "override": True})
    await api.client.delete(f"{SLEEP}/op-1")
    actions = [question.action for question in api.authoriser.questions]
    assert actions == ["cognitive_sleep", "cognitive_sleep_override", "sleep"]
    assert spent(api, "wake") == {"tenant": 3}


async def test_a_read_of_another_tenant_costs_that_tenant_nothing(api: ApiOverFakes) -> None:
    """Nor does the extra price of a preview; what it emits is the other tenant's."""
    headers = {"X-Tenant-Id": "globex"}
    assert (await api.client.get(MODE, headers=headers)).status_code == 200
    policy = {"breakers": [{"match": "x" * 200}]}
    assert (await api.client.post(f"{POLICY}/preview", json=policy, headers=headers)).status_code == 200
    assert api.limiter.spent == {(subject_of(SUBJECT), "read"): 3}
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "sleep.breaker.v1", "subject": "globex"}
    event |= {"data": {"breaker": "b", "state": "open"}}  # type: ignore[dict-item]  # JSON
    assert (await api.client.post("/api/breakers/events", json=event)).status_code == 202
    assert api.limiter.spent[Payer("tenant", "globex"), "emit"] == 1


# The order


async def test_the_door_looks_at_one_thing_after_another(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token, requests in flight, refused requests, the body, the policy, the action's budget."""
    seen: list[str] = []

    def note(target: object, name: str, label: str) -> None:
        real = getattr(target, name)

        def noted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the real one
            seen.append(label)
            return real(*arguments, **named)

        monkeypatch.setattr(target, name, noted)

    note(api.services.verifier, "verify", "token")
    note(InFlight, "slot", "in flight")
    note(RefusedRequests, "exhausted", "refused")
    note(bodies, "read_limited", "body")
    note(bodies, "require_bounded", "bounds")
    note(bodies, "from_json", "parse")
    note(api.authoriser, "decide", "policy")
    note(api.limiter, "spend", "budget")
    api.replies.answer = outcome()
    for method, path in (("POST", SLEEP), ("POST", MODE), ("PUT", POLICY), ("POST", f"{POLICY}/preview")):
        seen.clear()
        await api.client.request(method, path, json=GOOD if path in {SLEEP, MODE} else {}, headers={"If-Match": "*"})
        assert seen == ["token", "in flight", "refused", "body", "bounds", "parse", "policy", "budget"], path


async def test_a_tenants_requests_in_flight_are_bounded(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound: 429 at once, with when to come back; nobody else notices, nor does what wakes."""
    go_on = asyncio.Event()
    real = api.store.tenant

    async def slow(tenant: str) -> Any:  # noqa: ANN401 - as the real one
        if tenant == "acme":
            await go_on.wait()
        return await real(tenant)

    monkeypatch.setattr(api.store, "tenant", slow)
    monkeypatch.setattr(api.services.in_flight, "_most", {"subject": 2, "tenant": 3, "process": 9})
    api.replies.answer = outcome(type="mode", expires_at=None)

    def read(subject: str, tenant: str = "acme") -> "asyncio.Task[httpx.Response]":
        headers = {"Authorization": f"Bearer {token(sub=subject, tenant_id=tenant)}"}
        return asyncio.create_task(api.client.get(MODE, headers=headers))

    reads = [read("a") for _ in range(3)] + [read("b") for _ in range(2)]
    refused, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 2:
        refused, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
    assert (await read("c", "globex")).status_code == 200
    assert (await api.client.post(MODE, json={"target_state": "active"})).status_code == 200
    go_on.set()
    answers = await asyncio.gather(*reads)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]
    for answer in answers:
        if answer.status_code == 429:
            assert (answer.json()["code"], answer.headers["Retry-After"]) == ("too_many_in_flight", "1")
    assert (await read("a")).status_code == 200, "and each place is given back"


async def test_a_place_is_given_back_once() -> None:
    """However often that is asked for."""
    in_flight = InFlight(of_subject=1)
    with in_flight.slot(SUBJECT, may_wake=False) as first:
        with pytest.raises(ProblemError), in_flight.slot(SUBJECT, may_wake=False):
            raise AssertionError("there was a second place")
        first.release()
        with in_flight.slot(SUBJECT, may_wake=False):
            first.release()
            with pytest.raises(ProblemError), in_flight.slot(SUBJECT, may_wake=False):
                raise AssertionError("a place was given back twice")
    assert not in_flight._counts  # noqa: SLF001 - nothing is kept of who has left


@pytest.mark.parametrize("may_wake", [False, True])
def test_while_its_body_arrives_a_request_counts_for_its_subject_alone(may_wake: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    """A body may take ten seconds: slow senders would use up the places of their tenant, and of everybody."""
    in_flight = InFlight(of_subject=2, of_tenant=1, of_all=1)
    slow = SUBJECT._replace(subject="slow")
    with (
        in_flight.slot(slow, may_wake=may_wake, arriving=True),
        in_flight.slot(slow, may_wake=may_wake, arriving=True) as second,
        in_flight.slot(SUBJECT, may_wake=may_wake),
    ):
        with pytest.raises(ProblemError), in_flight.slot(slow, may_wake=may_wake, arriving=True):
            raise AssertionError("a third place of one subject")
        with pytest.raises(ProblemError):
            second.arrived()
    assert not in_flight._counts  # noqa: SLF001 - as above


def test_a_refused_request_gives_back_the_places_that_it_had_taken() -> None:
    """Of everybody, where only its tenant had too many; else refusals would use up the places of all."""
    in_flight = InFlight(of_tenant=1, of_all=2)
    with in_flight.slot(SUBJECT, may_wake=False):
        for _ in range(3):
            with pytest.raises(ProblemError, match="tenant"), in_flight.slot(SUBJECT, may_wake=False):
                raise AssertionError("a second place of the tenant")
    assert not in_flight._counts  # noqa: SLF001 - as above


async def test_who_waits_for_the_log_is_not_in_flight(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is given back once the command is published: a minute of waiting would keep it from others."""
    places: list[int] = []

    async def outcome_of(*_: object) -> None:
        places.append(len(api.services.in_flight._counts))  # noqa: SLF001 - no request shows it

    monkeypatch.setattr(ScriptedWait, "outcome", outcome_of)
    assert (await api.client.post(SLEEP, json=GOOD)).status_code == 202
    assert places
    assert set(places) == {0}


async def test_a_tenants_waiting_callers_are_bounded(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is answered 202 at once: its command is in the log all the same."""
    monkeypatch.setattr("api.commands.submit.MOST_WAITING", 0)
    response = await api.client.post(SLEEP, json=GOOD)
    assert (response.status_code, api.replies.waits, len(api.log.published)) == (202, [], 1)
