"""A running installation, its OpenAPI document as a file, and the programs that make clients of it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from tests.services import Namespace, Services
from tests.services.jars import maven_jars
from tests.services.skips import pass_over
from tests.support.command import Running, call

HERE: Final = Path(__file__).parent
ISSUED: Final = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"}
SCOPES: Final = "sleep:read sleep:write sleep:policy sleep:emit"
LONGEST_SECONDS: Final = 300.0
"""How long one program may take: the first time it fetches what it needs."""
GENERATORS: Final = ("go", "java", "python")


class Served(NamedTuple):
    """A running API: its OpenAPI document as a file, and the variables that a client needs."""

    document: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def served(
    services: Services, tmp_path_factory: pytest.TempPathFactory, module_namespace: Namespace
) -> Iterator[Served]:
    """Topics, a key, a worker and an API that a command went through."""
    if not services.log_append_time:
        # The mark works for each test, and this is made before the first of them.
        pass_over(f"needs a real Kafka; services are {services}")
    folder = tmp_path_factory.mktemp("installation")
    environment = {
        **services.environ(),
        **module_namespace.environ(),
        **ISSUED,
        "SLEEP_PARTITIONS": "2",
        "SLEEP_JWT_JWKS": str(folder / "keys" / "jwks.json"),
        "SLEEP_API_PORT": "0",
        "SLEEP_WORKER_METRICS_PORT": "0",
    }
    made = call("topics", "create", "--json", folder=folder, environment=environment)
    assert made.returncode == 0, made.stderr
    tenant = ("--tenant", "acme", "--scope", SCOPES, "--new-key", "keys")
    token = call("token", *tenant, folder=folder, environment=environment).stdout.strip()
    with (
        Running("worker", folder=folder, environment=environment) as worker,
        Running("api", folder=folder, environment=environment) as api,
    ):
        url = json.loads(api.wait_for("api_serving", 60))["url"]
        worker.wait_for("worker_ready", 60)
        document = folder / "openapi.json"
        document.write_bytes(httpx.get(f"{url}/openapi.json", trust_env=False).raise_for_status().content)
        yield Served(
            document, {"SLEEP_URL": url, "SLEEP_TOKEN": token, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        )


@pytest.fixture(scope="module")
def java_jars() -> Path:
    """What a Java client needs, and the generator."""
    need("mvn", "javac", "java")
    return maven_jars(HERE / "java" / "pom.xml", "clients", goals=("dependency:copy-dependencies", "dependency:copy"))


@pytest.fixture(scope="module")
def generated(served: Served, java_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a client for each of `GENERATORS`, made by one run of openapi-generator with its own defaults."""
    folder = tmp_path_factory.mktemp("generated")
    settings = []
    for generator in GENERATORS:
        file = folder / f"{generator}.json"
        settings.append(file)
        options: dict[str, object] = {
            "generatorName": generator,
            "inputSpec": str(served.document),
            "outputDir": str(folder / generator),
            # No documentation and no tests: they are most of what is written.
            "globalProperties": {"apis": "", "models": "", "supportingFiles": "", "apiDocs": "false",
                                 "modelDocs": "false", "apiTests": "false", "modelTests": "false"},
        }  # fmt: skip
        if generator == "java":
            options["additionalProperties"] = {"library": "native"}  # Java's own HTTP client
        else:
            options["packageName"] = "sleepclient"
        file.write_text(json.dumps(options))
    run(
        [
            "java",
            "-jar",
            java_jars / "generator" / "openapi-generator-cli.jar",
            "batch",
            "--fail-fast",
            "--threads",
            "2",
            *settings,
        ]
    )
    return folder


def need(*programs: str) -> None:
    """Skip the test where a program is missing; in CI each is there, so it fails."""
    for program in programs:
        if shutil.which(program) is None:
            pass_over(f"{program} is not installed")


def run(command: Sequence[str | Path], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout[-8_000:]}"
    return done.stdout
