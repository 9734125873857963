"""Query parameters that are not known, or there twice, are refused by name."""

import pytest

from tests.support.operations import outcome
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.endpoints import ENDPOINTS, Endpoint

STATES = "/api/states/events"
TENANTS = "/api/tenants"
KNOWN = "known: state, open_ended, cursor, limit"
SERVICE = ("/healthz", "/readyz", "/status", "/version", "/metrics", "/openapi.json", "/docs")


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("State=freeze", "State", f"unknown parameter; did you mean `state`? {KNOWN}"),
        ("openEnded=true", "openEnded", f"unknown parameter; did you mean `open_ended`? {KNOWN}"),
        ("page=2", "page", f"unknown parameter; {KNOWN}"),
        ("limit=1&limt=2", "limt", f"unknown parameter; did you mean `limit`? {KNOWN}"),
        ("x", "x", f"unknown parameter; {KNOWN}"),
        ("=1", "(query)", f"unknown parameter; {KNOWN}"),
        ("limit=1&limit=2", "limit", "given more than once"),
        ("state=deep&state=deep", "state", "given more than once"),
    ],
)
async def test_a_parameter_that_is_not_known_or_there_twice_is_refused(
    api: ApiOverFakes, query: str, field: str, reason: str
) -> None:
    """With its name, what was probably meant, and what is known; the tenants are not listed."""
    answer = await api.client.get(f"{TENANTS}?{query}", headers=_operator())
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"] == [{"field": field, "reason": reason}]
    assert problem["detail"] == f"{field}: {reason}"
    assert api.authoriser.questions == []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
async def test_no_guarded_path_ignores_a_parameter(api: ApiOverFakes, endpoint: Endpoint) -> None:
    """Those without parameters say so; a HEAD is refused as a GET is."""
    api.store.outcomes["acme", "op-1"] = outcome()
    url = endpoint.path
    answer = await api.client.request(endpoint.method, f"{url}?dry_run=true", headers={"If-Match": "*"})
    [error] = answer.json()["errors"]
    known = {
        TENANTS: KNOWN,
        STATES: "known: tenants",
        "/api/audit": "known: tenant, from, to, kind, actor, cursor, limit",
        "/api/deadletters": "known: code, cursor, limit",
    }.get(url, "no parameter is known here")
    assert (answer.status_code, error) == (422, {"field": "dry_run", "reason": f"unknown parameter; {known}"})
    if endpoint.method == "GET":
        assert (await api.client.head(f"{url}?dry_run=true")).status_code == 422
    assert (api.authoriser.questions, api.log.published) == ([], [])


async def test_the_token_is_judged_before_the_query(api: ApiOverFakes) -> None:
    """Whoever has none learns nothing of the parameters."""
    answer = await api.client.get(f"{TENANTS}?State=deep", headers={"Authorization": ""})
    assert answer.status_code == 401


async def test_so_many_wrong_parameters_are_named_and_no_more(api: ApiOverFakes) -> None:
    """And no name is answered whole, however long it is."""
    query = "&".join(f"{'a' * 300}{number}=1" for number in range(50))
    problem = (await api.client.get(f"{TENANTS}?{query}", headers=_operator())).json()
    assert len(problem["errors"]) == 20
    assert {len(error["field"]) for error in problem["errors"]} == {128}
    assert problem["detail"].endswith("; and 17 more")


@pytest.mark.parametrize("path", SERVICE)
async def test_health_checks_and_scrapers_may_add_parameters(api: ApiOverFakes, path: str) -> None:
    """Paths without a token take none, and ignore those that load balancers and caches add."""
    plain, added = await api.client.get(path), await api.client.get(f"{path}?verbose&_=1")
    assert added.status_code == plain.status_code


def _operator() -> dict[str, str]:
    return {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}
