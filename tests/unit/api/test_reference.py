"""The page of errors, and the table behind it."""

import re
from pathlib import Path

import pytest

import api
from api.describe import reference
from api.describe.kinds import KINDS
from api.describe.problems import type_of

SOURCES = Path(api.__file__).parent.rglob("*.py")
RAISED = re.compile(r"""ProblemError\(\s*"([a-z_]+)\"""")


def test_the_page_names_every_type_and_code() -> None:
    """With status, cause and cure."""
    text = reference.page()
    for code, kind in KINDS.items():
        assert f"`{type_of(code)}`" in text
        assert f"\n## {code}\n\n{kind.status}: {kind.title}.\n\nCause: {kind.cause}\n\nCure: {kind.cure}\n" in text


def test_no_code_lacks_words() -> None:
    """Each of them is read at night by somebody."""
    assert all(kind.title and kind.cause and kind.cure for kind in KINDS.values())


def test_every_code_that_is_raised_is_in_the_table() -> None:
    """A code that is not would be a crash while answering."""
    raised = {code for source in SOURCES for code in RAISED.findall(source.read_text())}
    assert len(raised) > 10
    assert raised <= KINDS.keys()


def test_a_stale_page_is_named_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` fails; without it the page is written, and then fresh."""
    path = tmp_path / "errors.md"
    assert reference.main(["--check"], path) == 1
    assert "errors.md" in capsys.readouterr().err
    assert not path.exists()
    assert reference.main([], path) == 0
    assert reference.main(["--check"], path) == 0
