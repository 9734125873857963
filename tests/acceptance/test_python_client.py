"""The Python client as a wheel: built, installed into an empty environment, and used as its page says.

No service is needed: a server of this test stands in for the API.
"""

import json
import re
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.states_server import snapshot

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENT: Final = ROOT / "clients" / "python"
# What the examples of the page leave to the reader, and an end.
BEFORE: Final = 'import pybreaker\n\ntoken = "token"\nbreaker = pybreaker.CircuitBreaker(name="orders")\n'
AFTER: Final = (
    "breaker.open()\nassert asleep and emitter.close(release=False, timeout_seconds=60) and reader.close(60)\n"
)

SNAPSHOT: Final = snapshot("acme")

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, folder: Path) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, folder=CLIENT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the wheel and what it depends on, in the versions of our lock."""
    folder = tmp_path_factory.mktemp("empty") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    lock = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r"^[a-z0-9._-]+==[^\s;\\]+", lock, re.MULTILINE)))
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--constraint", constraints)
    run(sys.executable, *install, f"{wheel}[pybreaker]", folder=folder)
    return python


def examples() -> str:
    """Return the examples of the client's page as one program."""
    page = (CLIENT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    return "\n".join([BEFORE, *blocks, AFTER])


class StandIn(ThreadingHTTPServer):
    """Accepts every batch, and keeps its events."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        self.send_response(200 if self.path == "/api/states/events" else 404)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(SNAPSHOT)
        self.connection.recv(1)  # Until the reader leaves.

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.events += events
        self.server.tokens.add(self.headers["Authorization"])
        body = json.dumps({"accepted": len(events)}).encode()
        self.send_response(202 if self.path == "/api/breakers/events" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A server in place of the API, in threads that end with the test."""
    with StandIn() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def test_the_wheel_has_the_package_its_types_and_its_license(wheel: Path) -> None:
    """And nothing of the project or its tests."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(CLIENT).as_posix() for path in (CLIENT / "sleep_client").rglob("*.py")}
    package = {name for name in names if name.startswith("sleep_client/")}
    assert package == {*sources, "sleep_client/py.typed"}
    assert {name.rpartition("/")[2] for name in names - package} == {
        "METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt",
    }  # fmt: skip
    assert wheel.name.startswith("somabrain_sleep_client-")


def test_the_examples_of_its_page_report_breakers_and_read_a_state(
    python: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    """In an environment that has nothing else; the close sends what waits."""
    program = tmp_path / "program.py"
    program.write_text(examples().replace("https://sleep.example", f"http://127.0.0.1:{stand_in.server_port}"))
    run(python, "-W", "error", program, folder=tmp_path)
    assert stand_in.tokens == {"Bearer token"}
    assert {(event["subject"], event["data"]["breaker"], event["data"]["state"]) for event in stand_in.events} == {
        ("acme", "payments", "open"),
        ("acme", "orders", "open"),
    }


def test_sleep_gate_without_its_extra_says_so(python: Path, tmp_path: Path) -> None:
    """Its console script is installed with the wheel."""
    required = {"SLEEP_URL": "https://sleep.example", "SLEEP_TOKEN": "token", "SLEEP_GATE_PROXY": "nginx"}
    done = subprocess.run(
        [python.with_name("sleep-gate")],
        cwd=tmp_path,
        env=required,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2, "sleep-gate: uvicorn is missing: install somabrain-sleep-client[gate]\n",
    )  # fmt: skip


def test_a_type_checker_finds_the_types_of_the_wheel(python: Path, tmp_path: Path) -> None:
    """Without `py.typed` everything would be `Any`, and the wrong call would pass."""
    program = tmp_path / "program.py"
    program.write_text(f"{examples()}\nemitter.report(1, 2, 3)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", tmp_path, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert [line.rpartition("  ")[2] for line in done.stdout.splitlines()[:-1]] == ["[arg-type]"] * 3, done.stdout
