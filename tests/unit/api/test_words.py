"""What callers are told of a wrong request: sentences, and neither Python nor pydantic."""

import re
from typing import Any

import pytest

from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

SLEEP, MODE, POLICY, EVENTS = (
    "/api/util/sleep",
    "/api/brain/sleep_mode",
    "/api/brain/sleep_policy/preview",
    "/api/breakers/events",
)
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/pod",
    "type": "sleep.breaker.v1",
    "subject": "acme",
    "data": {"breaker": "payments", "state": "open"},
}
SLEEP_FIELDS = "known: async_mode, reason, trace_id, target_state, ttl_seconds"
POLICY_FIELDS = "known: floor, ceiling, enforce, min_sleep_seconds, max_ttl_seconds, ramp_seconds, breakers, schedule"
BREAKER_STATES = "closed, open, half_open, forced_open, disabled, metrics_only"


def _without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("path", "body", "field", "reason"),
    [
        (
            SLEEP,
            {"target_state": "deep", "ttl_seconds": 1, "state": "deep"},
            "state",
            f"unknown field; did you mean `target_state`? {SLEEP_FIELDS}",
        ),
        (
            SLEEP,
            {"target_state": "deep", "ttlSeconds": 1},
            "ttlSeconds",
            f"unknown field; did you mean `ttl_seconds`? {SLEEP_FIELDS}",
        ),
        (SLEEP, {"ttl_seconds": 1}, "target_state", "required, but missing"),
        (SLEEP, {"target_state": "active", "ttl_seconds": 1}, "target_state", "must be one of light, deep, freeze"),
        (SLEEP, {"target_state": 1, "ttl_seconds": 1}, "target_state", "must be one of light, deep, freeze"),
        (SLEEP, {"target_state": "deep", "ttl_seconds": "1"}, "ttl_seconds", "must be a number"),
        (SLEEP, {"target_state": "deep", "ttl_seconds": True}, "ttl_seconds", "must be a number"),
        (SLEEP, {"target_state": "deep", "ttl_seconds": 0.0001}, "ttl_seconds", "more than 3 decimals"),
        (SLEEP, {"target_state": "deep", "ttl_seconds": 1, "reason": 1}, "reason", "must be a string"),
        (MODE, {"target_state": "deep", "reason": "a" * 257}, "reason", "must have at most 256 characters"),
        (SLEEP, {"target_state": "deep", "ttl_seconds": 1, "async_mode": 1}, "async_mode", "must be true or false"),
        (
            SLEEP,
            {"target_state": "deep", "ttl_seconds": 1, "trace_id": "é"},
            "trace_id",
            "must be 1 to 128 printable ASCII characters",
        ),
        (SLEEP, [], "(document)", "must be a JSON object"),
        (MODE, {"target_state": "off"}, "target_state", "must be one of active, light, deep, freeze"),
        (MODE, {"target_state": "deep", "override": "yes"}, "override", "must be true or false"),
        (POLICY, [], "(document)", "must be a JSON object"),
        (
            POLICY,
            {"max_ttl": 1},
            "max_ttl",
            f"unknown field; did you mean `max_ttl_seconds`? {POLICY_FIELDS}",
        ),
        (POLICY, {"max_ttl_seconds": 0}, "max_ttl_seconds", "must be above 0"),
        (POLICY, {"min_sleep_seconds": -1}, "min_sleep_seconds", "must be at least 0"),
        (POLICY, {"min_sleep_seconds": 2_592_001}, "min_sleep_seconds", "must be at most 2,592,000"),
        (POLICY, {"breakers": {}}, "breakers", "must be a JSON array"),
        (POLICY, {"breakers": [{}]}, "breakers.0.match", "required, but missing"),
        (POLICY, {"breakers": [1]}, "breakers.0", "must be a JSON object"),
        (POLICY, {"breakers": [{"match": ""}]}, "breakers.0.match", "must have at least 1 character"),
        (POLICY, {"breakers": [{"match": "*", "quorum": 1.5}]}, "breakers.0.quorum", "must be an integer"),
        (
            POLICY,
            {"breakers": [{"match": "*", "halfOpen": "deep"}]},
            "breakers.0.halfOpen",
            "unknown field; did you mean `half_open`? known: match, open, half_open, quorum, lease_seconds",
        ),
        (
            POLICY,
            {"ramp_seconds": {"deeper": 1}},
            "ramp_seconds.deeper",
            "unknown field; did you mean `deepen`? known: deepen, wake",
        ),
        (POLICY, {"schedule": {"active": {"lambda_": 1}}}, "schedule.active.lambda_", None),
        (POLICY, {"enforce": None}, "enforce", "must be true or false"),
        (EVENTS, _without(EVENT, "type"), "type", "required, but missing"),
        (EVENTS, EVENT | {"type": "sleep.mode.v1"}, "type", "must be sleep.breaker.v1"),
        (EVENTS, EVENT | {"specversion": "0.3"}, "specversion", "must be 1.0"),
        (EVENTS, EVENT | {"data": None}, "data", "must be a JSON object"),
        (EVENTS, EVENT | {"data": {"breaker": "payments"}}, "data.state", "required, but missing"),
        (EVENTS, EVENT | {"data": {"breaker": "a", "state": "ajar"}}, "data.state", f"must be one of {BREAKER_STATES}"),
        (EVENTS, EVENT | {"time": "yesterday"}, "time", "must be an RFC 3339 time (2026-01-31T12:00:00Z)"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_said_in_a_sentence(
    api: ApiOverFakes, path: str, body: object, field: str, reason: str | None
) -> None:
    """The field as the sender spells it, and what is wanted; in `detail` too."""
    media_type = "application/cloudevents+json" if path == EVENTS else "application/json"
    answer = await api.client.post(path, json=body, headers={"Content-Type": media_type})
    problem = answer.json()
    assert answer.status_code == 422
    reasons = {error["field"]: error["reason"] for error in problem["errors"]}
    assert field in reasons
    assert reason is None or reasons[field] == reason
    _is_plain(problem)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("limit=x", "must be an integer"),
        ("limit=1.5", "must be an integer"),
        ("limit=0", "must be at least 1"),
        ("limit=1001", "must be at most 1,000"),
        (f"limit={'9' * 5000}", "must be an integer of fewer digits"),
        ("state=ajar", "must be one of active, light, deep, freeze"),
        ("open_ended=perhaps", "must be true or false"),
    ],
)
async def test_a_wrong_parameter_is_said_in_a_sentence(api: ApiOverFakes, query: str, reason: str) -> None:
    """As a field of a body is."""
    headers = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}
    answer = await api.client.get(f"/api/tenants?{query}", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, reason)
    _is_plain(answer.json())


async def test_an_event_in_a_batch_is_named_by_its_place(api: ApiOverFakes) -> None:
    """With the same sentences."""
    answer = await api.client.post(
        EVENTS, json=[EVENT, _without(EVENT, "type")], headers={"Content-Type": "application/cloudevents-batch+json"}
    )
    assert answer.json()["errors"] == [{"field": "[1].type", "reason": "required, but missing"}]


def _is_plain(problem: dict[str, Any]) -> None:
    """No word of pydantic's, and no regular expression."""
    text = " ".join([problem["detail"], *(error["reason"] for error in problem["errors"])])
    assert not re.search(r"(?i)\bInput\b|pydantic|Extra inputs|Unable to|\^\[|Field required|discriminator", text), text
