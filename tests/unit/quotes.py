"""What the runbooks quote of the code, and what the code says: both in a form that can be compared.

A page puts the words of a message between single asterisks, as in `*topic T is missing*`. Emphasis is `_like this_`.
In a quote a capital letter such as N, the words NAME, VALUE and HOST, and a number stand for one value of the message;
`…` stands for any part of it.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

VALUE: Final = "\0"
"""Stands for a value in a message: what an f-string or a `%s` fills in."""
_PLACEHOLDER: Final = re.compile(r"…|\b(?:NAME|VALUE|HOST|[A-Z](?::[A-Z])?|\d[\d,.]*)\b")
_TOKEN: Final = re.compile(
    r"^```.*?^```"  # a fenced block
    r"|\*\*[^*]+\*\*"  # bold
    r"|\*(?P<quote>(?=\S)(?:`[^`]*`|[^*`])+?)(?<=\S)\*"
    r"|`(?P<code>[^`\n]+)`",
    re.DOTALL | re.MULTILINE,
)


class Quote(NamedTuple):
    """A quote, or a name in code font: where it is in a page, and its text on one line."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        """Say where it is, so that a person can go there."""
        return f"{self.page}:{self.line}: {self.text}"


def quotes_of(page: str, text: str) -> list[Quote]:
    """Return the messages that a page quotes."""
    return _found(page, text, "quote")


def code_of(page: str, text: str) -> list[Quote]:
    """Return what stands in code font in a page, beside quotes and fenced blocks."""
    return _found(page, text, "code")


def _found(page: str, text: str, group: str) -> list[Quote]:
    return [
        Quote(page, text.count("\n", 0, match.start()) + 1, " ".join(match[group].split()))
        for match in _TOKEN.finditer(text)
        if match[group] is not None
    ]


def messages_of(sources: Iterable[Path]) -> set[str]:
    """Return every string of these modules but their docstrings, with `VALUE` where something is filled in."""
    return {message for path in sources for message in _messages(ast.parse(path.read_text(encoding="utf-8")))}


def names_of(sources: Iterable[Path]) -> set[str]:
    """Return every name of these modules, and every word of their strings."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    actual = {word for tree in trees for message in _messages(tree) for word in re.findall(r"\w+", message)}
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                actual.add(name)
            case ast.keyword(arg=str(name)):
                actual.add(name)
            case _:
                pass
    return actual


def _messages(tree: ast.AST) -> Iterator[str]:
    """Yield the strings below a node; a part of an f-string is not one by itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
            for part in node.values:
                yield from _messages(part) if isinstance(part, ast.FormattedValue) else ()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[sdr]", VALUE, node.value)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from _messages(node)


def is_said(quote: str, messages: Iterable[str]) -> bool:
    """Tell whether a message holds the words of a quote, with values where the quote has a placeholder."""
    pattern, end = "", 0
    for placeholder in _PLACEHOLDER.finditer(quote):
        text = ".*?" if placeholder[0] == "…" else rf"(?:{VALUE}(?::{VALUE})?|{re.escape(placeholder[0])})"
        pattern += re.escape(quote[end : placeholder.start()]) + text
        end = placeholder.end()
    compiled = re.compile(pattern + re.escape(quote[end:]), re.DOTALL)
    return any(compiled.search(message) for message in messages)
