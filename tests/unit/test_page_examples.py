"""What stands on the pages is what there is: commands, JSON and Python. The tutorial is run by an acceptance test."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from jsonschema import Draft202012Validator

from docs.generator.json_schemas import DOCUMENTS, EVENTS, json_schema
from docs.generator.openapi import openapi
from docs.site.pages import pages
from sleepctl.main import app
from sleepctl.storm.mix import Mix
from tests.support.page_examples import Block, blocks_of, looks_like

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [page for page in pages() if page != "CHANGELOG.md"]
GROUP: Any = typer.main.get_command(app)
SHELL: Final = ("sh", "bash")
_INLINE: Final = re.compile(r"`(sleepctl [^`]+)`")
_FENCE: Final = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_ENDS: Final = frozenset({"|", ">", ">>", "<", "&&", "||", ";", "&", ")", "2>"})
# What a reader puts in; a value of its kind stands in for it.
_PLACEHOLDERS: Final = {"SECONDS": "1", "N": "1", "P": "1", "O": "1", "P:O:I": "1:1:1", "P:O": "1:1"}
_OTHERS: Final = {
    ("docs/how-to/authorisation.md", "sleep_roles"): "data of the policy; deploy/opa has a test of it",
    ("docs/how-to/call-the-api.md", "kind"): "the part `decided_by` of an answer",
}
"""JSON that no schema describes, by page and first name, and what it is."""


def _words(line: str) -> list[str]:
    """Return the words of the `sleepctl` command in a line of shell, with what a reader puts in."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = list(lexer)
    ends = [place for place, word in enumerate(words) if word in _ENDS]
    return [_PLACEHOLDERS.get(word, word) for word in words[: min(ends, default=None)]]


def _commands(text: str) -> Iterator[str]:
    """Yield each `sleepctl` command of a block of shell, from its name to the end of its line."""
    for line in text.replace("\\\n", " ").splitlines():
        if (found := re.search(r"(?:^|[\s/(;])(sleepctl .*)", line)) and not line.lstrip().startswith("#"):
            yield found[1]


def _resolved(words: list[str]) -> tuple[str, Any, list[str]]:
    """Return the name of a command, the command, and its arguments; fails if there is no such command."""
    command = GROUP
    name: list[str] = []
    rest = words[1:]
    while rest and hasattr(command, "get_command") and not rest[0].startswith("-"):
        found = command.get_command(None, rest[0])
        assert found is not None, f"no command {' '.join([*name, rest[0]])}"
        command = found
        name.append(rest.pop(0))
    return " ".join(name), command, rest


@pytest.mark.parametrize("page", PAGES)
def test_each_sleepctl_line_of_a_page_can_be_called_so(page: str) -> None:
    """With its arguments and options; parsed, not called."""
    wrong = []
    for block in blocks_of(ROOT / page):
        for line in _commands(block.text) if block.kind in SHELL else ():
            try:
                name, command, rest = _resolved(_words(line))
                command.make_context(name, rest)
            except Exception as error:  # noqa: BLE001 - whatever the parser raises
                wrong.append(f"line {block.line}: {line}: {getattr(error, 'message', error)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_each_command_and_option_named_in_a_sentence_exists(page: str) -> None:
    """A sentence may leave arguments out."""
    wrong = []
    for text in _INLINE.findall(_FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        if "→" in text:  # An arrow between packages.
            continue
        words = [word for alternative in text.split() for word in alternative.split("|")[:1]]
        try:
            _, command, rest = _resolved([word for word in words if word != "…"])
        except AssertionError as error:
            wrong.append(f"`{text}`: {error}")
            continue
        known = {option for each in getattr(command, "params", ()) for option in [*each.opts, *each.secondary_opts]}
        wrong += [
            f"`{text}`: no option {word}"
            for word in rest
            if word.startswith("--") and word.rstrip(",;.") not in known | {"--help", "--version"}
        ]
    assert not wrong, "\n".join(wrong)


@cache
def _schemas() -> list[Draft202012Validator]:
    """Return a validator of each document: those of topics, of the API, and of `sleepctl storm`."""
    ours = [json_schema(name, model) for name, model in (EVENTS | DOCUMENTS).items()] + [Mix.model_json_schema()]
    document = openapi()
    api = [
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        for name in document["components"]["schemas"]
    ]
    return [Draft202012Validator(schema) for schema in ours + api if _is_closed(schema, document)]


def _is_closed(schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """Return whether a schema is of an object that says which names it needs or may have; others accept anything."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return bool(schema.get("required")) or schema.get("additionalProperties") is False


@pytest.mark.parametrize("page", PAGES)
def test_each_json_of_a_page_is_a_document_of_ours(page: str) -> None:
    """By one of the schemas."""
    wrong = []
    for block in blocks_of(ROOT / page):
        if block.kind != "json" or "…" in block.text:
            continue
        value = json.loads(block.text)
        if (page, next(iter(value))) not in _OTHERS and not any(each.is_valid(value) for each in _schemas()):
            wrong.append(f"line {block.line}: no schema has this form: {block.text}")
    assert not wrong, "\n".join(wrong)


def _python(page: str) -> Iterator[Block]:
    return (block for block in blocks_of(ROOT / page) if block.kind == "python" and ">>> " not in block.text)


@pytest.mark.parametrize("page", [page for page in PAGES if any(_python(page))])
def test_each_python_block_of_a_page_compiles_and_imports_what_there_is(page: str) -> None:
    """A name that is gone from a module would be an error at the reader's."""
    for block in _python(page):
        code = compile(block.text, f"{page}:{block.line}", "exec", flags=_TOP_LEVEL_AWAIT)
        assert code
        for module, names in re.findall(r"^from ([\w.]+) import ([\w, ]+)$", block.text, re.MULTILINE):
            loaded = importlib.import_module(module)
            for name in re.findall(r"\w+", names.partition(" as ")[0]):
                if not hasattr(loaded, name):
                    importlib.import_module(f"{module}.{name}")
        for module in re.findall(r"^import ([\w.]+)", block.text, re.MULTILINE):
            importlib.import_module(module)


_TOP_LEVEL_AWAIT: Final = 0x2000
"""`ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`: a block may be the inside of a coroutine."""


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("a 1.5 b", "a  2.25   b\n", True),
        ("at 2026-11-30T20:12:20.833Z", "at 2027-01-01T00:00:00.000Z", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…", "a", True),
        ("a …", "a b c", True),
        ("3 rows", "4 rows", False),
        ("a\nb", "a\nc\nb", False),
        ("a", "a\nb", False),
    ],
)
def test_an_output_is_held_against_a_page_line_by_line(shown: str, output: str, expected: bool) -> None:  # noqa: FBT001
    """Times, ids and numbers with a fraction may differ; nothing else."""
    assert looks_like(shown, output) is expected
