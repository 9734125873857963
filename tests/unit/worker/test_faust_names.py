"""The private names of Faust and aiokafka that we use are those of the page, and the libraries have them."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Final

import aiokafka
import faust
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.consumer import Consumer

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "explanation" / "faust.md"
SOURCES: Final = sorted((ROOT / "worker/runtime/faust").glob("*.py"))
CLASSES: Final[dict[str, type]] = {
    "App": faust.App,
    "Consumer": Consumer,
    "AIOKafkaConsumer": aiokafka.AIOKafkaConsumer,
    "GroupCoordinator": GroupCoordinator,
    "Fetcher": Fetcher,
}
_ROW: Final = re.compile(r"^\| `(\w+)` \| `(_\w+)` \| .+ \| `([\w/.]+)` \|$", re.MULTILINE)
_NAME: Final = re.compile(r"(?:self\.|def |^    )(_[a-z]\w*)\b", re.MULTILINE)


@cache
def private_names(kind: type) -> set[str]:
    """Return the names with a leading underscore that a library's class, or one of its bases, defines or uses."""
    return {
        name
        for base in kind.__mro__
        if base.__module__.partition(".")[0] in {"faust", "mode", "aiokafka"}
        for name in _NAME.findall(inspect.getsource(base))
    }


def defined_in(statement: ast.stmt) -> set[str]:
    """Return the name that a statement of a class defines, if it is a method or an annotated attribute."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()


def used_names() -> set[str]:
    """Return the names with a leading underscore that our modules define in a class or read from an object."""
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(attr=name) if name.startswith("_"):
                    used.add(name)
                case ast.ClassDef():
                    used |= {name for part in node.body for name in defined_in(part)}
                case _:
                    pass
    return {name for name in used if re.match("_[a-z]", name)}


def test_the_libraries_have_each_name_of_the_page() -> None:
    """An upgrade that drops one fails here first."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 15
    assert [f"{kind}.{name}" for kind, name, _ in rows if name not in private_names(CLASSES[kind])] == []


def test_the_page_has_each_name_that_we_use() -> None:
    """A name of ours that a library has too would replace its own, so it counts."""
    theirs = set().union(*map(private_names, CLASSES.values()))
    listed = {name for _, name, _ in _ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert used_names() & theirs - listed == set()
    assert listed - used_names() == set()


def test_each_test_that_the_page_names_is_there() -> None:
    """Moved ones too."""
    assert [test for _, _, test in _ROW.findall(PAGE.read_text(encoding="utf-8")) if not (ROOT / test).exists()] == []
