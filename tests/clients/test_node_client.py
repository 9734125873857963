"""The Node client as a package: its types, and a service with a real opossum and a real Express."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.clients.conftest import HERE, Served, need, run

pytestmark = pytest.mark.timeout(600)

CLIENT: Final = HERE.parents[1] / "clients" / "node"
NPM_CI: Final = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a service of a user has: the packed client, opossum, Express and TypeScript."""
    need("node", "npm")
    folder = tmp_path_factory.mktemp("node") / "service"
    shutil.copytree(HERE / "node", folder)
    run(NPM_CI, folder)
    package = run(["npm", "pack", "--silent", "--pack-destination", folder.parent], CLIENT).split()[-1]
    install = ("npm", "install", "--no-save", "--no-audit", "--no-fund", "--offline", "--ignore-scripts")
    run([*install, folder.parent / package], folder)
    return folder


def test_the_code_has_the_types_that_it_declares(folder: Path) -> None:
    """By TypeScript's strict checks of the sources, and of calls that must be wrong."""
    copy = folder / "client"
    shutil.copytree(CLIENT, copy)
    run([folder / "node_modules" / ".bin" / "tsc", "--project", "."], copy)


def test_the_provider_for_openfeature_with_the_official_sdk(folder: Path) -> None:
    """Against a server in the program of the test."""
    run([folder / "node_modules" / ".bin" / "tsc", "--project", "."], folder)
    vectors = HERE.parents[1] / "schemas" / "json" / "reader.vectors.json"
    assert run(["node", "out/openfeature.js"], folder, {"VECTORS": str(vectors)}) == "openfeature done\n"


@pytest.mark.needs_kafka
def test_a_service_with_opossum_and_express_reports_and_obeys(served: Served, folder: Path) -> None:
    """A breaker that trips closes the service's own door; it opens again with the breaker."""
    run([folder / "node_modules" / ".bin" / "tsc", "--project", "."], folder)
    output = run(["node", "out/main.js"], folder, served.environment)
    print(output)
    assert "\nnode frozen " in output
