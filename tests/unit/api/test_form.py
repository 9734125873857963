"""What is refused for its form alone: the API and the fold must agree."""

from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.commands.form import require_form
from api.errors.problems import ProblemError
from schemas.domain.policy import BUILT_IN_RULES, Rules, RulesDocument
from schemas.domain.values import MAX_SECONDS
from schemas.wire.events import EVENTS, CommandEvent
from tests.unit.api.application import ApiOverFakes
from worker.fold.fold import At, fold

MODE: Final = "/api/brain/sleep_mode"
LONGEST: Final = Rules(0, RulesDocument.model_validate({"policy": {"max_ttl_seconds": MAX_SECONDS}}))
TTLS: Final = st.none() | st.sampled_from([0, -1, 1, 60_000, MAX_SECONDS * 1000, MAX_SECONDS * 1000 + 1, 10**300])
STATES: Final = st.sampled_from(["active", "light", "deep", "freeze"])
COMMANDS: Final[st.SearchStrategy[tuple[str, dict[str, Any]]]] = st.one_of(
    st.fixed_dictionaries({"target": st.sampled_from(["light", "deep", "freeze"]), "ttl_ms": TTLS}).map(
        lambda data: ("operation", data)
    ),
    st.fixed_dictionaries({"target": STATES, "ttl_ms": TTLS, "override": st.booleans()}).map(
        lambda data: ("mode", data)
    ),
    st.fixed_dictionaries({"cancels": st.just("op-1")}).map(lambda data: ("cancel", data)),
    st.sampled_from(
        [
            None,
            {},
            {"floor": "deep", "ceiling": "light"},
            {"x": 1},
            {"breakers": [{}]},
            {"max_ttl_seconds": 0},
            {"floor": "deep"},
        ]
    ).map(lambda policy: ("policy", {"policy": policy, "if_version": 7})),
)


def command_of(kind: str, data: dict[str, Any]) -> CommandEvent:
    """Return a command as the log holds it."""
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": f"sleep.{kind}.v1", "subject": "acme"}
    common = {"operation_id": "1", "actor": "ops"}
    return cast("CommandEvent", EVENTS.validate_python(event | {"data": common | data}))


def refused_at_the_door(command: CommandEvent) -> str | None:
    """Return the code with which the API refuses a command."""
    try:
        require_form(command.data)
    except ProblemError as error:
        return error.code
    return None


def refused_by_the_log(command: CommandEvent, rules: Rules) -> str | None:
    """Return the code with which the log refuses a command of a tenant without a record."""
    refusal = fold(None, command, {}, [rules], At(0, 1, 1_000)).refusal
    return None if refusal is None else refusal.code


@given(COMMANDS)
def test_the_door_refuses_what_the_log_refuses_in_any_state(given_: tuple[str, dict[str, Any]]) -> None:
    """And nothing else: under the most lenient rules the TTL refusals of the log are those of the API.

    Of a policy with another version the log says `version_conflict`, whatever is in it: that order is the log's.
    """
    command = command_of(*given_)
    at_the_door = refused_at_the_door(command)
    for rules in (BUILT_IN_RULES, LONGEST):
        by_the_log = refused_by_the_log(command, rules)
        assert at_the_door is None or by_the_log in {at_the_door, "version_conflict"}
    of_state = {"not_running", "version_conflict", None}
    assert at_the_door or refused_by_the_log(command, LONGEST) in of_state


@pytest.mark.parametrize("policy", [{"x": 1}, {"floor": "deep", "ceiling": "light"}])
def test_an_invalid_policy_is_invalid_for_door_and_log(policy: dict[str, Any]) -> None:
    """Where no version is in the way."""
    command = command_of("policy", {"policy": policy})
    assert refused_at_the_door(command) == refused_by_the_log(command, LONGEST) == "invalid_policy"


@pytest.mark.parametrize(
    "body",
    [
        {"target_state": "active", "ttl_seconds": 60},
        {"target_state": "deep", "ttl_seconds": 0},
        {"target_state": "deep", "override": True},
        {"target_state": "active", "override": True, "ttl_seconds": -1},
        {"target_state": "deep", "ttl_seconds": 1e300},
    ],
)
async def test_a_mode_that_can_never_be_is_not_published(api: ApiOverFakes, body: dict[str, Any]) -> None:
    """422 with the field, and nothing in the log."""
    response = await api.client.post(MODE, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "ttl_out_of_range")
    assert [error["field"] for error in response.json()["errors"]] == ["ttl_seconds"]
    assert (api.log.published, api.store.receipts) == ([], {})
