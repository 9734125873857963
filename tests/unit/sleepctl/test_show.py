"""What commands print, and how this program is called again."""

import re
import sys
from pathlib import Path

import pytest

from schemas.domain.policy import FieldError
from schemas.wire.cloudevents import UndecodableError
from sleepctl.main import COMMANDS
from sleepctl.ui.field_errors import by_option
from sleepctl.ui.output import console, program
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


def test_without_a_working_directory_it_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed it."""

    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(sys, "argv", ["bin/sleepctl"])
    monkeypatch.setattr("os.getcwd", gone)
    assert program() == "sleepctl"


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "", "200"])
def test_a_line_is_whole_whatever_columns_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    """Rich prints nothing at all for 0."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    console().print("word " * 50)
    assert capsys.readouterr().out == "word " * 50 + "\n"


def test_started_in_another_way_it_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no better guess."""
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert program() == "sleepctl"


def test_a_wrong_field_is_named_by_the_option_that_set_it() -> None:
    """A field without an option keeps its name; so does an error that concerns no field."""
    errors = [FieldError("x.a", "is bad"), FieldError("a", "is worse, and not `a: b`")]
    assert by_option(UndecodableError("invalid_event", "?", errors), {"a": "--a"}) == (
        "x.a: is bad; --a is worse, and not `a: b`"
    )
    assert by_option(UndecodableError("oversize", "a: too large"), {"a": "--a"}) == "a: too large"


def test_a_command_is_listed_with_the_first_sentence_of_its_own_help(run: Run) -> None:
    """The list is printed without loading any of them."""
    for name, lazy in COMMANDS.items():
        output = " ".join(run(name, "--help").out.split())
        assert f"{lazy.summary} " in output, name


def test_a_misspelt_command_is_told_the_one_that_is_meant(run: Run) -> None:
    """Exit status 2, as for every wrong command line."""
    outcome = run("tokn")
    assert outcome.code == 2
    assert "Did you mean 'token'?" in outcome.err


@pytest.mark.parametrize("group", [(), ("topics",), ("rules",), ("send",), ("policies",), ("deadletters",)])
def test_help_tells_each_command_in_a_whole_sentence(run: Run, group: tuple[str, ...]) -> None:
    """In 80 columns nothing is cut: four are left free there, two of which click's runner for tests gives away."""
    output = run(*group, "--help", COLUMNS="80").out
    commands = output.partition("Commands:\n")[2].splitlines()
    assert commands
    assert all(re.fullmatch(r"  \S+ +.*[^.]\.", line) and len(line) <= 76 for line in commands), output
