"""`/api/brain/sleep_policy` over HTTP."""

from typing import Any

import pytest
from msgspec.structs import replace

from api.errors.problems import ProblemError
from api.http.etag import etag, parse_if_match
from schemas.domain.policy import BUILT_IN_RULES, parse_policy, parse_rules
from schemas.domain.record import new_record
from schemas.wire.documents import PolicyAnswer
from schemas.wire.events import PolicyEvent
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes

URL = "/api/brain/sleep_policy"
POLICY = {"ceiling": "deep", "max_ttl_seconds": 60}


def _own(api: ApiOverFakes, version: int, policy: dict[str, Any] | None = POLICY) -> None:
    parsed = None if policy is None else parse_policy(policy)
    api.store.records["acme"] = replace(new_record(BUILT_IN_RULES, NOW), policy=parsed, policy_version=version)


async def test_a_tenant_without_a_policy_has_the_rules_one(api: ApiOverFakes) -> None:
    """Version 0, default."""
    api.store.rules = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "light"}})]
    response = await api.client.get(URL)
    document = PolicyAnswer.model_validate(response.json())
    assert (document.policy.ceiling, document.policy_version, document.default) == ("light", 0, True)
    assert response.headers["etag"] == '"0"'


async def test_a_tenants_own_policy_is_shown_filled(api: ApiOverFakes) -> None:
    """With its version as the tag."""
    _own(api, 4)
    response = await api.client.get(URL)
    assert response.json() == {
        "policy": parse_policy(POLICY).document,
        "policy_version": 4,
        "default": False,
        "notes": [],
    }
    assert response.headers["etag"] == '"4"'


async def test_a_cleared_policy_is_the_default_with_a_version(api: ApiOverFakes) -> None:
    """Versions only grow."""
    _own(api, 5, None)
    response = await api.client.get(URL)
    assert (response.json()["default"], response.headers["etag"]) == (True, '"5"')


@pytest.mark.parametrize(("if_match", "if_version"), [('"3"', 3), ("*", None), (' "3" , W/"4", "x"', 3)])
async def test_a_policy_is_published_and_answered_with_the_new_one(
    api: ApiOverFakes, if_match: str, if_version: int | None
) -> None:
    """The answer is the policy as it holds now, with its new tag."""
    _own(api, 4)
    api.replies.answer = outcome(type="policy", expires_at=None, target_state=None)
    response = await api.client.put(URL, json=POLICY, headers={"If-Match": if_match})
    assert (response.status_code, response.headers["etag"]) == (200, '"4"')
    assert response.json()["policy"]["ceiling"] == "deep"
    [event] = api.log.events
    assert isinstance(event, PolicyEvent)
    assert (event.data.policy, event.data.if_version) == (POLICY, if_version)
    assert api.authoriser.questions[0].action == "cognitive_sleep_policy"


async def test_a_replaced_policy_is_not_answered_with_the_tag_of_its_successor(api: ApiOverFakes) -> None:
    """With it, its author would overwrite what they have not seen."""
    _own(api, 9, {"ceiling": "light"})
    api.replies.answer = outcome(type="policy", expires_at=None)
    response = await api.client.put(URL, json=POLICY, headers={"If-Match": '"3"'})
    assert response.json() == {
        "policy": parse_policy(POLICY).document,
        "policy_version": 4,
        "default": False,
        "notes": [],
    }
    assert response.headers["etag"] == '"4"'


async def test_a_policy_is_cleared(api: ApiOverFakes) -> None:
    """DELETE publishes no policy."""
    api.replies.answer = outcome(type="policy", expires_at=None)
    response = await api.client.delete(URL, headers={"If-Match": '"0"'})
    assert (response.status_code, response.json()["default"]) == (200, True)
    [event] = api.log.events
    assert isinstance(event, PolicyEvent)
    assert event.data.policy is None


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_write_needs_if_match(api: ApiOverFakes, method: str) -> None:
    """428, and nothing is published."""
    response = await api.client.request(method, URL, json=POLICY)
    assert (response.status_code, response.json()["code"]) == (428, "precondition_required")
    assert api.log.published == []


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("DELETE", ""), ("POST", "/preview")])
async def test_who_may_not_is_told_so_whatever_else_was_wrong(api: ApiOverFakes, method: str, path: str) -> None:
    """403, though `If-Match` is missing and the body is none."""
    api.authoriser.decision = api.authoriser.decision._replace(allow=False)
    response = await api.client.request(method, URL + path, json=[])
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert api.log.published == []


async def test_of_several_tags_the_present_one_is_compared(api: ApiOverFakes) -> None:
    """The log compares one version."""
    _own(api, 4)
    api.replies.answer = outcome(type="policy", expires_at=None)
    assert (await api.client.put(URL, json={}, headers={"If-Match": '"3", "4"'})).status_code == 200
    [event] = api.log.events
    assert isinstance(event, PolicyEvent)
    assert event.data.if_version == 4


async def test_if_match_in_two_lines_is_one_list(api: ApiOverFakes) -> None:
    """So an asterisk beside a tag is no wildcard."""
    tags = [("If-Match", "*"), ("If-Match", '"3"')]
    assert (await api.client.put(URL, json={}, headers=tags)).json()["code"] == "malformed_request"
    assert api.log.published == []


@pytest.mark.parametrize("if_match", ['"1", "2"', 'W/"4"', '"other"', '"04"'])
async def test_tags_that_cannot_match_are_412_at_once(api: ApiOverFakes, if_match: str) -> None:
    """Weak and foreign tags match nothing."""
    _own(api, 4)
    response = await api.client.put(URL, json={}, headers={"If-Match": if_match})
    assert (response.status_code, response.json()["code"]) == (412, "version_conflict")
    assert api.log.published == []


async def test_a_tag_of_another_version_is_412_from_the_log(api: ApiOverFakes) -> None:
    """The log is the judge, so two writers cannot both win."""
    api.replies.answer = outcome(type="policy", refused=True, code="version_conflict")
    response = await api.client.put(URL, json={}, headers={"If-Match": '"9"'})
    assert (response.status_code, response.json()["code"]) == (412, "version_conflict")


@pytest.mark.parametrize("if_match", ["*", '"9"', '"1", "2"', None])
async def test_an_invalid_policy_is_refused_before_its_version_is_looked_at(
    api: ApiOverFakes, if_match: str | None
) -> None:
    """Each wrong field is named, and nothing is published: what is wrong in itself is not the log's to keep."""
    _own(api, 4)
    headers = {} if if_match is None else {"If-Match": if_match}
    response = await api.client.put(URL, json={"floor": "asleep", "surprise": 1}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_policy")
    assert {error["field"] for error in response.json()["errors"]} == {"floor", "surprise"}
    assert (api.log.published, api.store.receipts) == ([], {})


async def test_a_policy_that_only_the_log_finds_invalid_has_its_words(api: ApiOverFakes) -> None:
    """A newer worker may know more."""
    api.replies.answer = outcome(type="policy", refused=True, code="invalid_policy", detail="not today")
    problem = (await api.client.put(URL, json={}, headers={"If-Match": "*"})).json()
    assert problem["detail"] == "not today"
    assert "errors" not in problem


@pytest.mark.parametrize("content", [b'{"schedule": 1e400}', b'{"breakers": [{"x": -1e999}]}'])
async def test_an_infinite_number_does_not_become_null(api: ApiOverFakes, content: bytes) -> None:
    """Null would mean the default schedule."""
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    response = await api.client.put(URL, content=content, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["reason"]) == (422, "a number fits no double")
    assert api.log.published == []


async def test_a_body_that_is_no_object_is_no_policy(api: ApiOverFakes) -> None:
    """422 by the API."""
    response = await api.client.put(URL, json=[POLICY], headers={"If-Match": "*"})
    assert response.status_code == 422
    assert api.log.published == []


async def test_a_policy_change_may_be_answered_later(api: ApiOverFakes) -> None:
    """202 with the operation."""
    response = await api.client.put(URL, json={}, headers={"If-Match": "*", "Prefer": "wait=1"})
    assert (response.status_code, response.headers["location"]) == (202, "/api/operations/id-1")
    assert response.headers["preference-applied"] == "wait=1"


async def test_a_change_whose_result_cannot_be_shown_is_accepted(api: ApiOverFakes) -> None:
    """Redis went away after the log had answered."""
    api.replies.answer = outcome(type="policy", expires_at=None)
    api.store.down = {"tenant"}
    response = await api.client.put(URL, json={}, headers={"If-Match": "*"})
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


@pytest.mark.parametrize("if_match", ['"3"', "*"])
async def test_a_policy_with_unmatched_breakers_is_answered_with_a_note(api: ApiOverFakes, if_match: str) -> None:
    """`[]` ignores nothing."""
    policy: dict[str, Any] = {"breakers": []}
    _own(api, 4, policy)
    api.replies.answer = outcome(type="policy", expires_at=None)
    for response in (
        await api.client.put(URL, json=policy, headers={"If-Match": if_match}),
        await api.client.get(URL),
    ):
        (note,) = response.json()["notes"]
        assert note.startswith("the built-in rule applies to each breaker that no rule matches; end with `{")
