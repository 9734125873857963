"""`/api/brain/sleep_policy` over HTTP."""

from typing import Any

import pytest
from pydantic_core import to_json

from api.describe.documents import PolicyAnswer
from api.describe.problems import ProblemError
from api.door.etag import etag, parse_if_match
from schemas.events import PolicyEvent
from schemas.policy import BUILT_IN_RULES, parse_policy, parse_rules
from schemas.record import new_record
from tests.unit.api.conftest import World
from tests.unit.api.fakes import NOW, outcome

URL = "/api/brain/sleep_policy"
POLICY = {"ceiling": "deep", "max_ttl_seconds": 60}


def _own(world: World, version: int, policy: dict[str, Any] | None = POLICY) -> None:
    parsed = None if policy is None else parse_policy(policy)
    world.store.records["acme"] = new_record(BUILT_IN_RULES, NOW)._replace(policy=parsed, policy_version=version)


async def test_a_tenant_without_a_policy_has_the_rules_one(world: World) -> None:
    """Version 0, default."""
    world.store.rules = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "light"}})]
    response = await world.client.get(URL)
    document = PolicyAnswer.model_validate(response.json())
    assert (document.policy["ceiling"], document.policy_version, document.default) == ("light", 0, True)
    assert response.headers["etag"] == '"0"'


async def test_a_tenants_own_policy_is_shown_filled(world: World) -> None:
    """With its version as the tag."""
    _own(world, 4)
    response = await world.client.get(URL)
    assert response.json() == {"policy": parse_policy(POLICY).document, "policy_version": 4, "default": False}
    assert response.headers["etag"] == '"4"'


async def test_a_cleared_policy_is_the_default_with_a_version(world: World) -> None:
    """Versions only grow."""
    _own(world, 5, None)
    response = await world.client.get(URL)
    assert (response.json()["default"], response.headers["etag"]) == (True, '"5"')


@pytest.mark.parametrize(("if_match", "if_version"), [('"3"', 3), ("*", None), (' "3" , W/"4", "x"', 3)])
async def test_a_policy_is_published_and_answered_with_the_new_one(
    world: World, if_match: str, if_version: int | None
) -> None:
    """The answer is the policy as it holds now, with its new tag."""
    _own(world, 4)
    world.replies.answer = outcome(type="policy", expires_at=None, target_state=None)
    response = await world.client.put(URL, json=POLICY, headers={"If-Match": if_match})
    assert (response.status_code, response.headers["etag"]) == (200, '"4"')
    assert response.json()["policy"]["ceiling"] == "deep"
    [event] = world.log.events
    assert isinstance(event, PolicyEvent)
    assert (event.data.policy, event.data.if_version) == (POLICY, if_version)
    assert world.authoriser.questions[0].action == "cognitive_sleep_policy"


async def test_a_policy_that_another_has_replaced_since_is_not_answered_with_that_ones_tag(world: World) -> None:
    """With it, its author would overwrite what they have not seen."""
    _own(world, 9, {"ceiling": "light"})
    world.replies.answer = outcome(type="policy", expires_at=None)
    response = await world.client.put(URL, json=POLICY, headers={"If-Match": '"3"'})
    assert response.json() == {"policy": parse_policy(POLICY).document, "policy_version": 4, "default": False}
    assert response.headers["etag"] == '"4"'


async def test_a_policy_that_only_the_worker_understands_is_shown_as_it_stands(world: World) -> None:
    """While a new version is rolled out."""
    _own(world, 4)
    world.replies.answer = outcome(type="policy", expires_at=None)
    response = await world.client.put(URL, json={"new": 1}, headers={"If-Match": '"3"'})
    assert (response.status_code, response.headers["etag"]) == (200, '"4"')


async def test_a_policy_is_cleared(world: World) -> None:
    """DELETE publishes no policy."""
    world.replies.answer = outcome(type="policy", expires_at=None)
    response = await world.client.delete(URL, headers={"If-Match": '"0"'})
    assert (response.status_code, response.json()["default"]) == (200, True)
    [event] = world.log.events
    assert isinstance(event, PolicyEvent)
    assert event.data.policy is None


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_write_needs_if_match(world: World, method: str) -> None:
    """428, and nothing is published."""
    response = await world.client.request(method, URL, json=POLICY)
    assert (response.status_code, response.json()["code"]) == (428, "precondition_required")
    assert world.log.published == []


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("DELETE", ""), ("POST", "/preview")])
async def test_who_may_not_is_told_so_whatever_else_was_wrong(world: World, method: str, path: str) -> None:
    """403, though `If-Match` is missing and the body is none."""
    world.authoriser.decision = world.authoriser.decision._replace(allow=False)
    response = await world.client.request(method, URL + path, json=[])
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert world.log.published == []


async def test_of_several_tags_the_present_one_is_compared(world: World) -> None:
    """The log compares one version."""
    _own(world, 4)
    world.replies.answer = outcome(type="policy", expires_at=None)
    assert (await world.client.put(URL, json={}, headers={"If-Match": '"3", "4"'})).status_code == 200
    [event] = world.log.events
    assert isinstance(event, PolicyEvent)
    assert event.data.if_version == 4


async def test_if_match_in_two_lines_is_one_list(world: World) -> None:
    """So an asterisk beside a tag is no wildcard."""
    tags = [("If-Match", "*"), ("If-Match", '"3"')]
    assert (await world.client.put(URL, json={}, headers=tags)).json()["code"] == "malformed_request"
    assert world.log.published == []


@pytest.mark.parametrize("if_match", ['"1", "2"', 'W/"4"', '"other"', '"04"'])
async def test_tags_that_cannot_match_are_412_at_once(world: World, if_match: str) -> None:
    """Weak and foreign tags match nothing."""
    _own(world, 4)
    response = await world.client.put(URL, json={}, headers={"If-Match": if_match})
    assert (response.status_code, response.json()["code"]) == (412, "version_conflict")
    assert world.log.published == []


async def test_a_tag_of_another_version_is_412_from_the_log(world: World) -> None:
    """The log is the judge, so two writers cannot both win."""
    world.replies.answer = outcome(type="policy", refused=True, code="version_conflict")
    response = await world.client.put(URL, json={}, headers={"If-Match": '"9"'})
    assert (response.status_code, response.json()["code"]) == (412, "version_conflict")


async def test_an_invalid_policy_names_its_fields(world: World) -> None:
    """What the log refused is explained field by field."""
    world.replies.answer = outcome(type="policy", refused=True, code="invalid_policy", detail="2 fields")
    body = {"floor": "asleep", "surprise": 1}
    response = await world.client.put(URL, json=body, headers={"If-Match": "*"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_policy")
    assert {error["field"] for error in response.json()["errors"]} == {"floor", "surprise"}


async def test_a_policy_that_only_the_log_finds_invalid_has_its_words(world: World) -> None:
    """A newer worker may know more."""
    world.replies.answer = outcome(type="policy", refused=True, code="invalid_policy", detail="not today")
    problem = (await world.client.put(URL, json={}, headers={"If-Match": "*"})).json()
    assert problem["detail"] == "not today"
    assert "errors" not in problem


@pytest.mark.parametrize("content", [b'{"schedule": 1e400}', b'{"breakers": [{"x": -1e999}]}'])
async def test_an_infinite_number_does_not_become_null(world: World, content: bytes) -> None:
    """Null would mean the default schedule."""
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    response = await world.client.put(URL, content=content, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["reason"]) == (422, "a number fits no double")
    assert world.log.published == []


async def test_a_body_that_is_no_object_is_no_policy(world: World) -> None:
    """422 at the door."""
    response = await world.client.put(URL, json=[POLICY], headers={"If-Match": "*"})
    assert response.status_code == 422
    assert world.log.published == []


async def test_a_policy_change_may_be_answered_later(world: World) -> None:
    """202 with the operation."""
    response = await world.client.put(URL, json={}, headers={"If-Match": "*", "Prefer": "wait=1"})
    assert (response.status_code, response.headers["location"]) == (202, "/api/operations/id-1")
    assert response.headers["preference-applied"] == "wait=1"


async def test_a_change_whose_result_cannot_be_shown_is_accepted(world: World) -> None:
    """Redis went away after the log had answered."""
    world.replies.answer = outcome(type="policy", expires_at=None)
    world.store.down = {"tenant"}
    response = await world.client.put(URL, json={}, headers={"If-Match": "*"})
    assert (response.status_code, response.json()["status"]) == (202, "completed")


def test_if_match_is_a_star_or_quoted_tags() -> None:
    """What is neither is malformed."""
    assert parse_if_match(" * ") is None
    assert parse_if_match('"1","22"') == frozenset({1, 22})
    assert parse_if_match(etag(7)) == frozenset({7})
    for wrong in ("7", '"7', '"1" "2"', "*, *"):
        with pytest.raises(ProblemError) as raised:
            parse_if_match(wrong)
        assert raised.value.code == "malformed_request"


async def test_a_policy_whose_event_would_be_too_large_is_refused_before_it_is_published(world: World) -> None:
    """The log would set it aside, and the caller would wait for an outcome that never comes."""
    body = {"x": [1e15] * 8_000}
    content = to_json(body).replace(b"1000000000000000.0", b"1e15")
    assert len(content) < 65_536
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    response = await world.client.put(URL, content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert world.log.published == []
    assert world.store.receipts == {}
