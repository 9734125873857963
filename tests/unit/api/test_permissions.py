"""`GET /api/permissions`: the policy's own answers about a token."""

import asyncio
from typing import Any, get_args

import pytest

from api.adapters.dependency import Dependency, UnavailableError
from api.security import permissions as permissions_module
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.opa import Decision, Question
from api.security.permissions import ACTIONS, ANOTHER_TENANT, COST, permissions_of
from api.security.tokens import Principal, is_tenant
from schemas.budgets import Action
from tests.unit.api.application import ApiOverFakes

URL = "/api/permissions"


async def allowed(*scopes: str, tenant: str | None = "acme") -> dict[str, tuple[Any, Any, Any]]:
    """What the shipped policy allows a token."""
    principal = Principal("ops@acme", tenant, scopes, 99)
    document = await permissions_of(principal, EmbeddedPolicy(policy_folder(), Dependency("opa")))
    return {
        each["action"]: (each["own_tenant"], each["any_tenant"], each["platform"]) for each in document["permissions"]
    }


def test_every_action_is_asked_about_and_the_other_tenant_is_nobody() -> None:
    """One that is missing would be allowed, and shown to nobody."""
    assert set(ACTIONS) == set(get_args(Action))
    assert not is_tenant(ANOTHER_TENANT)


async def test_a_reader_reads_its_own_tenant() -> None:
    """And nothing else; null where there is no such request."""
    found = await allowed("sleep:read")
    assert found["read"] == (True, False, None)
    assert found["audit"] == (True, False, False)
    assert found["list"] == (None, None, False)
    assert {action for action, answers in found.items() if True in answers} == {"read", "audit"}


async def test_scopes_add_up() -> None:
    """Each role allows its own actions."""
    found = await allowed("sleep:read-any", "sleep:override")
    assert found["read"] == (True, True, None)
    assert found["cognitive_sleep_override"] == (True, False, None)
    assert found["watch"] == (None, None, True)
    assert found["audit"] == (False, False, False)


async def test_an_operator_may_do_everything_and_owns_nothing_without_a_tenant() -> None:
    """A token without a tenant has none of its own."""
    assert all(False not in answers for answers in (await allowed("sleep:operate")).values())
    found = await allowed("sleep:operate", tenant=None)
    assert found["read"] == (False, True, None)
    assert found["audit"] == (False, True, True)


async def test_without_a_scope_nothing_is_allowed() -> None:
    """Which is an answer too."""
    assert not any(True in answers for answers in (await allowed()).values())


async def test_the_answers_are_those_of_the_policy_that_decides(api: ApiOverFakes) -> None:
    """Whatever it says: a policy of the installation's own, or a server. The subject pays for each question."""
    api.authoriser.decisions = iter(
        Decision(allow=number % 2 == 0, reasons=(), decision_id="d") for number in range(COST)
    )
    document = (await api.client.get(URL)).json()
    given = [
        answer
        for each in document["permissions"]
        for answer in (each["own_tenant"], each["any_tenant"], each["platform"])
        if answer is not None
    ]
    assert given == [number % 2 == 0 for number in range(COST)]
    assert (document["subject"], document["tenant_id"]) == ("ops@acme", "acme")
    asked = api.authoriser.questions
    assert {question.tenant for question in asked} == {"acme", ANOTHER_TENANT, None}
    assert {question.action for question in asked if question.override} == {"cognitive_sleep_override"}
    [((payer, budget), cost)] = api.limiter.spent.items()
    assert (payer.kind, budget, cost) == ("subject", "read", COST)


async def test_a_token_that_may_nothing_learns_that(api: ApiOverFakes) -> None:
    """It is no refusal: nothing was asked for that the policy refuses."""
    api.authoriser.decision = Decision(allow=False, reasons=("no role",), decision_id="d")
    assert (await api.client.get(URL)).status_code == 200


async def test_without_the_policy_there_is_no_answer(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and none that looks like a refusal; so too where all questions together take too long."""
    api.authoriser.failure = UnavailableError("opa", "refused")
    answer = await api.client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "opa_unavailable")

    class Silent:
        async def decide(self, _: Question) -> Decision:
            return await asyncio.Event().wait()  # type: ignore[return-value] # it never comes

    monkeypatch.setattr(permissions_module, "SECONDS", 0)
    with pytest.raises(UnavailableError, match="questions within 0 s"):
        await permissions_of(Principal("ops", "acme", (), 99), Silent())
