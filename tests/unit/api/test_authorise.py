"""The shipped policy as a table, and an OPA server that does not answer with sense."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.authorise import EmbeddedPolicy, OpaServer, Question, policy_folder
from api.dependency import Dependency, UnavailableError
from tests.unit.api.fakes import Pauses

ACTIONS = ("read", "sleep", "cognitive_sleep", "cognitive_sleep_policy", "cognitive_sleep_override", "emit", "list")
ANY_TENANT = {
    "sleep:read-any": {"read"},
    "sleep:emit-any": {"emit"},
    "sleep:operate": set(ACTIONS),
}
OWN_TENANT = ANY_TENANT | {
    "sleep:read": {"read"},
    "sleep:write": {"sleep", "cognitive_sleep"},
    "sleep:policy": {"cognitive_sleep_policy"},
    "sleep:override": {"cognitive_sleep_override"},
    "sleep:emit": {"emit"},
    "sleep:unknown": set(),
}


@pytest.fixture(scope="module")
def shipped() -> EmbeddedPolicy:
    """The policy in `deploy/opa`."""
    return EmbeddedPolicy(policy_folder(), Dependency("opa"))


def _question(action: str, scopes: tuple[str, ...], tenant: str | None = "acme") -> Question:
    return Question(action, tenant, "acme", "ops@acme", scopes, "deep", 1.5)


@pytest.mark.parametrize("action", [*ACTIONS, "unknown"])
@pytest.mark.parametrize("scope", sorted(OWN_TENANT))
async def test_a_scope_allows_its_actions_and_no_other(shipped: EmbeddedPolicy, scope: str, action: str) -> None:
    """The whole table, for the own tenant and for another one; every no has a reason."""
    for tenant, table in (("acme", OWN_TENANT), ("globex", ANY_TENANT)):
        decision = await shipped.decide(_question(action, (scope,), tenant))
        assert decision.allow == (action in table.get(scope, ())), tenant
        assert decision.allow == (decision.reasons == ())
        assert decision.decision_id


async def test_nobody_is_not_the_owner_of_nothing(shipped: EmbeddedPolicy) -> None:
    """A token without a tenant owns none, not even the absent one."""
    question = Question("read", None, None, "ops", ("sleep:read", "sleep:write", "sleep:emit"))
    assert not (await shipped.decide(question)).allow


async def test_text_in_the_input_is_only_text(shipped: EmbeddedPolicy) -> None:
    """Quotes and backslashes do not reach the policy's language."""
    strange = Question("read", "acme", "acme", 'a"b\\c', ('sleep:read"', "\\", "é"))
    assert not (await shipped.decide(strange)).allow
    assert (await shipped.decide(strange._replace(scopes=("sleep:read",)))).allow


async def test_an_answer_that_cannot_be_read_is_no_answer(shipped: EmbeddedPolicy) -> None:
    """The engine does not escape a quote in a reason, so its answer to this is no JSON."""
    with pytest.raises(UnavailableError):
        await shipped.decide(_question('re"ad', ("sleep:operate",)))


async def test_two_answers_have_two_ids(shipped: EmbeddedPolicy) -> None:
    """Each decision is its own, also where its answer was remembered."""
    first, second = [await shipped.decide(_question("read", ("sleep:read",))) for _ in range(2)]
    assert first.decision_id != second.decision_id


@pytest.mark.parametrize(
    "rego",
    [
        "decision := 1 / 0",
        'decision := {"reasons": []}',
        'decision := {"allow": "yes"}',
        "decision := true",
    ],
)
async def test_an_embedded_policy_without_a_clear_answer_is_no_answer(tmp_path: Path, rego: str) -> None:
    """Undefined, missing, or not a boolean: nobody may."""
    (tmp_path / "sleep.rego").write_text(f"package sleep\n\nimport rego.v1\n\n{rego}\n")
    (tmp_path / "sleep_test.rego").write_text("tests of a policy are no policy")
    policy = EmbeddedPolicy(tmp_path, Dependency("opa"))
    with pytest.raises(UnavailableError):
        await policy.decide(_question("read", ("sleep:operate",)))


def test_the_wheel_carries_the_policy_beside_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a folder `rego` lies beside the module it is taken, else the checkout's."""
    monkeypatch.setattr("api.authorise.__file__", str(tmp_path / "api" / "authorise.py"))
    assert policy_folder() == tmp_path / "deploy" / "opa"
    (tmp_path / "api" / "rego").mkdir(parents=True)
    assert policy_folder() == tmp_path / "api" / "rego"


Answer = Callable[[httpx.Request], httpx.Response]


def _server(answer: Answer) -> tuple[OpaServer, Dependency]:
    dependency = Dependency("opa")
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return OpaServer("http://opa:8181/", client, dependency), dependency


async def test_an_opa_server_is_asked_with_the_whole_input() -> None:
    """The input is the one that the shipped policy reads."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"result": {"allow": False, "reasons": ["no", 7]}, "decision_id": "from-opa"})

    server, dependency = _server(answer)
    decision = await server.decide(_question("sleep", ("sleep:write",)))
    assert (decision.allow, decision.reasons, decision.decision_id) == (False, ("no",), "from-opa")
    assert str(seen[0].url) == "http://opa:8181/v1/data/sleep/decision"
    assert json.loads(seen[0].content) == {
        "input": {
            "action": "sleep",
            "tenant": "acme",
            "token_tenant": "acme",
            "subject": "ops@acme",
            "scopes": ["sleep:write"],
            "target_state": "deep",
            "ttl_seconds": 1.5,
            "override": False,
        }
    }
    assert dependency.up


async def test_a_strange_decision_id_is_replaced() -> None:
    """What goes into the audit is printable and short."""
    server, _ = _server(lambda _: httpx.Response(200, json={"result": {"allow": True}, "decision_id": "a\nb"}))
    decision = await server.decide(_question("read", ()))
    assert decision.allow
    assert len(decision.decision_id) == 36


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500, json={"result": {"allow": True}}),
        httpx.Response(302, headers={"location": "http://elsewhere"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=["allow"]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"result": {}}),
        httpx.Response(200, json={"result": {"allow": 1}}),
        httpx.Response(200, json={"result": {"allow": "true"}}),
        httpx.Response(200, json={"result": {"allow": None}}),
        httpx.Response(200, json={"result": True}),
    ],
    ids=["500", "redirect", "html", "list", "empty", "no-allow", "one", "text", "null", "bare"],
)
async def test_an_opa_server_without_a_clear_answer_allows_nothing(response: httpx.Response) -> None:
    """Every answer but a boolean is no answer, and the server is down."""
    server, dependency = _server(lambda _: response)
    with pytest.raises(UnavailableError):
        await server.decide(_question("read", ("sleep:operate",)))
    assert not dependency.up


async def test_an_opa_server_that_cannot_be_reached_allows_nothing() -> None:
    """No connection, no decision."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    server, _ = _server(refuse)
    with pytest.raises(UnavailableError, match="refused"):
        await server.decide(_question("read", ()))


async def test_a_slow_opa_server_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision has a second, and not more."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("api.authorise.DECISION_SECONDS", 0)
    dependency = Dependency("opa")
    server = OpaServer("http://opa", httpx.AsyncClient(transport=httpx.MockTransport(hang)), dependency)
    with pytest.raises(UnavailableError, match="TimeoutError"):
        await server.decide(_question("read", ()))


async def test_an_opa_server_is_asked_now_and_then() -> None:
    """So `/status` is true while nobody calls."""
    server, dependency = _server(lambda _: httpx.Response(200, json={"result": {"allow": False}}))
    pauses = Pauses(2)
    with pytest.raises(asyncio.CancelledError):
        await server.run(pauses)
    assert pauses.seconds == [5.0, 5.0]
    assert dependency.up
