"""What a person, or a machine, sees of the scenario."""

import json
from io import StringIO

import pytest
from rich.console import Console

from sleepctl.demo.view import JsonView, PlainView, Serving
from sleepctl.io.api_client import Answer
from tests.unit.sleepctl.fakes import present, transition

SERVING = Serving(
    "http://api:1",
    "http://worker:2",
    "acme",
    "t0ken",
    "0perator",
    "http://api:1/console/#/?code=c0de",
    "broker:3",
    "redis://store:4",
    4,
)


@pytest.fixture
def out() -> StringIO:
    """Where the lines land."""
    return StringIO()


@pytest.fixture
def view(out: StringIO) -> PlainView:
    """A view that is no terminal."""
    return PlainView(Console(file=out, soft_wrap=True, highlight=False))


def test_a_transition_shows_time_tenant_way_cause_and_parameters(view: PlainView, out: StringIO) -> None:
    """Plain lines without a terminal; parameters that move show where to."""
    view.transition(transition("acme", "active", "freeze"), present("freeze", moving=True))
    first, second = out.getvalue().splitlines()
    assert first == "08:07:17.992Z  acme     active → freeze  breaker payments@pod-1"
    assert " ".join(second.split()) == "acme K 50→100 t 1 tau 1.0e-06→0.1 eta 0.01 lambda 0.5 B 1"


def test_a_cause_without_a_key_is_its_kind_alone(view: PlainView, out: StringIO) -> None:
    """As `rules` and `hold_ended` are."""
    view.transition(transition("acme", "active", "freeze") | {"cause": {"kind": "rules", "key": None}}, present())
    view.transition(transition("acme", "active", "freeze") | {"cause": None}, present())
    assert out.getvalue().splitlines()[0].endswith("freeze  rules")


def test_a_moving_tenant_shows_a_bar(view: PlainView, out: StringIO) -> None:
    """Half of the full K is half of the bar."""
    view.moving(present("light", moving=True))
    assert "light ██████████·········· K 50  t 1" in out.getvalue()


def test_a_problem_is_shown_whole(view: PlainView, out: StringIO) -> None:
    """Title, detail, status and code."""
    view.answer(Answer(422, {"title": "No", "detail": "too long", "code": "ttl_out_of_range"}, {}))
    assert out.getvalue() == "  HTTP 422  No: too long (422 ttl_out_of_range)\n"


def test_other_answers_are_one_line(view: PlainView, out: StringIO) -> None:
    """An operation by its status, a policy by its version."""
    view.answer(Answer(200, {"type": "cancel", "operation_id": "op-1", "status": "completed"}, {}))
    view.answer(Answer(200, {"policy_version": 3}, {}))
    assert out.getvalue() == "  HTTP 200  cancel op-1: completed\n  HTTP 200  policy: version 3\n"


def test_steps_and_checks_are_lines(view: PlainView, out: StringIO) -> None:
    """What was not seen says so in words, not by colour alone."""
    view.step("a breaker opens")
    view.checked("acme is freeze", seen=True)
    view.checked("acme is deep", seen=False)
    assert out.getvalue().splitlines() == [
        "",
        "▶ a breaker opens",
        "  ✓ acme is freeze",
        "  ✗ not seen: acme is deep",
    ]


def test_a_machine_gets_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose first field says what it is."""
    view = JsonView()
    view.step("a breaker opens")
    view.transition(transition("acme", "active", "freeze"), present("freeze"))
    view.moving(present())
    view.answer(Answer(200, {"status": "running"}, {}))
    view.checked("acme is freeze", seen=True)
    view.verdict(["x"])
    view.serving(SERVING)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(document)) for document in documents] == [
        "step", "transition", "present", "status", "expectation", "unseen", "serving",
    ]  # fmt: skip
    assert documents[1]["present"]["state"] == "freeze"


def test_afterwards_there_are_lines_to_copy(view: PlainView, out: StringIO) -> None:
    """Whole, however long the token is."""
    view.serving(SERVING)
    lines = out.getvalue().splitlines()
    assert "curl -s -H 'Authorization: Bearer t0ken' http://api:1/api/brain/sleep_mode" in lines
    assert "export SLEEP_KAFKA_BOOTSTRAP=broker:3 SLEEP_REDIS_URL=redis://store:4 SLEEP_PARTITIONS=4" in lines
    assert "sleepctl state acme" in lines


def test_the_verdict_names_what_was_not_seen(view: PlainView, out: StringIO) -> None:
    """Or says that nothing is amiss."""
    view.verdict(["acme is deep", "HTTP 200"])
    view.verdict([])
    assert out.getvalue().splitlines() == [
        "",
        "NOT every expected state was seen: acme is deep; HTTP 200",
        "",
        "every expected state was seen",
    ]
