"""The examples in the help of each command: there are some, and each can be called so."""

import shlex
from typing import Any

import pytest
import typer

from sleepctl.main import COMMANDS, app
from sleepctl.ui.examples import EXAMPLES
from tests.unit.sleepctl.conftest import Run

GROUP: Any = typer.main.get_command(app)


def _names() -> list[str]:
    """The names of all commands, with those of their groups."""
    names = []
    for name in COMMANDS:
        command = GROUP.get_command(None, name)
        names += [f"{name} {own}" for own in getattr(command, "commands", {})] or [name]
    return names


@pytest.mark.parametrize("name", _names())
def test_the_help_of_each_command_has_examples(run: Run, name: str) -> None:
    """Each on a line of its own."""
    shown = [line.strip() for line in run(*name.split(), "--help", COLUMNS="200").out.splitlines()]
    assert "Examples:" in shown
    assert set(EXAMPLES[name]) <= set(shown)


def test_no_example_is_left_over() -> None:
    """A command that went takes its examples with it."""
    assert EXAMPLES.keys() == set(_names())


@pytest.mark.parametrize("example", [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_an_example_has_options_and_arguments_that_there_are(example: tuple[str, str]) -> None:
    """Parsed, not called."""
    name, line = example
    program, *words = shlex.split(line)
    assert (program, words[: len(name.split())]) == ("sleepctl", name.split())
    command = GROUP
    for word in name.split():
        command = command.get_command(None, word)
    command.make_context(name, words[len(name.split()) :])
