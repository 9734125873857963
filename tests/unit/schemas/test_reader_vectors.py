"""The vectors for readers: the API's own functions give their answers from the public records alone."""

from typing import Any

import pytest

from docs.generator.reader_records import RULES
from schemas.domain.policy import parse_rules
from schemas.domain.schedule import Parameters
from schemas.kafka.partitioner import partition_of
from schemas.wire.reading import read_state
from schemas.wire.state_record import parse_state_record
from tests.support.reader_vectors import VECTORS, named
from tests.support.sse import Event
from tests.support.states_reader import StatesReader


def test_there_are_enough_cases() -> None:
    """Of each kind, and with every state and kind of end."""
    answers = [answer for case in VECTORS["records"] for answer in case["answers"]]
    asked = [step for case in VECTORS["streams"] for step in case["steps"] if "ask" in step]
    assert (len(answers), len(asked), len(VECTORS["partitions"])) >= (500, 60, 100)
    given = [each["answer"] for each in (*answers, *asked) if each["answer"] is not None]
    assert {each["state"] for each in given} == {"active", "light", "deep", "freeze"}
    kinds = {each["cause"]["kind"] for each in given if each["cause"] is not None}
    assert kinds == {"breaker", "operation", "mode", "pin", "expired", "pin_ended", "hold_ended"}


def test_the_rules_of_the_vectors_are_those_of_their_records() -> None:
    """A record names them by number."""
    assert [parse_rules(number, rules).digest for number, rules in enumerate(VECTORS["rules"])] == [
        rules.digest for rules in RULES
    ]


@pytest.mark.parametrize("case", VECTORS["records"], ids=named)
def test_the_api_s_functions_give_the_answers(case: dict[str, Any]) -> None:
    """From what is published, not from what is in Redis."""
    rules = [parse_rules(number, document) for number, document in enumerate(VECTORS["rules"])]
    record = parse_state_record(case["record"])
    default = Parameters.model_validate(case["default"]).as_set()
    for answer in case["answers"]:
        read = read_state(case["record"]["tenant"], record, rules, default, answer["at"])
        assert read == answer["answer"], answer["at"]


def test_the_api_s_partitions_are_the_same() -> None:
    """It puts tenants there."""
    for case in VECTORS["partitions"]:
        assert partition_of(case["tenant"], case["partitions"]) == case["partition"]


# It keeps a tenant that is no longer listed, and so does not notice that new rules are for it, too.
@pytest.mark.parametrize("case", [case for case in VECTORS["streams"] if case["name"] != "new rules"], ids=named)
def test_the_reader_of_the_pages_agrees(case: dict[str, Any]) -> None:
    """It takes a snapshot as it comes, so it is asked while none is under way. It knows no `since` and no `cause`."""
    reader = StatesReader()
    for step in case["steps"]:
        if "connect" in step:
            reader.last_id = step["connect"]
            reader.connect()
        elif "event" in step:
            if step["event"] in ("rules", "state", "gone", "ready", "reset", "time"):
                reader.take(Event(step["event"], step["id"], step["data"]))
        elif reader.ready:
            wanted = step["answer"]
            read = reader.state(step["ask"], step["at"])
            assert read == (wanted["state"], wanted["parameters"]), step
