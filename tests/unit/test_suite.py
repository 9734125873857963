"""Rules for the tests themselves: short names, shared set-up in its place, and modules that can be read."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
LONGEST_NAME = 70
"""Characters after `test_`: what a line of a report shows beside the path."""
LONGEST_MODULE = 400


def modules() -> list[Path]:
    """Return the sources of all tests."""
    return sorted(TESTS.rglob("*.py"))


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a source."""
    nodes = ast.walk(ast.parse(source))
    return (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def long_names(source: str) -> list[str]:
    """Return the tests whose names are too long."""
    names = (function.name for function in functions(source))
    return [name for name in names if name.startswith("test_") and len(name.removeprefix("test_")) > LONGEST_NAME]


def imported_test_modules(source: str) -> list[str]:
    """Return what a source imports from test modules, or the modules themselves."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = chain.from_iterable(
        [alias.name for alias in node.names]
        if isinstance(node, ast.Import)
        else [f"{node.module}.{alias.name}" for alias in node.names]
        for node in nodes
    )
    return [name for name in imported if any(part.startswith("test_") for part in name.split("."))]


def fixtures(source: str) -> list[str]:
    """Return the names of the fixtures that a source defines."""
    return [
        function.name
        for function in functions(source)
        if any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(TESTS)))
def test_a_module_of_tests_follows_the_rules(path: Path) -> None:
    """Shared helpers belong to `tests/support` or to a `conftest.py`; a long module is split by subject."""
    source = path.read_text(encoding="utf-8")
    assert long_names(source) == []
    assert imported_test_modules(source) == []
    assert len(source.splitlines()) <= LONGEST_MODULE


def test_one_fixture_is_called_world() -> None:
    """The worker's; another of that name would hide it from a reader."""
    defining = [path for path in modules() if "world" in fixtures(path.read_text(encoding="utf-8"))]
    assert defining == [TESTS / "unit" / "worker" / "conftest.py"]


def test_each_rule_can_fail() -> None:
    """Each check notices what it looks for."""
    name = f"test_{'a' * 71}"
    assert long_names(f"async def {name}() -> None: ...") == [name]
    imported = ["tests.unit.test_a.B", "tests.test_c"]
    assert imported_test_modules("from tests.unit.test_a import B\nimport tests.test_c, tests.support.e") == imported
    assert fixtures("@pytest_asyncio.fixture(scope='module')\ndef world(): ...\ndef other(): ...") == ["world"]
