"""The fenced blocks of a page, and whether the output of a command looks as the page shows it."""

import re
from pathlib import Path
from typing import Final, NamedTuple

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
# What differs in each run: a time, an id, a number with a fraction.
_CHANGES: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}-[0-9a-f-]{27}|\d+\.\d+(?:e-?\d+)?")
_ANY: Final = "…"


class Block(NamedTuple):
    """A fenced block: its language, its file name if it has one, its text, and its line in the page."""

    kind: str
    title: str | None
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["kind"],
            match["title"],
            "".join(line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True)),
            text.count("\n", 0, match.start()) + 1,
        )
        for match in _BLOCK.finditer(text)
    ]


def looks_like(shown: str, output: str) -> bool:
    """Return whether an output has the lines that a page shows.

    A line `…` stands for any number of lines, and `…` at the end of a line for the rest of it. Times, ids and numbers
    with a fraction may differ, and so may the space between words.
    """
    pattern = ""
    for line in _plain(shown):
        if line == _ANY:
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split(_ANY))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(output))) is not None


def _plain(text: str) -> list[str]:
    return [" ".join(_CHANGES.sub("VALUE", line).split()) for line in text.splitlines()]
