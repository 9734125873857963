"""The header `Sleep-Run`: requests of an operator's run, which pay from a budget of their own."""

import pytest

from tests.support.operations import outcome
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

MODE = "/api/brain/sleep_mode"
SLEEP = "/api/util/sleep"
POLICY = "/api/brain/sleep_policy"


def _headers(scope: str = "sleep:operate", run: str = "wake-7") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(scope=scope)}", "Sleep-Run": run}


def _budgets(api: ApiOverFakes) -> dict[str, str]:
    """Return who paid from which budget."""
    return {budget: payer.kind for payer, budget in api.limiter.spent}


async def test_each_request_of_a_run_pays_from_its_budget(api: ApiOverFakes) -> None:
    """Also one that wakes a tenant, one that reads, and one that changes a policy."""
    api.replies.answer = outcome(type="mode", expires_at=None)
    headers = _headers()
    await api.client.post(MODE, json={"target_state": "active"}, headers=headers)
    await api.client.post(MODE, json={"target_state": "light"}, headers=headers)
    await api.client.get(SLEEP, headers=headers)
    await api.client.delete(f"{SLEEP}/op-1", headers=headers)
    await api.client.delete(POLICY, headers=headers | {"If-Match": "*"})
    assert _budgets(api) == {"mass": "operator", "refused": "subject"}
    assert sum(cost for (_, budget), cost in api.limiter.spent.items() if budget == "mass") == 5


async def test_without_the_header_an_operator_pays_as_before(api: ApiOverFakes) -> None:
    """The budgets are apart."""
    api.replies.answer = outcome(type="mode", expires_at=None)
    headers = {"Authorization": _headers()["Authorization"]}
    await api.client.post(MODE, json={"target_state": "active"}, headers=headers)
    assert _budgets(api) == {"wake": "operator"}


async def test_a_run_is_for_operators(api: ApiOverFakes) -> None:
    """Otherwise it would be a way around a tenant's own budgets."""
    response = await api.client.post(
        MODE, json={"target_state": "light"}, headers=_headers("sleep:write sleep:read-any")
    )
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert response.json()["reasons"] == ["the header Sleep-Run needs the scope sleep:operate"]
    assert api.log.published == []


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "é"])
async def test_a_run_has_a_plain_name(api: ApiOverFakes, name: str) -> None:
    """It is part of a key, of a reason and of a file's name."""
    headers = [(field.encode(), value.encode()) for field, value in _headers(run=name).items()]
    response = await api.client.post(MODE, json={"target_state": "light"}, headers=headers)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["Sleep-Run"]
    assert api.log.published == []


async def test_two_names_are_refused(api: ApiOverFakes) -> None:
    """As other headers that a proxy may read differently."""
    headers = [*_headers().items(), ("Sleep-Run", "other")]
    response = await api.client.post(MODE, json={"target_state": "light"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
