"""The shipped policy as a table, and an OPA server that does not answer with sense."""

import asyncio
import gzip
import json
import math
import shutil
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from api.adapters.dependency import Dependency, UnavailableError
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.opa import ENDPOINT, OpaServer, Question
from api.security.opa_client import OpaClient
from api.security.opa_connection import LONGEST_ANSWER, OpaConnection
from tests.support.policy_cases import BOUNDED, CASES
from tests.unit.api.fakes import Pauses
from tests.unit.api.opa_wire import Answer, connecting


@pytest.fixture(scope="module")
def shipped() -> EmbeddedPolicy:
    """The policy in `deploy/opa`."""
    return EmbeddedPolicy(policy_folder(), Dependency("opa"))


def _question(action: str, scopes: tuple[str, ...], tenant: str | None = "acme") -> Question:
    return Question(action, tenant, "acme", "ops@acme", scopes, "deep", 1.5)


def _policy(folder: Path, roles: object) -> EmbeddedPolicy:
    """Return the shipped rules over other roles."""
    shutil.copy(policy_folder() / "sleep.rego", folder)
    (folder / "data.json").write_text(json.dumps({"sleep_roles": roles}))
    return EmbeddedPolicy(folder, Dependency("opa"))


def test_the_table_holds_as_many_cases_as_it_says() -> None:
    """Each once by its content, so that none was lost in the writing."""
    assert len(CASES) > 300
    assert len({json.dumps([case.input, case.roles]) for case in CASES}) >= len(CASES) - 5


def test_the_embedded_engine_answers_the_table_of_cases(shipped: EmbeddedPolicy, tmp_path: Path) -> None:
    """Every case as OPA answers it, reasons and all."""
    policies: dict[str, EmbeddedPolicy] = {"null": shipped}
    wrong: list[tuple[str, object]] = []
    for case in CASES:
        roles = json.dumps(case.roles)
        if roles not in policies:
            policies[roles] = _policy(tmp_path, case.roles)
        decision = policies[roles].evaluate(case.input)
        if decision != case.decision:
            wrong.append((case.name, decision))
    assert wrong == []


@pytest.mark.parametrize("scope", ["sleep:operate\0x", '"sleep:operate"', "`sleep:operate`", "sleep:operate\n"])
async def test_a_scope_that_the_engine_would_trim_is_not_the_scope(shipped: EmbeddedPolicy, scope: str) -> None:
    """A NUL cuts its texts and quotes fall off them, unless they are kept from it."""
    assert not (await shipped.decide(_question("list", (scope,)))).allow


async def test_a_ttl_that_the_engine_would_wrap_is_beyond_its_bound(tmp_path: Path) -> None:
    """2**64 + 1 is not 1."""
    policy = _policy(tmp_path, BOUNDED)
    asked = Question("sleep", "acme", "acme", "ops", ("on-call",), "light", 1)
    assert (await policy.decide(asked)).allow
    for ttl in (2**64 + 1, 2**63, 10**400, math.inf, math.nan):
        assert not (await policy.decide(asked._replace(ttl_seconds=ttl))).allow, ttl


async def test_nobody_is_not_the_owner_of_nothing(shipped: EmbeddedPolicy) -> None:
    """A token without a tenant owns none, not even the absent one."""
    question = Question("read", None, None, "ops", ("sleep:read", "sleep:write", "sleep:emit"))
    assert not (await shipped.decide(question)).allow


async def test_text_in_the_input_is_only_text(shipped: EmbeddedPolicy) -> None:
    """Quotes and backslashes do not reach the policy's language."""
    strange = Question("read", "acme", "acme", 'a"b\\c', ('sleep:read"', "\\", "é"))
    assert not (await shipped.decide(strange)).allow
    assert (await shipped.decide(strange._replace(scopes=("sleep:read",)))).allow


async def test_a_subject_that_is_no_unicode_is_no_question(shipped: EmbeddedPolicy) -> None:
    """Half a surrogate pair cannot be written as UTF-8: nobody decides, and nothing breaks."""
    with pytest.raises(UnavailableError):
        await shipped.decide(_question("sleep", ("sleep:operate",))._replace(subject="\ud800"))


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
        # The engine quotes what `concat` made within what `sprintf` makes: this is no JSON.
        'decision := {"allow": true, "reasons": [sprintf("x %v", [concat(" ", ["a", "b"])])]}',
    ],
)
async def test_an_embedded_policy_without_a_clear_answer_is_no_answer(tmp_path: Path, rego: str) -> None:
    """Undefined, missing, or not a boolean: nobody may."""
    (tmp_path / "sleep.rego").write_text(f"package sleep\n\nimport rego.v1\n\n{rego}\n")
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "sleep_test.rego").write_text("tests of a policy are no policy")
    policy = EmbeddedPolicy(tmp_path, Dependency("opa"))
    with pytest.raises(UnavailableError):
        await policy.decide(_question("read", ("sleep:operate",)))


def test_the_wheel_carries_the_policy_beside_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a folder `rego` lies beside the module it is taken, else the checkout's."""
    monkeypatch.setattr("api.security.embedded_policy.__file__", str(tmp_path / "api" / "door" / "authorise.py"))
    assert policy_folder() == tmp_path / "deploy" / "opa"
    (tmp_path / "api" / "rego").mkdir(parents=True)
    assert policy_folder() == tmp_path / "api" / "rego"


def _server(answer: Answer, url: str = "http://opa:8181") -> tuple[OpaServer, Dependency]:
    dependency = Dependency("opa")
    return OpaServer(OpaClient(f"{url}{ENDPOINT}", connecting(answer)), dependency), dependency


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
        httpx.Response(200),
        httpx.Response(204),
        httpx.Response(200, json=None),
        httpx.Response(200, json={"result": None}),
        httpx.Response(200, json={"result": [{"allow": True}]}),
        httpx.Response(200, json={"allow": True}),
        httpx.Response(200, text='{"result": {"allow": true}'),
        httpx.Response(200, text="[" * 10_000),
        httpx.Response(200, content=b'{"result": {"allow": true, "reasons": ["\xff"]}}'),
        httpx.Response(200, json={"result": {"allow": True}, "padding": "x" * LONGEST_ANSWER}),
        httpx.Response(
            200, headers={"content-encoding": "gzip"}, content=gzip.compress(b'{"result": {"allow": true}}')
        ),
    ],
    ids=[
        *("500", "redirect", "html", "list", "empty", "no-allow", "one", "text", "null", "bare", "no-body", "204"),
        *("null-body", "null-result", "listed", "no-result", "cut-off", "deep", "no-utf-8", "huge", "packed"),
    ],
)
async def test_an_opa_server_without_a_clear_answer_allows_nothing(response: httpx.Response) -> None:
    """Every answer but a boolean is no answer, and the server is down."""
    server, dependency = _server(lambda _: response)
    with pytest.raises(UnavailableError):
        await server.decide(_question("read", ("sleep:operate",)))
    assert not dependency.up


async def test_a_password_in_opas_url_is_in_no_finding() -> None:
    """`/status` shows findings to anybody."""
    server, dependency = _server(lambda _: httpx.Response(500), "http://me:s3cret@opa")
    with pytest.raises(UnavailableError) as away:
        await server.decide(_question("read", ("sleep:operate",)))
    assert "500" in dependency.finding
    assert "s3cret" not in dependency.finding + str(away.value)


async def test_a_redirect_is_not_followed() -> None:
    """Whoever answers elsewhere is not asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "http://elsewhere/"})

    server, _ = _server(answer)
    with pytest.raises(UnavailableError, match="307"):
        await server.decide(_question("read", ("sleep:operate",)))
    assert asked == ["opa"]


async def test_an_answer_without_an_end_is_left() -> None:
    """No more of it is read than an answer can have."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1_024

    server, dependency = _server(lambda _: httpx.Response(200, content=endless()))
    with pytest.raises(UnavailableError, match="more than 65536 bytes"):
        await server.decide(_question("read", ("sleep:operate",)))
    assert read < 70
    assert not dependency.up


async def test_an_answer_that_stalls_after_its_head_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is for the whole answer, not for its beginning."""

    async def stalling() -> AsyncIterator[bytes]:
        yield b'{"result": {"allow": true}'
        await asyncio.Event().wait()

    monkeypatch.setattr("api.security.opa.DECISION_SECONDS", 0.01)
    server, _ = _server(lambda _: httpx.Response(200, content=stalling()))
    with pytest.raises(UnavailableError, match="TimeoutError"):
        await server.decide(_question("read", ("sleep:operate",)))


@pytest.mark.parametrize("ttl", [math.inf, math.nan])
async def test_a_ttl_that_json_cannot_say_is_no_question(ttl: float) -> None:
    """The server is not asked, and nobody may."""
    server, _ = _server(lambda _: httpx.Response(200, json={"result": {"allow": True}}))
    with pytest.raises(UnavailableError):
        await server.decide(_question("sleep", ("sleep:operate",))._replace(ttl_seconds=ttl))


async def test_an_opa_server_that_cannot_be_reached_allows_nothing() -> None:
    """No connection, no decision."""

    async def refuse() -> OpaConnection:
        raise ConnectionRefusedError("refused")

    server = OpaServer(OpaClient("http://opa", refuse), Dependency("opa"))
    with pytest.raises(UnavailableError, match="refused"):
        await server.decide(_question("read", ()))


async def test_a_slow_opa_server_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision has a second, and not more."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("api.security.opa.DECISION_SECONDS", 0)
    server, _ = _server(hang)
    with pytest.raises(UnavailableError, match="TimeoutError"):
        await server.decide(_question("read", ()))


@pytest.mark.parametrize("status", [200, 500])
async def test_each_question_to_an_opa_server_is_measured(status: int) -> None:
    """Whether it gives a decision or not."""
    took: list[float] = []
    answer = connecting(lambda _: httpx.Response(status, json={"result": {"allow": True}}))
    client = OpaClient(f"http://opa:8181{ENDPOINT}", answer)
    server = OpaServer(client, Dependency("opa"), took.append, iter([10.0, 10.25]).__next__)
    with nullcontext() if status == 200 else pytest.raises(UnavailableError):
        await server.decide(_question("read", ()))
    assert took == [0.25]


async def test_an_opa_server_is_asked_now_and_then() -> None:
    """So `/status` is true while nobody calls."""
    server, dependency = _server(lambda _: httpx.Response(200, json={"result": {"allow": False}}))
    pauses = Pauses(2)
    with pytest.raises(asyncio.CancelledError):
        await server.run(pauses)
    assert pauses.seconds == [5.0, 5.0]
    assert dependency.up
