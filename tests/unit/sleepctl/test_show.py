"""What commands print, and how this program is called again."""

import re
import sys
from pathlib import Path

import pytest

from sleepctl.show import program
from sleepctl.wording import in_words
from tests.unit.sleepctl.conftest import Run


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in an environment that no shell looks into, from which this process was started."""
    path = tmp_path / "a venv" / "bin" / "sleepctl"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.setenv("PATH", "/")
    return path


def test_below_the_working_directory_it_is_called_by_a_short_path(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make run` leaves it; quoted for a shell."""
    monkeypatch.chdir(started.parents[2])
    assert program() == "'a venv/bin/sleepctl'"


def test_elsewhere_it_is_called_by_its_whole_path(started: Path) -> None:
    """Where a shell would not find it."""
    assert program() == f"'{started}'"


def test_on_the_path_it_is_called_by_its_name(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short, as a person types it."""
    monkeypatch.setenv("PATH", str(started.parent))
    assert program() == "sleepctl"


def test_started_in_another_way_it_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no better guess."""
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert program() == "sleepctl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: Value error, more than 3 decimals", "a: more than 3 decimals"),
        ("a: Input should be greater than 0", "a: must be greater than 0"),
        ("a: Input should be a valid integer, unable to parse string as an integer", "a: must be a whole number"),
        ("a: Input should be a valid dictionary or instance of Ingress; b: x", "a: must be an object; b: x"),
        ("a: Value should have at least 1 item after validation, not 0", "a: must have at least 1 item"),
        ("a.b: Field required; c: Extra inputs are not permitted", "a.b: missing; c: is not known"),
        (r"a: String should match pattern '^[ -~]{1,128}$'", "a: must be 1 to 128 printable ASCII characters"),
        (r"a: String should match pattern '^new$'; b: x", "a: does not have the form that is allowed here; b: x"),
    ],
)
def test_a_refusal_is_told_in_words(text: str, said: str) -> None:
    """No regular expression, and no name of a Python error."""
    assert in_words(text) == said


def test_a_field_is_told_by_the_name_that_the_caller_knows() -> None:
    """Whole names alone."""
    assert in_words("x.a: is bad; a: is worse", {"a": "--a"}) == "x.a: is bad; --a is worse"


@pytest.mark.parametrize("group", [(), ("topics",), ("rules",), ("send",), ("deadletters",)])
def test_help_tells_each_command_in_a_whole_sentence(run: Run, group: tuple[str, ...]) -> None:
    """In 80 columns nothing is cut: four are left free there, two of which click's runner for tests gives away."""
    told = run(*group, "--help", COLUMNS="80").out
    commands = told.partition("Commands:\n")[2].splitlines()
    assert commands
    assert all(re.fullmatch(r"  \S+ +.*[^.]\.", line) and len(line) <= 76 for line in commands), told
