"""The arrows between packages and folders: who may import whom, and what the API leaves alone."""

import ast
import re
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
    "docs": {"api", "schemas", "sleepctl"},
    "sleep_client": set(),
}
"""specification.md#packages: these arrows and no others. Nothing but tests imports the client."""
_PLACES = {"sleep_client": "clients/python/sleep_client"}
"""Packages that are not at the root: distributions of their own."""
_OURS = {*ARROWS, "tests"}
_FOLDERS = {
    str(path.parent.relative_to(ROOT))
    for package in _OURS
    for path in (ROOT / _PLACES.get(package, package)).rglob("__init__.py")
}
_BESIDE_THE_FOLD = {"worker.ports", "worker.partition.stored_records"}
"""What the fold imports beside its own folder: the values of the core, and how a store's bytes are read."""
_IO = {"aiohttp", "aiokafka", "asyncio", "faust", "fastapi", "httpx", "redis", "socket", "time", "urllib"}
# Taking a URL apart asks nobody. The others are what worker and API do alike, and they may not import each other: they
# end tasks, serve HTTP, read topics and the clock, ask Redis within a time, and look at how it is run.
_ALLOWED = {
    ("tls.py", "urllib"),
    ("setting_types.py", "urllib"),
    ("clock.py", "time"),
    ("client.py", "redis"),
    ("watch.py", "asyncio"),
    ("watch.py", "redis"),
    ("server.py", "asyncio"),
    ("server.py", "socket"),
    ("tasks.py", "asyncio"),
    ("protocol.py", "asyncio"),
    ("connection.py", "asyncio"),
    ("paced.py", "asyncio"),
    ("paced.py", "socket"),
    ("batches.py", "aiokafka"),
    ("fetcher.py", "aiokafka"),
    ("frames.py", "aiokafka"),
    ("script.py", "redis"),
    ("link.py", "asyncio"),
    ("link.py", "redis"),
    ("shared.py", "asyncio"),
    ("shared.py", "redis"),
    ("running_timeout.py", "asyncio"),
    ("starting.py", "asyncio"),
}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Return the line and the first name of every module that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]


def modules(package: str) -> list[Path]:
    """Return the sources of a package."""
    return sorted((ROOT / _PLACES.get(package, package)).rglob("*.py"))


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
    matching = [
        wrong
        for path in modules(package)
        for wrong in wrong_arrows(package, str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    assert matching == []


@pytest.mark.parametrize(
    "source",
    [
        "import worker.fold.fold",
        "from worker import app",
        "def f():\n    from sleepctl.main import app",
        "import os, tests",
    ],
)
def test_another_arrow_would_be_found(source: str) -> None:
    """The test can fail."""
    assert len(wrong_arrows("api", "api/x.py", source)) == 1


@pytest.mark.parametrize(
    ("package", "source"), [("sleep_client", "import schemas.clock"), ("sleepctl", "from sleep_client import Emitter")]
)
def test_the_client_and_the_project_do_not_import_each_other(package: str, source: str) -> None:
    """The client is installed without the project, and the project without the client."""
    assert len(wrong_arrows(package, "x.py", source)) == 1


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
    """But for the modules named above, which others call: certificates are read by the settings."""
    matching = [
        f"{path.name}:{line} imports {target}"
        for path in modules("schemas")
        for line, target in imports(path.read_text(encoding="utf-8"))
        if target in _IO and (path.name, target) not in _ALLOWED
    ]
    assert matching == []


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Return the line and the full name of every module that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def impure(name: str, source: str) -> list[str]:
    """Return each import that a source of the fold may not have: clients, clocks, logs, and what runs the fold."""
    return [
        f"{name}:{line} imports {module}"
        for line, module in imported_modules(source)
        if module.partition(".")[0] in _IO | {"structlog", "prometheus_client", "random"}
        or (module.startswith("worker.") and module not in _BESIDE_THE_FOLD and not module.startswith("worker.fold."))
    ]


def test_the_fold_is_pure() -> None:
    """It neither does I/O, logs, nor knows the time; what it finds is counted and logged by others."""
    impurities = [
        wrong
        for path in modules("worker/fold")
        for wrong in impure(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    assert impurities == []


@pytest.mark.parametrize(
    "source",
    ["import time", "import structlog", "from worker.runtime.refusals import Refusals", "import redis.asyncio"],
)
def test_an_impure_fold_would_be_found(source: str) -> None:
    """The test can fail."""
    assert len(impure("worker/fold/x.py", source)) == 1


def test_the_formats_of_libraries_are_pure() -> None:
    """Bytes and headers in, events out: they know the domain and the documents, and nothing that reads or logs."""
    known = ("schemas.domain.", "schemas.wire.", "schemas.formats")
    wrong = [
        f"{path.name} imports {name}"
        for path in modules("schemas/formats")
        for _, name in imported_modules(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in _IO | {"structlog", "prometheus_client", "random"}
        or (name.startswith("schemas") and not name.startswith(known))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("core", "known"),
    [("emission", ("emission", "protocol")), ("reading", ("reading", "protocol")), ("protocol", ("protocol",))],
)
def test_the_cores_of_the_client_are_pure(core: str, known: tuple[str, ...]) -> None:
    """Time and random numbers are arguments; they name levels of the log, and log nothing."""
    ours = tuple(f"sleep_client.{name}" for name in known)
    wrong = [
        f"{path.name} imports {name}"
        for path in modules(f"clients/python/sleep_client/{core}")
        for _, name in imported_modules(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in _IO | {"random", "secrets", "threading", "queue", "os"}
        or (name.startswith("sleep_client") and not name.startswith(ours))
    ]
    assert wrong == []


def test_the_client_loads_httpx_and_no_breaker() -> None:
    """The binding needs an extra."""
    loaded = loaded_by("sleep_client", "clients/python")
    assert "httpx" in loaded
    assert not loaded & {"pybreaker", "pydantic", "structlog", *ARROWS} - {"sleep_client"}


def named_parts(package: Path) -> set[str]:
    """Return what the docstring of a package names in backticks, as modules and folders are spelled."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    return set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", docstring))


def exists(package: Path, name: str) -> bool:
    """Tell whether a name is that of a folder or module of a package, or of ours by its full name."""
    places = [root.joinpath(*name.split(".")) for root in (package, ROOT, ROOT / "clients" / "python")]
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


@pytest.mark.parametrize("package", sorted(_FOLDERS), ids=str)
def test_a_package_s_docstring_names_what_there_is(package: str) -> None:
    """A reader goes where it points; one that names any of its folders names them all."""
    place = ROOT / package
    named = named_parts(place)
    assert {name for name in named if not exists(place, name)} == set()
    folders = {folder.name for folder in place.iterdir() if (folder / "__init__.py").is_file()}
    assert not named & folders or folders <= named


def test_what_knows_faust_is_in_one_folder() -> None:
    """Another consumer would replace this folder alone."""
    faust = ROOT / "worker" / "runtime" / "faust"
    matching = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in ARROWS
        for path in modules(package)
        for line, target in imports(path.read_text(encoding="utf-8"))
        if target == "faust" and faust not in path.parents
    ]
    assert matching == []


def test_nothing_else_in_the_worker_imports_recovery() -> None:
    """A rebuild knows lanes and their outputs; no lane and no ingress knows of rebuilds."""
    recovery = ROOT / "worker" / "recovery"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("worker")
        if recovery not in path.parents
        for _, name in imported_modules(path.read_text(encoding="utf-8"))
        if name.startswith("worker.recovery")
    ]
    assert wrong == []


def test_what_recovery_decides_folds_and_compares_is_pure() -> None:
    """Only these modules read topics or Redis, or write to them."""
    shell = {
        "dead_letter_topic.py", "move.py", "range_finder.py", "range_replay.py", "rebuild.py", "redis_snapshot.py",
        "redrive.py", "source.py", "target.py", "topics.py", "verify.py",
    }  # fmt: skip
    impurities = [
        f"{path.name} imports {name}"
        for path in sorted((ROOT / "worker" / "recovery").rglob("*.py"))
        if path.name not in shell
        for _, name in imported_modules(path.read_text(encoding="utf-8"))
        if name.startswith("worker.adapters") or name.partition(".")[0] in _IO
    ]
    assert impurities == []


def loaded_by(module: str, folder: str = ".") -> set[str]:
    """Return the first names of all modules that importing one of ours loads, in a process of its own."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / folder, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_api_loads_neither_faust_nor_aiohttp_nor_the_worker() -> None:
    """It can be installed, scaled and secured without them."""
    assert not loaded_by("api.app") & {"faust", "aiohttp", "worker", "sleepctl", "tests"}


def test_the_command_line_loads_no_client_before_it_knows_which_command() -> None:
    """Help and mistakes are told at once."""
    assert not loaded_by("sleepctl.main") & {"faust", "aiokafka", "redis", "httpx", "fastapi", "cryptography"}


def test_the_schemas_load_no_framework_but_pydantic() -> None:
    """The pure core both sides share."""
    assert not loaded_by("schemas.wire.documents, schemas.wire.tenant_view") & {
        *_IO - {"asyncio", "socket", "time", "urllib"},
        "api",
        "worker",
    }
