"""The messages, log events, fields and settings that the runbooks quote are those that the code has."""

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from schemas.settings import Settings
from tests.unit.quotes import VALUE, code_of, is_said, messages_of, names_of, quotes_of

ROOT: Final = Path(__file__).resolve().parents[2]
RUNBOOKS: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
SOURCES: Final = sorted(
    path for room in ("api", "schemas", "sleepctl", "worker") for path in (ROOT / room).rglob("*.py")
)
MESSAGES: Final = messages_of(SOURCES)
_NAME: Final = re.compile(r"(?<!\S)[a-z]+(?:_[a-z]+)+(?!\S)|sleep_(?:worker|api)_[a-z_]+")
_SETTING: Final = re.compile(r"SLEEP_[A-Z]+(?:_[A-Z]+)*(?!_?\*)\b")
_PUT_BEHIND: Final = re.compile(r"_(?:bucket|count|sum)$")
"""What Prometheus puts behind the name of a histogram."""


@cache
def _names_of_the_code() -> set[str]:
    """Return every name of the code; each page is compared with the same."""
    return names_of(SOURCES) | {f"SLEEP_{name.upper()}" for name in Settings.model_fields}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", RUNBOOKS, ids=_name)
def test_every_message_that_a_runbook_quotes_is_one_of_the_code(page: Path) -> None:
    """An operator looks for the words that `/status`, a log line or a command shows."""
    quotes = quotes_of(_name(page), page.read_text(encoding="utf-8"))
    stale = "\n".join(f"{quote}" for quote in quotes if not is_said(quote.text, MESSAGES))
    assert not stale, f"no message of the code has these words; correct the page, or use _emphasis_:\n{stale}"


@pytest.mark.parametrize("page", RUNBOOKS, ids=_name)
def test_every_name_that_a_runbook_gives_is_one_of_the_code(page: Path) -> None:
    """Log events, fields of answers, codes, metrics and settings."""
    stale = [
        f"{record}: {name}"
        for record in code_of(_name(page), page.read_text(encoding="utf-8"))
        for name in [*_NAME.findall(record.text), *_SETTING.findall(record.text)]
        if not {name, _PUT_BEHIND.sub("", name)} & _names_of_the_code()
    ]
    assert not stale, "the code has no such name:\n" + "\n".join(stale)


def test_the_runbooks_quote_the_code() -> None:
    """Else the tests above would hold nothing."""
    assert sum(len(quotes_of(_name(page), page.read_text(encoding="utf-8"))) for page in RUNBOOKS) > len(RUNBOOKS)


def test_quotes_are_found_across_lines_and_beside_code() -> None:
    """With the line where they begin."""
    text = "see *a b\nc*, `x * y *`, **bold**\n```\n*no quote*\n```\n| *run `p *`* |\n"
    assert [(quote.line, quote.text) for quote in quotes_of("p.md", text)] == [(1, "a b c"), (6, "run `p *`")]
    assert str(quotes_of("p.md", text)[0]) == "p.md:1: a b c"
    assert [(quote.line, quote.text) for quote in code_of("p.md", text)] == [(2, "x * y *")]


def test_messages_are_strings_without_docstrings_with_values_left_open(tmp_path: Path) -> None:
    """Parts of one message are one message."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""Doc."""\nX = "x"\n"""Doc of X."""\n\ndef f(y):\n    "Doc."\n    return f"a {y!r} " "b", "c %s" % g("z")\n'
    )
    assert messages_of([module]) == {"x", f"a {VALUE} b", f"c {VALUE}", "z"}
    assert names_of([module]) >= {"X", "f", "y", "g"}


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("partition N has M records", True),
        ("has 3 records", True),
        ("has … records", True),
        ("partition 3 … elsewhere", True),
        ("partition N had M records", False),
        ("partition here", False),
        ("N partition", False),
    ],
)
def test_a_quote_is_held_against_a_message_word_by_word(quote: str, expected: bool) -> None:  # noqa: FBT001
    """A value stands for a value only."""
    assert is_said(quote, [f"partition {VALUE} has {VALUE} records, or is elsewhere"]) is expected
