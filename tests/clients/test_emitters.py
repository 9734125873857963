"""The emitters of docs/how-to/emitters: compiled as their pages say, with a real breaker of each library."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from tests.clients.conftest import HERE, Served, need, run
from tests.services.jars import maven_jars

pytestmark = pytest.mark.timeout(600)

EMITTERS: Final = HERE.parents[1] / "docs" / "how-to" / "emitters"
SECONDS: Final = 60.0
"""How long anything may take on a busy machine."""
AHEAD_SECONDS: Final = 600
"""How far the clock of the stand-in is ahead."""


def go_program(folder: Path) -> list[str | Path]:
    """Build the program with gobreaker."""
    need("go")
    run(["go", "vet", "."], EMITTERS / "gobreaker")
    run(["go", "build", "-o", folder / "emitter", "."], EMITTERS / "gobreaker")
    return [folder / "emitter"]


def java_program(folder: Path) -> list[str | Path]:
    """Build the program with resilience4j."""
    need("mvn", "javac", "java")
    sources = EMITTERS / "resilience4j"
    classpath = f"{maven_jars(sources / 'pom.xml', 'emitter')}/*"
    run(["javac", "-Xlint:all", "-Werror", "-cp", classpath, "-d", folder, *sorted(sources.glob("*.java"))])
    return ["java", "-cp", f"{folder}:{classpath}", "Service"]


@pytest.fixture(scope="module", params=[go_program, java_program], ids=["gobreaker", "resilience4j"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """What starts the program of a language."""
    command: list[str | Path] = request.param(tmp_path_factory.mktemp("emitter"))
    return command


def go_driver(folder: Path) -> list[str | Path]:
    """Build the emitter with a program that reports what it is told."""
    need("go")
    for source in (EMITTERS / "gobreaker" / "emitter.go", *(HERE / "emitters" / "go").iterdir()):
        shutil.copy(source, folder)
    run(["go", "build", "-o", "driver", "."], folder)
    return [folder / "driver"]


def java_driver(folder: Path) -> list[str | Path]:
    """Build the emitter with a program that reports what it is told."""
    need("javac", "java")
    sources = (EMITTERS / "resilience4j" / "SleepEmitter.java", HERE / "emitters" / "java" / "Driver.java")
    run(["javac", "-Xlint:all", "-Werror", "-d", folder, *sources])
    return ["java", "-cp", folder, "Driver"]


@pytest.fixture(scope="module", params=[go_driver, java_driver], ids=["go", "java"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """What starts the driver of a language."""
    driver: list[str | Path] = request.param(tmp_path_factory.mktemp("driver"))
    return driver


class Program:
    """A running program, which makes a call for each line of its input."""

    def __init__(self, command: list[str | Path], environment: dict[str, str], stderr: int | None = None) -> None:
        repeat = "PT1S" if command[0] == "java" else "1s"
        self._process = subprocess.Popen(
            command, env=os.environ | environment | {"REPEAT": repeat}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        """Return the program."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""
        self._process.kill()
        self._process.communicate()

    def call(self, tenant: str, outcome: str) -> str:
        """Make a call, and return the state of the breaker and what came of the call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{tenant} {outcome}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line.startswith(f"{tenant} "), line
        return line.removeprefix(f"{tenant} ").strip().lower()

    def report(self, *fields: str) -> None:
        """Report to a driver: tenant, breaker, state and cause."""
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join(fields) + "\n")
        self._process.stdin.flush()

    def trip(self, tenant: str) -> None:
        """Fail until the breaker is open."""
        until(lambda: self.call(tenant, "fail").startswith("open"))

    def heal(self, tenant: str) -> None:
        """Succeed until the breaker is closed."""
        until(lambda: self.call(tenant, "ok").startswith("closed"))

    def stop(self) -> str:
        """End its input, and return what it says at its end."""
        said, _ = self._process.communicate(timeout=SECONDS)
        assert self._process.returncode == 0
        return said.strip().lower()


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.needs_kafka
def test_a_breaker_that_trips_puts_its_tenant_to_sleep_until_it_closes(
    served: Served, command: list[str | Path]
) -> None:
    """Nobody reports meanwhile, and the claim is renewed. A process that stops leaves no claim."""
    headers = {"Authorization": f"Bearer {served.environment['SLEEP_TOKEN']}"}
    with (
        httpx.Client(base_url=served.environment["SLEEP_URL"], headers=headers, trust_env=False) as client,
        Program(command, served.environment) as program,
    ):

        def mode() -> dict[str, Any]:
            document: dict[str, Any] = client.get("/api/brain/sleep_mode").raise_for_status().json()
            return document

        def ends_at() -> int:
            (claim,) = (claim for claim in mode()["claims"] if claim["breaker_state"] == "open")
            return int(claim["expires_at"])

        # A renewal counts once a quarter of the lease is over.
        policy = {"breakers": [{"match": "*", "open": "freeze", "lease_seconds": 12}]}
        client.put("/api/brain/sleep_policy", json=policy, headers={"If-Match": "*"}).raise_for_status()
        program.trip("acme")
        until(lambda: mode()["state"] == "freeze")
        assert mode()["cause"]["key"].startswith("payments@")
        first = ends_at()
        until(lambda: ends_at() > first + 1_000)
        program.heal("acme")
        until(lambda: mode()["state"] == "active")
        program.trip("acme")
        until(lambda: mode()["state"] == "freeze")
        assert program.stop() == "all sent: true"
        until(lambda: mode()["state"] == "active")
        assert {claim["breaker_state"] for claim in mode()["claims"]} == {"closed"}


class StandIn(ThreadingHTTPServer):
    """Takes the place of an API whose clock is ahead.

    Attributes:
        away: whether it takes nothing.
        forbidden: whose events it refuses.
        wrong: a breaker, for which it refuses the whole request.
        most_bytes: the size of a request that it takes.
        taken: the events that it took, in order.
        refused: how often it refused.
        refused_events: how many events the last request had that it refused.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.away = True
        self.forbidden = ""
        self.wrong = ""
        self.most_bytes = 65_536
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        self.refused_events = 0

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Tenant and state of each event that is no repeat."""
        seen: dict[tuple[str, int], tuple[str, str]] = {}
        for event in self.taken:
            seen.setdefault(
                (event["subject"], event["data"]["occurred_at"]), (event["subject"], event["data"]["state"])
            )
        return list(seen.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        events = json.loads(body)
        status = self.status(len(body), events)
        if status == 202:
            self.server.taken += events
        else:
            self.server.refused += 1
            self.server.refused_events = len(events)
        problem = json.dumps({"status": status, "detail": 'the "name" is wrong'}).encode() if status == 422 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(problem)))
        self.end_headers()
        self.wfile.write(problem)

    def status(self, size: int, events: list[dict[str, Any]]) -> int:
        """Return the status of an answer."""
        if self.server.away:
            return 503
        if size > self.server.most_bytes:
            return 413
        if any(event["data"]["breaker"] == self.server.wrong for event in events):
            return 422
        return 403 if events and events[0]["subject"] == self.server.forbidden else 202

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + AHEAD_SECONDS)

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


def test_last_states_come_once_the_server_is_back_by_its_own_clock(
    command: list[str | Path], stand_in: StandIn
) -> None:
    """In order; a tenant that is refused holds up no other one, and what still sleeps is released at the end."""
    before = int((time.time() + AHEAD_SECONDS - 2) * 1000)
    url = f"http://127.0.0.1:{stand_in.server_port}"
    with Program(command, {"SLEEP_URL": url, "SLEEP_TOKEN": "token"}) as program:
        program.trip("acme")
        program.heal("acme")
        program.trip("globex")
        until(lambda: stand_in.refused > 0)
        assert stand_in.taken == []
        stand_in.forbidden, stand_in.away = "wrong", False
        until(lambda: len(stand_in.changes) == 2)
        assert sorted(stand_in.changes) == [("acme", "closed"), ("globex", "open")]
        refused = stand_in.refused
        program.trip("wrong")
        until(lambda: stand_in.refused > refused)
        taken = len(stand_in.taken)
        until(lambda: len(stand_in.taken) > taken)  # globex again
        assert program.stop() == "all sent: false"  # wrong
    assert stand_in.changes[-1] == ("globex", "closed")
    of_globex = [event["data"]["occurred_at"] for event in stand_in.taken if event["subject"] == "globex"]
    assert of_globex == sorted(of_globex)
    assert before < of_globex[0] < of_globex[-1] <= (time.time() + AHEAD_SECONDS) * 1000
    assert len({event["id"] for event in stand_in.taken}) == len(stand_in.taken)


def test_an_event_that_is_refused_holds_up_no_other_one(driver: list[str | Path], stand_in: StandIn) -> None:
    """A request that is too large or has a wrong event is halved. The wrong event is dropped, and the log says why."""
    stand_in.wrong, stand_in.most_bytes = "wrong", 8_000
    environment = {"SLEEP_URL": f"http://127.0.0.1:{stand_in.server_port}", "CLOSE": "30"}
    names = {f"breaker-{number}" for number in range(60)}
    with Program(driver, environment, stderr=subprocess.STDOUT) as program:
        for name in sorted({*names, "wrong"}):
            program.report("acme", name, "open", "no\\nanswer " * 30)
        until(lambda: stand_in.refused > 0)
        stand_in.away = False
        until(lambda: {event["data"]["breaker"] for event in stand_in.taken} == names)
        until(lambda: stand_in.refused_events == 1)
        said = program.stop()
    assert said.endswith("all sent: true")
    assert "dropped open of breaker" in said
    assert "refused with 422: the " in said
    assert {event["data"]["cause"] for event in stand_in.taken if event["data"]["state"] == "open"} == {
        ("no answer " * 30)[:256]
    }
    assert len([event for event in stand_in.taken if event["data"]["state"] == "closed"]) == len(names)


def test_an_end_without_time_does_not_wait(driver: list[str | Path], stand_in: StandIn) -> None:
    """While the server is away, nothing is sent."""
    environment = {"SLEEP_URL": f"http://127.0.0.1:{stand_in.server_port}", "CLOSE": "0"}
    with Program(driver, environment, stderr=subprocess.STDOUT) as program:
        program.report("acme", "payments", "open", "no answer")
        until(lambda: stand_in.refused > 0)
        assert program.stop().endswith("all sent: false")
