"""What `make attack` says of a figure, and that every attack is described once."""

import pytest

from tests.attack.__main__ import ATTACKS
from tests.attack.attack import Attack, Before, Outcome, read_before
from tests.attack.target import Target


async def _nothing(_: Target) -> float:
    return 0.0


ATTACK = Attack("1", "an attack", 24.0, "MiB more", _nothing)


@pytest.mark.parametrize(("figure", "held"), [(0.0, True), (24.0, True), (24.1, False)])
def test_a_figure_within_its_bound_is_held(figure: float, *, held: bool) -> None:
    """The bound itself is well."""
    assert Outcome(ATTACK, figure).held is held


@pytest.mark.parametrize("outcome", [Outcome(ATTACK, None, "it died"), Outcome(ATTACK, 1.0, "it died")])
def test_trouble_is_broken_whatever_the_figure(outcome: Outcome) -> None:
    """And the line says what."""
    assert not outcome.held
    assert outcome.line(None).startswith("BROKEN")
    assert outcome.line(None).endswith("; it died")


def test_a_line_has_the_bound_the_figure_before_and_the_figure_now() -> None:
    """In this order, with the source."""
    line = Outcome(ATTACK, 3.0).line(Before(1007, "issue 13"))
    assert line == "held      1  an attack: at most 24 MiB more; before 1,007 (issue 13); now 3"


def test_names_of_attacks_are_unique_and_every_recorded_figure_is_of_one() -> None:
    """A figure of an attack that was renamed would be lost."""
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names))
    assert set(read_before()) <= set(names)


def test_every_item_of_the_issue_is_attacked_in_the_short_form_too() -> None:
    """Items 12 and 13 need more time than CI has for them here; their integration tests run there."""
    items = {str(number) for number in range(1, 16)}
    assert items <= {attack.item for attack in ATTACKS}
    assert items - {"12", "13"} <= {attack.item for attack in ATTACKS if attack.short}
