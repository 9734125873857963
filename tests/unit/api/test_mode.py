"""`/api/brain/sleep_mode` over HTTP."""

from typing import Any

import pytest
from msgspec.structs import replace

from schemas.domain.claim import Cause, Claim
from schemas.domain.policy import BUILT_IN_RULES, parse_policy
from schemas.domain.record import new_record
from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState
from schemas.wire.documents import CeilingDocument, DecidingClaim, SleepModeDocument
from schemas.wire.events import ModeEvent
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes

URL = "/api/brain/sleep_mode"


@pytest.mark.parametrize(
    ("body", "action", "data"),
    [
        ({"target_state": "light"}, "cognitive_sleep", ("light", None, False)),
        ({"target_state": "active", "ttl_seconds": None}, "cognitive_sleep", ("active", None, False)),
        ({"target_state": "freeze", "ttl_seconds": 1.5}, "cognitive_sleep", ("freeze", 1500, False)),
        (
            {"target_state": "active", "ttl_seconds": 9, "override": True},
            "cognitive_sleep_override",
            ("active", 9000, True),
        ),
    ],
)
async def test_a_mode_is_published(
    api: ApiOverFakes, body: dict[str, Any], action: str, data: tuple[str, int | None, bool]
) -> None:
    """Any state, a TTL or none; an override asks for more."""
    api.replies.answer = outcome(type="mode", expires_at=None)
    response = await api.client.post(URL, json=body)
    assert (response.status_code, response.json()["type"]) == (200, "mode")
    [event] = api.log.events
    assert isinstance(event, ModeEvent)
    assert (event.data.target, event.data.ttl_ms, event.data.override) == data
    [question] = api.authoriser.questions
    assert (question.action, question.override) == (action, data[2])
    assert (question.target_state, question.ttl_seconds) == (body["target_state"], body.get("ttl_seconds"))


async def test_a_pin_without_an_end_is_refused(api: ApiOverFakes) -> None:
    """Before it is published; the refusal names the TTL."""
    response = await api.client.post(URL, json={"target_state": "deep", "override": True})
    assert response.status_code == 422
    assert response.json()["errors"] == [{"field": "ttl_seconds", "reason": "a pin needs a TTL"}]
    assert api.log.published == []


@pytest.mark.parametrize("change", [{"target_state": "asleep"}, {"override": "yes"}, {"ttl_seconds": []}, {"x": 1}])
async def test_a_wrong_mode_is_refused_at_the_door(api: ApiOverFakes, change: dict[str, Any]) -> None:
    """422 names the field."""
    response = await api.client.post(URL, json={"target_state": "light"} | change)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, next(iter(change)))
    assert api.log.published == []


async def test_async_mode_counts_for_modes(api: ApiOverFakes) -> None:
    """202 at once."""
    response = await api.client.post(URL, json={"target_state": "light", "async_mode": True})
    assert (response.status_code, response.json()["type"]) == (202, "mode")


async def test_a_tenant_never_seen_is_awake(api: ApiOverFakes) -> None:
    """With the rules' parameters, and nothing is cached."""
    response = await api.client.get(URL)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    document = SleepModeDocument.model_validate(response.json())
    assert (document.tenant_id, document.state, document.position, document.now) == ("acme", "active", None, NOW)
    assert (document.seen, document.decided_by.kind) == (False, "nothing")
    assert api.authoriser.questions[0].action == "read"


async def test_what_decided_is_told_and_that_no_rule_matches(api: ApiOverFakes) -> None:
    """With the rule that would end the list."""
    claim = Claim("breaker", "search@pod-1", None, "open", None, NOW - 9000, NOW + 9000, None, None)
    api.store.records["acme"] = replace(
        new_record(BUILT_IN_RULES, NOW - 9000),
        state=SleepState.deep,
        decided=SleepState.deep,
        claims={("breaker", "search@pod-1"): claim},
        policy=parse_policy({"ceiling": "deep", "breakers": []}),
        offset=1,
    )
    shown = SleepModeDocument.model_validate((await api.client.get(URL)).json())
    assert shown.seen
    decided = shown.decided_by
    assert (decided.kind, decided.without, decided.asked) == ("ceiling", "freeze", "freeze")
    assert (decided.ceiling, decided.claim) == (
        CeilingDocument(state="deep", of="policy"),
        DecidingClaim(source="breaker", key="search@pod-1", quorum=None),
    )
    assert decided.unmatched_breakers == ("search",)
    (note,) = shown.notes
    assert note.startswith("no rule matches `search`: the built-in rule applies; end with")


async def test_a_reader_sees_what_fell_due_without_a_worker(api: ApiOverFakes) -> None:
    """A mode that ended a second ago is over, and the parameters are on their way."""
    sets = BUILT_IN_RULES.terms.schedule
    claim = Claim("mode", "mode", SleepState.deep, None, None, NOW - 9000, NOW - 1000, "ops", None)
    api.store.records["acme"] = replace(
        new_record(BUILT_IN_RULES, NOW - 9000),
        state=SleepState.deep,
        decided=SleepState.deep,
        cause=Cause("mode", "mode"),
        claims={("mode", "mode"): claim},
        ramp=Ramp(sets[0], sets[2], NOW - 9000, NOW - 9000),
        offset=41,
    )
    document = SleepModeDocument.model_validate((await api.client.get(URL)).json())
    assert (document.state, document.claims, document.position) == ("active", (), "3:41")
    assert document.since == NOW - 1000
    assert document.cause is not None
    assert document.cause.kind == "expired"
    assert 20 < document.parameters.K < 100
