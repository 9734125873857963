"""The scenario, played in a world that is a fake."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas.domain.claim import CauseKind
from sleepctl.demo.player import LONGEST_SECONDS, Player
from sleepctl.demo.scenario import (
    STEPS,
    TENANTS,
    Action,
    Answers,
    Cancel,
    Expectation,
    Moves,
    Ramps,
    SetPolicy,
    Sleep,
    Stands,
    Step,
    Trip,
    moves_of,
)
from sleepctl.io.api_client import Answer
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.fakes import FakeOutside, FakeView, present, transition

OPENS = Trip("acme", "payments", "pod-1", "open")
FREEZES = Moves("acme", "active", "freeze", "breaker")


def _answer(document: dict[str, Any], status: int = 200) -> Callable[[float], Answer]:
    return lambda _: Answer(status, document, {})


@pytest.fixture
def outside() -> FakeOutside:
    """A world in which acme was frozen by a breaker, and every request succeeds."""
    world = FakeOutside()
    world.transitions = [transition("acme", "active", "freeze")]
    world.answers = {
        "GET": _answer(present("freeze")),
        "PUT": _answer({"policy_version": 1}),
        "POST": _answer({"operation_id": "op-1"}),
        "DELETE": _answer({"status": "completed"}),
    }
    return world


async def _play(outside: FakeOutside, action: Action, *expected: Expectation) -> tuple[list[str], FakeView]:
    view = FakeView()
    unseen = await Player(outside, view).play((Step("it", action, expected),), ())
    return unseen, view


async def test_a_transition_in_the_audit_is_seen(outside: FakeOutside) -> None:
    """Each is taken once, in order."""
    unseen, view = await _play(outside, OPENS, FREEZES)
    assert unseen == []
    assert outside.trips == [OPENS]
    assert view.shown == [("step", "it"), ("seen", "acme goes from active to freeze (breaker)")]


async def test_another_transition_than_the_expected_one_is_not_seen(outside: FakeOutside) -> None:
    """At once: what comes later cannot mend it."""
    unseen, _ = await _play(outside, OPENS, Moves("acme", "active", "deep", "breaker"))
    assert unseen == ["acme goes from active to deep (breaker) after: it"]
    assert outside.now == 0


async def test_a_transition_that_never_comes_is_waited_for_and_told(outside: FakeOutside) -> None:
    """The wait has an end."""
    unseen, view = await _play(outside, OPENS, FREEZES, FREEZES)
    assert len(unseen) == 1
    assert outside.now == pytest.approx(LONGEST_SECONDS, abs=0.1)
    assert view.shown[-1][0] == "unseen"


async def test_a_state_is_waited_for(outside: FakeOutside) -> None:
    """The API shows it a little after the audit."""
    outside.answers["GET"] = lambda now: Answer(200, present("freeze" if now > 1 else "active"), {})
    unseen, _ = await _play(outside, OPENS, Stands("acme", "freeze"))
    assert unseen == []
    assert 1 < outside.now < 2


async def test_a_ramp_is_shown_while_it_moves_and_seen_once_it_arrives(outside: FakeOutside) -> None:
    """Arriving means exactly at the target."""
    outside.answers["GET"] = lambda now: Answer(200, present(moving=now < 1), {})
    unseen, view = await _play(outside, OPENS, Ramps("acme"))
    assert unseen == []
    assert [kind for kind, _ in view.shown] == ["step", "moving", "moving", "moving", "seen"]


async def test_parameters_that_jump_are_no_ramp(outside: FakeOutside) -> None:
    """They were never between."""
    unseen, _ = await _play(outside, OPENS, Ramps("acme"))
    assert unseen == ["acme's parameters move and arrive after: it"]


async def test_a_refusal_is_expected_by_status_and_code(outside: FakeOutside) -> None:
    """Either alone would not do."""
    outside.answers["POST"] = _answer({"code": "ttl_out_of_range"}, 422)
    sleep = Sleep("acme", "light", 600)
    assert (await _play(outside, sleep, Answers(422, "ttl_out_of_range")))[0] == []
    assert (await _play(outside, sleep, Answers(422)))[0] == ["HTTP 422 after: it"]
    assert (await _play(outside, sleep, Answers(200)))[0] == ["HTTP 200 after: it"]


async def test_no_answer_is_no_success(outside: FakeOutside) -> None:
    """A breaker event is answered by nobody."""
    assert (await _play(outside, OPENS, Answers(200)))[0] == ["HTTP 200 after: it"]


async def test_a_policy_is_put(outside: FakeOutside) -> None:
    """Through the tenant's own client."""
    await _play(outside, SetPolicy("acme", {"floor": "light"}), Answers(200))
    assert outside.requests == [("acme", "PUT", "/api/brain/sleep_policy", {"floor": "light"}, {"If-Match": "*"})]


async def test_a_cancel_is_for_the_tenants_last_sleep(outside: FakeOutside) -> None:
    """The id is the one that the API gave."""
    steps = (Step("sleep", Sleep("acme", "deep", 9), ()), Step("cancel", Cancel("acme"), ()))
    await Player(outside, FakeView()).play(steps, ())
    assert outside.requests[-1][:3] == ("acme", "DELETE", "/api/util/sleep/op-1")


async def test_a_cancel_of_nothing_is_a_mistake_in_the_scenario(outside: FakeOutside) -> None:
    """It is told, not skipped."""
    with pytest.raises(CommandError, match="no operation to cancel"):
        await _play(outside, Cancel("acme"))


async def test_a_tenant_that_made_other_transitions_was_touched(outside: FakeOutside) -> None:
    """This is how two tenants are shown to be apart."""
    unseen = await Player(outside, FakeView()).play((Step("it", OPENS, (FREEZES,)),), TENANTS)
    assert unseen == []
    outside.transitions.append(transition("globex", "active", "light"))
    unseen = await Player(outside, FakeView()).play((Step("it", OPENS, (FREEZES,)),), TENANTS)
    assert unseen == ["globex made these transitions and no others"]


async def test_a_transition_without_a_cause_is_none_of_the_expected(outside: FakeOutside) -> None:
    """And no crash."""
    outside.transitions = [transition("acme", "active", "freeze") | {"cause": None}]
    assert len((await _play(outside, OPENS, FREEZES))[0]) == 1


def test_the_scenario_shows_what_a_person_should_see() -> None:
    """Freeze, light and awake by a breaker; a TTL that ends; a cancel; a refusal; two tenants."""
    causes: list[CauseKind] = ["breaker", "operation", "expired", "cancel"]
    assert {move.cause for tenant in TENANTS for move in moves_of(tenant, STEPS)} == set(causes)
    assert [move.after for move in moves_of("acme", STEPS)] == ["freeze", "light", "active"]
    assert [move.after for move in moves_of("globex", STEPS)] == ["deep", "active", "freeze", "active"]
    assert any(isinstance(each, Answers) and each.code for step in STEPS for each in step.expected)
