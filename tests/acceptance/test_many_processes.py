"""`--processes 2` from outside: one port, one `/metrics`, a child that dies, and every stop. No service is needed."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sleepctl.runtime.event_loop import AT_ONCE_SECONDS
from tests.support.command import Running, call

pytestmark = pytest.mark.timeout(400)

STOP_SECONDS = 30
KEYS = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep", "SLEEP_JWT_JWKS": "keys/jwks.json"}
AWAY = {"SLEEP_KAFKA_BOOTSTRAP": "127.0.0.1:1", "SLEEP_REDIS_URL": "redis://127.0.0.1:1/0", "SLEEP_API_PORT": "0"}


def ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended; one whose parent was killed may wait for somebody to ask for its status."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Command:
    """`sleepctl api --processes 2` with nothing behind it, and its children.

    Attributes:
        running: the parent.
        url: where all children serve.
        children: every child that was seen.
    """

    def __init__(self, running: Running) -> None:
        self.running = running
        served = [json.loads(running.wait_for("api_serving", 60)) for _ in range(2)]
        assert {line["process"] for line in served} == {1, 2}
        [self.url] = {line["url"] for line in served}
        self.children: set[psutil.Process] = set()
        assert len(self.alive()) == 2

    def alive(self) -> list[psutil.Process]:
        """Return the present children."""
        children = psutil.Process(self.running.process.pid).children()
        self.children.update(children)
        return children

    def get(self, path: str) -> httpx.Response:
        """Ask for a page on a connection of its own."""
        return httpx.get(f"{self.url}{path}", timeout=10)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something of another process."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.running.told
            time.sleep(0.1)

    def counts(self) -> dict[str, float]:
        """Return every count of `/metrics`, by its name and labels."""
        lines = [line.rpartition(" ") for line in self.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {
            name: float(value)
            for name, _, value in lines
            if name.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
        }


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Two API processes that serve; afterwards none is left, though nobody but the parent is told to end."""
    assert call("token", "--new-key", "keys", folder=tmp_path, environment=KEYS).returncode == 0
    with Running("api", "--processes", "2", folder=tmp_path, environment={**AWAY, **KEYS}) as running:
        command = Command(running)
        try:
            yield command
            if running.process.poll() is None:
                command.alive()
                running.process.kill()
            command.until(lambda: all(map(ended, command.children)), STOP_SECONDS)
        finally:
            # The parent's output ends with the last process that writes to it.
            for child in command.children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


async def test_requests_go_on_while_a_killed_child_is_started_again(command: Command) -> None:
    """Each connection that the killed child had not accepted is answered by the other one."""
    broken, answered, done = [], 0, asyncio.Event()

    async def ask() -> None:
        nonlocal answered
        while not done.is_set():
            try:
                async with httpx.AsyncClient(base_url=command.url, timeout=10) as client:
                    assert (await client.get("/version")).status_code == 200
                answered += 1
            except httpx.TransportError as error:
                broken.append(error)

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    await asyncio.sleep(0.5)
    [victim, _] = command.alive()
    before = answered
    victim.kill()
    try:
        await asyncio.to_thread(command.running.wait_for, "api_serving", 60)
    finally:
        done.set()
        await asyncio.gather(*asking)
    assert answered > before + 10
    assert len(broken) <= len(asking), "one request each, the one that the child had in hand"
    assert len(command.alive()) == 2


def test_metrics_count_all_processes_and_never_go_back(command: Command) -> None:
    """Not even for a child that was killed a moment ago."""
    for _ in range(20):
        assert command.get("/version").status_code == 200
    version = 'sleep_api_requests_total{method="GET",route="/version",status="200"}'
    seen = command.counts()
    assert seen[version] == 20
    for _ in range(2):
        command.alive()[0].kill()
        command.until(lambda: len(command.alive()) == 2)
        for _ in range(5):
            now = command.counts()
            assert {name for name, value in seen.items() if now[name] < value} == set()
            seen = now
    assert sum(value for name, value in seen.items() if name.startswith("sleep_api_process_restarts_total")) == 2


def test_status_has_the_findings_of_each_process(command: Command) -> None:
    """Of a killed one its parent tells what became of it, until it serves again."""
    answer = command.get("/status")
    assert answer.status_code == 503
    processes = answer.json()["processes"]
    assert [process["process"] for process in processes] == [1, 2]
    assert {process["pid"] for process in processes} == {child.pid for child in command.alive()}
    assert not any(process["dependencies"]["redis"]["up"] for process in processes)
    command.alive()[0].kill()
    command.until(lambda: any(process["restarts"] for process in command.get("/status").json()["processes"]))
    command.until(lambda: all("dependencies" in process for process in command.get("/status").json()["processes"]))


@pytest.mark.parametrize("who", ["the parent", "all processes"])
def test_one_signal_stops_all_processes(command: Command, who: str) -> None:
    """A process manager may send it to each process too, which is no second signal."""
    if who == "all processes":
        for child in command.alive():
            child.terminate()
    assert command.running.stop(signal.SIGTERM, STOP_SECONDS) == 0, command.running.told
    stopped = [json.loads(line) for line in command.running.lines if "api_stopped" in line]
    assert {line["process"] for line in stopped} == {1, 2}
    with pytest.raises(httpx.ConnectError):
        command.get("/version")


def test_ctrl_c_of_a_terminal_is_one_signal(command: Command) -> None:
    """It goes to the foreground group, in which the children are not."""
    assert command.running.interrupt(STOP_SECONDS) == 0, command.running.told
    assert sum("api_stopped" in line for line in command.running.lines) == 2


def test_a_second_signal_ends_all_processes_at_once(command: Command) -> None:
    """Even one that is blocked."""
    command.alive()[0].suspend()
    command.running.process.send_signal(signal.SIGTERM)
    command.running.wait_for("api_stopped", STOP_SECONDS)
    assert command.running.stop(signal.SIGTERM, AT_ONCE_SECONDS + 5) == 130
    assert "second signal" in command.running.told


def test_children_end_when_their_parent_is_killed(command: Command) -> None:
    """They drain, and free the port."""
    children = command.alive()
    command.running.process.kill()
    command.until(lambda: all(map(ended, children)), STOP_SECONDS)
    with pytest.raises(httpx.ConnectError):
        command.get("/version")


def test_wrong_settings_end_the_command_as_they_end_one_process(tmp_path: Path) -> None:
    """Status 2, and no child is started again."""
    assert call("token", "--new-key", "keys", folder=tmp_path, environment=KEYS).returncode == 0
    environment = {**AWAY, **KEYS, "SLEEP_JWT_AUDIENCE": ""}
    done = call("api", "--processes", "2", folder=tmp_path, environment=environment, seconds=60)
    assert done.returncode == 2
    assert "settings: SLEEP_JWT_AUDIENCE must be set" in done.stderr
    assert "process_ended" not in done.stderr
