"""The arrows between the rooms: who may import whom, and what the API leaves alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARROWS: dict[str, set[str]] = {
    "schemas": set(),
    "api": {"schemas"},
    "worker": {"schemas"},
    "sleepctl": {"api", "worker", "schemas"},
}
"""DESIGN section 2: these arrows and no others."""
_OURS = {*ARROWS, "tests"}
_IO = {"aiohttp", "aiokafka", "asyncio", "faust", "fastapi", "httpx", "redis", "socket", "time", "urllib"}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Return the line and the first name of every module that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]


def modules(package: str) -> list[Path]:
    """Return the sources of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def wrong_arrows(package: str, name: str, source: str) -> list[str]:
    """Return each import in a source that is not an arrow of the design."""
    return [
        f"{name}:{line} imports {target}"
        for line, target in imports(source)
        if target in _OURS - {package} - ARROWS[package]
    ]


@pytest.mark.parametrize("package", ARROWS)
def test_a_package_imports_only_along_the_arrows(package: str) -> None:
    """Imports inside of functions count too."""
    found = [
        wrong
        for path in modules(package)
        for wrong in wrong_arrows(package, str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import worker.machine",
        "from worker import app",
        "def f():\n    from sleepctl.main import app",
        "import os, tests",
    ],
)
def test_another_arrow_would_be_found(source: str) -> None:
    """The test can fail."""
    assert len(wrong_arrows("api", "api/x.py", source)) == 1


@pytest.mark.parametrize("package", ARROWS)
def test_a_package_imports_itself_by_its_full_name(package: str) -> None:
    """Relative imports would hide an arrow."""
    relative = [
        str(path.relative_to(ROOT))
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_schemas_performs_no_io_and_reads_no_clock() -> None:
    """Certificates are read by the settings, and the generator writes files; both are called from outside.

    The settings also take a URL apart (`urllib.parse`), which asks nobody.
    """
    found = [
        f"{path.name}:{line} imports {target}"
        for path in modules("schemas")
        for line, target in imports(path.read_text(encoding="utf-8"))
        if target in _IO and (path.name, target) != ("settings.py", "urllib")
    ]
    assert found == []


def loaded_by(module: str) -> set[str]:
    """Return the first names of all modules that importing one of ours loads, in a process of its own."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_api_loads_neither_faust_nor_aiohttp_nor_the_worker() -> None:
    """It can be installed, scaled and secured without them."""
    assert not loaded_by("api.app") & {"faust", "aiohttp", "worker", "sleepctl", "tests"}


def test_the_schemas_load_no_framework_but_pydantic() -> None:
    """The pure core both sides share."""
    assert not loaded_by("schemas.documents, schemas.public") & {
        *_IO - {"asyncio", "socket", "time", "urllib"},
        "api",
        "worker",
    }
