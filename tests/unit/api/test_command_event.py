"""The API reads a command back without decoding its event; the worker decodes it. Both must read the same."""

from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.commands.command_event import Order, data_of, event_of, read_back
from api.commands.receipt import Receipt
from api.errors.problems import ProblemError
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS, UndecodableError, decode
from schemas.wire.events import CommandData, CommandEvent
from schemas.wire.operation import CommandType
from tests.support.times import NOW

TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=300)
NUMBERS: Final = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
JSON: Final = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
STATES: Final = st.sampled_from(["active", "light", "deep", "freeze", "asleep"])
TTLS: Final = st.none() | NUMBERS
COMMANDS: Final[st.SearchStrategy[tuple[CommandType, dict[str, Any]]]] = st.one_of(
    st.tuples(st.just("operation"), st.fixed_dictionaries({"target": STATES, "ttl_ms": TTLS})),
    st.tuples(st.just("mode"), st.fixed_dictionaries({"target": STATES, "ttl_ms": TTLS, "override": st.booleans()})),
    st.tuples(st.just("cancel"), st.fixed_dictionaries({"cancels": TEXTS})),
    st.tuples(
        st.just("policy"),
        st.fixed_dictionaries({"policy": st.none() | st.dictionaries(TEXTS, JSON), "if_version": TTLS}),
    ),
)


def made(order: Order) -> tuple[dict[str, Any], bytes]:
    """Return the data and the event of a command."""
    receipt = Receipt("op-1", order.tenant, order.type, None, NOW, order.actor, order.reason, order.trace_id)
    data = data_of(order, receipt, "sleep:reply:1", NOW)
    return data, event_of(f"sleep.{order.type}.v1", receipt, data)


def read(order: Order) -> CommandData | str:
    """Return what the API reads, or the code of its refusal."""
    try:
        return read_back(order, *made(order))
    except ProblemError as error:
        return error.code


def decoded(order: Order) -> CommandData | str:
    """Return what the worker decodes, or the code of the refusal that it would come to."""
    _, event = made(order)
    try:
        return cast("CommandEvent", decode(order.tenant.encode(), event, STRUCTURED_HEADERS)).data
    except UndecodableError as error:
        return "body_too_large" if error.code == "oversize" else "malformed_request"


@given(COMMANDS, TEXTS, st.none() | TEXTS)
def test_both_read_the_same(command: tuple[CommandType, dict[str, Any]], actor: str, text: str | None) -> None:
    """Whatever the numbers and texts are, and where neither reads it."""
    order = Order(command[0], "acme", actor, "decision-1", command[1], None, text, text)
    assert read(order) == decoded(order)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("policy", {"policy": {"x": [1e15] * 60}}), None),
        (("policy", {"policy": {"x": [1e15] * (MAX_BYTES // 18)}}), "body_too_large"),
        (("mode", {"target": "light", "more": "a" * MAX_BYTES}), "body_too_large"),
    ],
)
def test_the_size_is_that_of_the_event(command: tuple[CommandType, dict[str, Any]], code: str | None) -> None:
    """1e15 has 4 characters in a body, and 18 in the event."""
    order = Order(command[0], "acme", "ops", "decision-1", command[1])
    found = read(order)
    assert found == decoded(order)
    assert (found if isinstance(found, str) else None) == code
