"""`POST /api/brain/sleep_policy/preview`: what a policy would decide, and that it is what the fold decides."""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from schemas.domain.claim import Claim
from schemas.domain.policy import BUILT_IN_RULES, Rules, parse_rules
from schemas.domain.record import Record, new_record
from schemas.domain.state import SleepState
from schemas.wire.events import EVENTS, PolicyEvent
from schemas.wire.tenant_view import present
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes
from worker.fold.fold import At, fold

URL: Final = "/api/brain/sleep_policy/preview"
POLICIES: Final[list[dict[str, Any]]] = [
    {},
    {"floor": "light"},
    {"ceiling": "light"},
    {"enforce": False},
    {"breakers": [{"match": "pay*", "open": "light"}]},
    {"breakers": [{"match": "*", "open": "active"}], "ramp_seconds": {"wake": 5}},
    {"min_sleep_seconds": 600, "breakers": [{"match": "*", "open": "light"}]},
]


def frozen() -> Record:
    """A tenant whose breaker is open, and one of whose sleeps fell due a second ago."""
    breaker = Claim("breaker", "payments@pod-1", None, "open", None, NOW - 5000, NOW + 60_000, None, None)
    operation = Claim("operation", "op-1", SleepState.deep, None, None, NOW - 5000, NOW - 1000, "ops", None)
    return replace(
        new_record(BUILT_IN_RULES, NOW - 5000),
        state=SleepState.freeze,
        decided=SleepState.freeze,
        claims={("breaker", "payments@pod-1"): breaker, ("operation", "op-1"): operation},
        offset=1,
    )


def put(record: Record | None, policy: dict[str, Any], rules: list[Rules]) -> Record | None:
    """What the fold makes of the policy, at this moment."""
    data = {"operation_id": "1", "actor": "a", "policy": policy}
    event = EVENTS.validate_python(
        {"specversion": "1.0", "id": "1", "source": "s", "type": "sleep.policy.v1", "subject": "acme", "data": data}
    )
    assert isinstance(event, PolicyEvent)
    return fold(record, event, {}, rules, At(3, 9, NOW)).record


@pytest.mark.parametrize("rules", [[BUILT_IN_RULES], [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "deep"}})]])
@pytest.mark.parametrize("record", [None, frozen()])
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_preview_is_what_the_fold_then_decides(
    api: ApiOverFakes, policy: dict[str, Any], record: Record | None, rules: list[Rules]
) -> None:
    """Claim for claim and parameter for parameter; only the position is not known before."""
    api.store.rules = rules
    if record is not None:
        api.store.records = {"acme": record}
    before = (await api.client.get("/api/brain/sleep_mode")).json()
    response = await api.client.post(URL, json=policy)
    assert response.status_code == 200
    after = present("acme", 3, put(record, policy, rules), rules, NOW)
    assert response.json() == {"before": before, "after": after | {"position": before["position"]}}
    assert api.log.published == []


@pytest.mark.parametrize(
    ("policy", "field"), [({"floor": "deep", "ceiling": "light"}, "(document)"), ({"flor": "deep"}, "flor")]
)
async def test_an_invalid_policy_is_told_what_is_wrong(api: ApiOverFakes, policy: dict[str, Any], field: str) -> None:
    """With the code that a PUT would be answered with."""
    problem = (await api.client.post(URL, json=policy)).json()
    assert (problem["status"], problem["code"]) == (422, "invalid_policy")
    assert field in [error["field"] for error in problem["errors"]]


async def test_a_preview_with_long_patterns_costs_more_than_a_read(api: ApiOverFakes) -> None:
    """They take long to match, and one tenant's previews must not hold up everybody."""
    short = await api.client.post(URL, json={"breakers": [{"match": "payments-*"}] * 19})
    assert (short.status_code, sum(api.limiter.spent.values())) == (200, 1)
    long = {"breakers": [{"match": "*" * 200}] * 32}
    assert (await api.client.post(URL, json=long)).status_code == 200
    assert sum(api.limiter.spent.values()) == 1 + 33
    api.limiter.amount = 40
    assert (await api.client.post(URL, json=long)).json()["code"] == "quota_exceeded"


async def test_a_preview_is_a_read(api: ApiOverFakes) -> None:
    """It changes nothing, so it needs no more."""
    await api.client.post(URL, json={})
    assert [question.action for question in api.authoriser.questions] == ["read"]
