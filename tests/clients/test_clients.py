"""A client of each kind is generated, compiled, and starts a sleep and reads it."""

import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.clients.conftest import HERE, Served, need, run

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(600)]

BIN: Final = Path(sys.executable).parent


def test_openapi_generator_for_java(served: Served, generated: Path, java_jars: Path, tmp_path: Path) -> None:
    """Compiled with its tests left out; it calls with Java's own HTTP client, which asks for HTTP/2."""
    classpath = f"{java_jars}/*"
    sources = sorted((generated / "java" / "src" / "main").rglob("*.java"))
    assert len(sources) > 30
    files = tmp_path / "sources"
    files.write_text("\n".join(map(str, [*sources, HERE / "java" / "GeneratedClient.java"])))
    run(["javac", "-nowarn", "-cp", classpath, "-d", tmp_path, f"@{files}"])
    output = run(["java", "-cp", f"{tmp_path}:{classpath}", "GeneratedClient"], environment=served.environment)
    assert output.startswith("java ")


def test_javas_own_client_that_asks_for_an_upgrade(served: Served) -> None:
    """`HttpClient.newHttpClient()` sends `Upgrade: h2c` with each first request, and a body."""
    need("javac", "java")
    output = run(["java", HERE / "java" / "DefaultHttpClient.java"], environment=served.environment)
    assert output.endswith("done\n")


def test_oapi_codegen(served: Served, tmp_path: Path) -> None:
    """Generated, vetted and run in a module of its own."""
    need("go")
    module = _go_module(tmp_path)
    generator = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen"
    (module / "oapiclient").mkdir()
    options = ["-package", "oapiclient", "-generate", "types,client", "-o", "oapiclient/client.go"]
    run(["go", "run", generator, *options, served.document], module)
    run(["go", "vet", "./oapiclient", "./oapi"], module)
    assert run(["go", "run", "./oapi"], module, served.environment).startswith("oapi-codegen ")


def test_openapi_generator_for_go(served: Served, generated: Path, tmp_path: Path) -> None:
    """The same with the other generator."""
    need("go")
    module = _go_module(tmp_path)
    (module / "sleepclient").mkdir()
    for source in (generated / "go").glob("*.go"):
        shutil.copy(source, module / "sleepclient")
    run(["go", "vet", "./sleepclient", "./openapigenerator"], module)
    assert run(["go", "run", "./openapigenerator"], module, served.environment).startswith("go ")


def test_openapi_generator_for_python(served: Served, generated: Path) -> None:
    """Every module compiles and has its types; the client is the one with pydantic models."""
    package = generated / "python"
    run([BIN / "mypy", "--ignore-missing-imports", "--cache-dir", package / "cache", "sleepclient"], package)
    script = HERE / "python" / "pydantic_client.py"
    output = run(
        [sys.executable, "-W", "ignore", script], environment=served.environment | {"PYTHONPATH": str(package)}
    )
    assert output.startswith("python ")


def test_openapi_python_client(served: Served, tmp_path: Path) -> None:
    """Strictly typed, and so is what calls it."""
    package = tmp_path / "client"
    environment = {"PATH": f"{BIN}:/usr/bin:/bin"}  # It formats with ruff, which it looks for there.
    arguments = ("generate", "--path", served.document, "--output-path", package, "--fail-on-warning")
    run([BIN / "openapi-python-client", *arguments], environment=environment)
    script = shutil.copy(HERE / "python" / "attrs_client.py", package)
    run([BIN / "mypy", "--strict", "--cache-dir", tmp_path / "cache", "somabrain_sleep_client", script], package)
    run([sys.executable, "-m", "compileall", "-q", "somabrain_sleep_client"], package)
    output = run([sys.executable, script], package, served.environment)
    assert output.startswith("openapi-python-client ")


def test_openapi_typescript(served: Served, tmp_path: Path) -> None:
    """Types only, with openapi-fetch; `tsc --strict` finds what is wrongly needed or wrongly null."""
    need("node", "npm")
    folder = tmp_path / "typescript"
    shutil.copytree(HERE / "typescript", folder)
    run(["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"], folder)
    run(["node_modules/.bin/openapi-typescript", served.document, "--output", "api.d.ts"], folder)
    run(["node_modules/.bin/tsc", "--project", "."], folder)
    assert run(["node", "out/main.js"], folder, served.environment).startswith("typescript ")


def test_the_parser_of_asyncapi_accepts_our_document(tmp_path: Path) -> None:
    """With all that the document refers to."""
    need("node", "npm")
    folder = tmp_path / "asyncapi"
    shutil.copytree(HERE / "asyncapi", folder)
    run(["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"], folder)
    output = run(["node", "validate.mjs", HERE.parents[1] / "schemas" / "json" / "asyncapi.json"], folder)
    assert output.startswith("asyncapi 3.0.0: 5 channels")


def _go_module(folder: Path) -> Path:
    """Return a copy of the module, into which a client is generated."""
    return Path(shutil.copytree(HERE / "go", folder / "go"))
