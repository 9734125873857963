"""The explanation of one event: the record before, the event, each of the six steps, and the record after."""

from typing import Any

import pytest

from schemas.domain.policy import parse_policy
from schemas.wire.events import EVENTS
from tests.support.events import breaker, mode, policy, sleep, timer
from tests.support.records import source
from tests.support.times import DAY, MINUTE, SECOND, T
from tests.unit.worker.rebuilds import log_of, topic
from tests.unit.worker.replays import EACH_STEP, LIGHT_AT_MOST, begun, explained, folded, range_of
from worker.recovery.what_if.scenario import Alternative


def step(document: dict[str, Any], number: int) -> dict[str, Any]:
    """Return one of the six steps."""
    found: dict[str, Any] = document["steps"][number - 1]
    assert found["step"] == number
    return found


def transitions(found: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Return the transitions of a step: from, to, kind of cause, and ms after T."""
    return [(row["from"], row["to"], row["cause"]["kind"], row["at"] - T) for row in found["transitions"]]


def test_the_records_before_and_after_are_those_that_were_published() -> None:
    """As the states topic has them."""
    document = explained(EACH_STEP)
    assert document["before"] == folded(EACH_STEP[:3], 1).document("acme")
    assert document["after"] == folded(EACH_STEP, 1).document("acme")
    assert (document["tenant"], document["position"], document["published"]) == ("acme", "0:3", True)
    assert document["event"]["data"]["operation_id"] == "op-1"


def test_the_rows_are_those_that_were_published() -> None:
    """With the ids of the audit."""
    lane = folded(EACH_STEP, 1)
    assert explained(EACH_STEP)["rows"] == [row for row in lane.rows() if row["position"] == "0:3"]


def test_step_1_takes_the_later_time() -> None:
    """Of the record's clock and the event's timestamp."""
    found = step(explained(EACH_STEP), 1)
    now = T + 1_000 * SECOND
    assert (found["clock_before"], found["timestamp"], found["now"]) == (T + SECOND, now, now)
    early = [*EACH_STEP[:2], source(2, T - MINUTE, breaker("closed"))]
    assert step(explained(early), 1)["now"] == T + SECOND


def test_step_2_names_what_has_ended_and_what_that_changed() -> None:
    """At its own deadline, under the rules of then."""
    document = explained(EACH_STEP)
    found = step(document, 2)
    assert [(claim["key"], claim["state"]) for claim in found["ended"]] == [("payments@1", "freeze")]
    assert transitions(found) == [("freeze", "deep", "expired", 900 * SECOND)]
    assert found["rules"] == step(document, 3)["before"]


def test_step_3_names_the_newer_rules_and_what_they_changed() -> None:
    """At the time of the event."""
    found = step(explained(EACH_STEP), 3)
    assert found["newer"]
    assert transitions(found) == [("deep", "light", "rules", 1_000 * SECOND)]


def test_step_4_names_what_the_event_did() -> None:
    """The claims that it added, removed or changed."""
    found = step(explained(EACH_STEP), 4)
    assert (found["type"], found["refused"], found["policy_changed"]) == ("sleep.operation.v1", None, False)
    assert [(claim["source"], claim["key"]) for claim in found["added"]] == [("operation", "op-1")]
    assert (found["removed"], found["changed"]) == ([], [])


def test_step_5_names_what_decided() -> None:
    """The ceiling of the rules cuts what the operation asks for."""
    found = step(explained(EACH_STEP), 5)
    assert (found["transitions"], found["decided"], found["state"]) == ([], "light", "light")
    assert (found["decided_by"]["kind"], found["decided_by"]["without"]) == ("ceiling", "freeze")


def test_step_6_names_the_next_deadline() -> None:
    """And what will be then."""
    found = step(explained(EACH_STEP), 6)
    assert (found["next_deadline"], found["held_until"], found["forecast"]) == (T + 1_060 * SECOND, None, [])
    found = step(explained(log_of(breaker("open"))), 6)
    assert found["forecast"] == [{"at": T + 900 * SECOND, "state": "active"}]


def test_the_first_event_of_a_tenant_has_no_record_before() -> None:
    """Steps 2 and 3 have nothing to do."""
    document = explained(log_of(breaker("open")))
    assert (document["before"], step(document, 1)["clock_before"], step(document, 3)["newer"]) == (None, None, False)
    assert transitions(step(document, 5)) == [("active", "freeze", "breaker", 0)]


@pytest.mark.parametrize(
    ("event", "removed", "changed"),
    [(breaker("half_open"), [], ["payments@1"]), (mode("m-2", "active"), ["mode"], []), (timer(), [], [])],
)
def test_step_4_tells_a_change_from_a_removal(event: dict[str, Any], removed: list[str], changed: list[str]) -> None:
    """A timer does neither."""
    found = step(explained(log_of(breaker("open"), mode("m-1", "deep"), event)), 4)
    assert [claim["key"] for claim in found["removed"]] == removed
    assert [pair["after"]["key"] for pair in found["changed"]] == changed


def test_step_4_says_why_an_event_is_refused() -> None:
    """With the code, and the detail that no topic keeps."""
    document = explained(log_of(breaker("open"), sleep("op-1", "light", DAY)))
    refused = step(document, 4)["refused"]
    assert (refused["code"], "the TTL must be" in refused["detail"]) == ("ttl_out_of_range", True)
    assert document["published"] is False


def test_step_4_says_that_the_policy_changed() -> None:
    """With its new version; step 5 says what that decides."""
    document = explained(log_of(breaker("open"), policy("p-1", {"ceiling": "light"})))
    assert (step(document, 4)["policy_changed"], step(document, 4)["policy_version"]) == (True, 1)
    assert transitions(step(document, 5)) == [("freeze", "light", "policy", 10)]


def test_a_record_that_retires_is_said() -> None:
    """There is none afterwards."""
    document = explained([source(0, T, breaker("closed")), source(1, T + 2 * DAY, timer())])
    assert (step(document, 4)["retired"], document["after"], step(document, 5)["decided"]) == (True, None, None)


def test_other_rules_are_explained_as_if_they_were_in_force() -> None:
    """From the event on, where no earlier beginning is named."""
    document = explained(log_of(breaker("closed"), breaker("open")), Alternative(LIGHT_AT_MOST))
    assert transitions(step(document, 5)) == [("active", "light", "breaker", 10)]


def test_under_another_policy_a_policy_command_is_passed_over() -> None:
    """Only its time counts."""
    log = log_of(breaker("open"), policy("p-1", {"floor": "deep"}))
    document = explained(log, Alternative(policy=parse_policy({"ceiling": "light"})))
    assert (step(document, 4)["type"], step(document, 5)["decided"]) == ("sleep.timer.v1", "light")


def test_an_event_of_a_tenant_whose_record_is_not_kept_is_not_explained() -> None:
    """Its first record on the topic is that of the event itself."""
    log = log_of(breaker("open"), breaker("closed"))
    lane = folded(log, 1)
    replay = begun(range_of(log[1:], 0), lane, states=topic(lane.states)[1:])
    event = EVENTS.validate_json(log[1].value or b"")
    assert replay.explain(log[1], event) is None  # type: ignore[arg-type]  # as above
