"""The page of errors, and the table behind it."""

import re
from pathlib import Path

import api
from api.errors.catalog import KINDS
from api.errors.problems import type_of
from docs.generator.errors_page import errors_page

SOURCES = Path(api.__file__).parent.rglob("*.py")
RAISED = re.compile(r"""ProblemError\(\s*"([a-z_]+)\"""")


def test_the_page_names_every_type_and_code() -> None:
    """With status, cause and cure."""
    text = errors_page()
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
