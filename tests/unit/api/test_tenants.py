"""`GET /api/tenants`: pages, filters and numbers."""

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from api.queries.tenant_list import LOOKED_AT, STEP
from schemas.domain.claim import Claim
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import Record, new_record
from schemas.domain.state import SleepState
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

URL = "/api/tenants"


def asleep(tenant: str, ends: int) -> Record:
    """A record that sleeps deeply until its operation ends."""
    claim = Claim("operation", tenant, SleepState.deep, None, None, NOW, ends, "ops", None)
    record = new_record(BUILT_IN_RULES, NOW)
    return replace(
        record, state=SleepState.deep, decided=SleepState.deep, claims={("operation", tenant): claim}, offset=1
    )


async def walk(api: ApiOverFakes, **query: str | int) -> list[dict[str, Any]]:
    """Every page."""
    pages: list[dict[str, Any]] = []
    while True:
        cursor = {"cursor": pages[-1]["cursor"]} if pages else {}
        response = await api.client.get(URL, params={**query, **cursor})
        assert response.status_code == 200, response.text
        pages.append(response.json())
        if pages[-1]["cursor"] is None:
            return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("bucket", [1, 4])
async def test_a_walk_meets_every_tenant_once_and_no_page_is_too_long(
    api: ApiOverFakes, limit: int, bucket: int
) -> None:
    """Also where Redis gives more than was asked for."""
    tenants = {f"t-{number}" for number in range(60)}
    api.store.records = {tenant: new_record(BUILT_IN_RULES, NOW) for tenant in tenants}
    api.store.bucket = bucket
    pages = await walk(api, limit=limit)
    assert all(len(page["tenants"]) <= limit for page in pages)
    assert sorted(entry["tenant_id"] for page in pages for entry in page["tenants"]) == sorted(tenants)


async def test_no_tenant_is_missed_where_the_limit_changes_on_the_way(api: ApiOverFakes) -> None:
    """The rest of a step is that of the same step."""
    tenants = {f"t-{number}" for number in range(3_000)}
    api.store.records = {tenant: new_record(BUILT_IN_RULES, NOW) for tenant in tenants}
    seen: list[str] = []
    limits = itertools.cycle([3, 1000, 70])
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = (await api.client.get(URL, params={"limit": next(limits), **cursor})).json()
        seen += [entry["tenant_id"] for entry in page["tenants"]]
        cursor = None if page["cursor"] is None else {"cursor": page["cursor"]}
    assert sorted(seen) == sorted(tenants)


async def test_an_entry_shows_the_tenant_as_it_is_now(api: ApiOverFakes) -> None:
    """What fell due since the last fold is settled; the numbers are those of the fold."""
    api.store.records = {"due": asleep("due", NOW), "sleeps": asleep("sleeps", NOW + 1)}
    [page] = await walk(api)
    due, sleeps = sorted(page["tenants"], key=lambda entry: str(entry["tenant_id"]))
    assert (due["state"], due["cause"], due["forecast"]) == ("active", {"kind": "expired", "key": "due"}, [])
    assert sleeps == {
        "tenant_id": "sleeps",
        "state": "deep",
        "since": NOW,
        "cause": None,
        "policy_version": 0,
        "forecast": [{"at": NOW + 1, "state": "active"}],
    }
    assert page["counts"] == {"active": 0, "light": 0, "deep": 2, "freeze": 0}


async def test_a_state_is_that_of_now(api: ApiOverFakes) -> None:
    """The filter looks at what is shown."""
    api.store.records = {"due": asleep("due", NOW), "sleeps": asleep("sleeps", NOW + 1)}
    assert [entry["tenant_id"] for page in await walk(api, state="deep") for entry in page["tenants"]] == ["sleeps"]
    assert [entry["tenant_id"] for page in await walk(api, state="active") for entry in page["tenants"]] == ["due"]


async def test_open_ended_ones_come_from_their_own_key(api: ApiOverFakes) -> None:
    """So that finding three of them does not take a look at all."""
    api.store.records = {f"t-{number}": asleep("x", NOW + 1) for number in range(50)}
    api.store.open_ended = {"t-7", "t-8"}
    pages = await walk(api, open_ended=True)
    assert sorted(entry["tenant_id"] for page in pages for entry in page["tenants"]) == ["t-7", "t-8"]
    assert pages[0]["open_ended"] == 2


async def test_a_rare_state_gives_short_pages_not_slow_ones(api: ApiOverFakes) -> None:
    """Each looks at so many records and no more, and says where the next goes on."""
    api.store.records = {f"t-{number}": new_record(BUILT_IN_RULES, NOW) for number in range(3 * LOOKED_AT)}
    first = (await api.client.get(URL, params={"state": "freeze"})).json()
    assert (first["tenants"], api.store.steps <= LOOKED_AT // STEP) == ([], True)
    assert first["cursor"] is not None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "8-0-"}, "cursor"),
        ({"cursor": "\u0663-0-"}, "cursor"),
        ({"cursor": "0-0-a/b"}, "cursor"),
        ({"cursor": "0-0-a\n"}, "cursor"),
        ({"cursor": f"0-{2**64}-"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"state": "asleep"}, "state"),
        ({"open_ended": "perhaps"}, "open_ended"),
    ],
)
async def test_a_wrong_parameter_is_named(api: ApiOverFakes, query: dict[str, Any], field: str) -> None:
    """422, with the field."""
    response = await api.client.get(URL, params=query)
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, [field])


async def test_an_operator_needs_no_tenant(api: ApiOverFakes) -> None:
    """It is about all of them: policy is asked for none."""
    headers = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}
    assert (await api.client.get(URL, headers=headers)).status_code == 200
    [question] = api.authoriser.questions
    assert (question.action, question.tenant) == ("list", None)


@pytest.mark.parametrize("method", ["scan", "totals"])
async def test_without_redis_nothing_is_listed(api: ApiOverFakes, method: str) -> None:
    """503, no empty page."""
    api.store.down = {method}
    response = await api.client.get(URL)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
