"""The reader of the client gives the answers of the vectors, which are those of the API's own functions."""

from typing import Any, Final

import pytest
from pydantic_core import to_json

from sleep_client.reading.errors import NotReady
from sleep_client.reading.intake import Changed, Intake
from sleep_client.reading.listed import Listed
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.partitions import partition_of
from sleep_client.reading.record import read_record
from sleep_client.reading.sse import Event
from sleep_client.reading.tenant_state import TenantState
from sleep_client.reading.tenants import Tenants
from tests.support.reader_vectors import VECTORS, named

MOMENT: Final = 100.0
"""The local clock stands still between two events; the vectors name the log's time."""


def shown(state: TenantState) -> dict[str, Any]:
    """Return an answer in the form of the vectors."""
    cause = None if state.cause is None else state.cause._asdict()
    return {
        "state": state.state,
        "parameters": dict(state.parameters),
        "since": state.since,
        "cause": cause,
        "ends_at": state.ends_at,
    }


def same(answer: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether two answers are equal to the last bit, types of numbers included."""
    return answer == wanted and to_json(answer) == to_json(wanted)


def test_the_partition_of_a_name() -> None:
    """Kafka's own partitioner says so."""
    for case in VECTORS["partitions"]:
        assert partition_of(case["tenant"], case["partitions"]) == case["partition"], case


@pytest.mark.parametrize("case", VECTORS["records"], ids=named)
def test_a_record_at_each_instant(case: dict[str, Any]) -> None:
    """Twice, forwards and backwards: what is remembered changes nothing."""
    sets = ParameterReader()
    default = sets.set(case["default"])
    record = read_record(case["record"], sets)
    listed = Listed(record.position.offset, record.phases, default, own_policy=record.own_policy)
    for answer in case["answers"] + case["answers"][::-1]:
        at = answer["at"]
        state = listed.at(at, stale=False) or TenantState("active", default.shown)
        assert same(shown(state), answer["answer"]), at


@pytest.mark.parametrize("case", VECTORS["streams"], ids=named)
def test_a_stream(case: dict[str, Any]) -> None:
    """What is known after each event."""
    tenants, clock, sets, changed = Tenants(None, None), LogClock(), ParameterReader(), Changed()
    intake = Intake(tenants, clock, sets, changed, "")
    for step in case["steps"]:
        if "connect" in step:
            intake = Intake(tenants, clock, sets, changed, step["connect"])
        elif "event" in step:
            intake.take(Event(step["event"], to_json(step["data"]), step["id"]), MOMENT)
        elif step["answer"] is None:
            with pytest.raises(NotReady):
                tenants.at(step["ask"], step["at"])
        else:
            assert same(shown(tenants.at(step["ask"], step["at"])), step["answer"]), step
