"""Signals, log lines, unforeseen errors, and what the entry point loads."""

import asyncio
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from aiokafka.errors import KafkaError

from schemas.errors import describe
from sleepctl import main
from sleepctl.commands.run import free_port, report
from sleepctl.demo.live import guard
from sleepctl.runtime import event_loop as process
from sleepctl.runtime.event_loop import serve_until_stopped, supervise_until_stopped
from sleepctl.runtime.logs import LogFormat, LogLevel, configure_logging
from sleepctl.ui.errors import STOPPED_AT_ONCE, CommandError
from tests.unit.sleepctl.conftest import Run


@pytest.fixture
def _logging() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    """What runs ends in its own time and says with what."""

    async def serving(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), number)
        await stop.wait()
        return "finished"

    assert serve_until_stopped(serving) == "finished"


def test_a_ctrl_c_that_was_swallowed_before_the_loop_ran_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that loads just then may swallow the exception; `run` would then serve for ever."""
    interrupted = threading.Event()
    interrupted.set()
    monkeypatch.setattr(process, "INTERRUPTED", interrupted)

    async def serving(stop: asyncio.Event) -> None:
        await stop.wait()

    with pytest.raises(KeyboardInterrupt):
        serve_until_stopped(serving)


def test_the_second_signal_stops_at_once() -> None:
    """With an exit status of its own."""

    async def stubborn(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    with pytest.raises(CommandError, match="second signal") as caught:
        serve_until_stopped(stubborn)
    assert caught.value.exit_code == STOPPED_AT_ONCE


def test_of_a_process_among_several_only_the_first_signal_counts() -> None:
    """Its parent passes a signal on, and a process manager may send it to each process too."""

    async def draining(stop: asyncio.Event) -> str:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        return "finished"

    assert serve_until_stopped(draining, once=True) == "finished"


def test_a_second_signal_to_the_parent_of_several_cancels_it() -> None:
    """It then kills them."""

    async def stubborn(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    with pytest.raises(CommandError, match="second signal"):
        supervise_until_stopped(stubborn)


def test_a_cancellation_from_within_is_not_taken_for_a_signal() -> None:
    """It is a defect, and must look like one."""

    async def cancelled(_: asyncio.Event) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        serve_until_stopped(cancelled)


async def test_what_ends_in_the_background_ends_the_rest() -> None:
    """The part is named, with its error."""

    async def failing() -> None:
        raise ValueError("broken")

    async def ending() -> None:
        return

    waited = asyncio.Event()
    for part, text in ((failing(), "the worker ended: ValueError: broken"), (ending(), "the worker ended$")):
        task = asyncio.create_task(part, name="the worker")
        with pytest.raises(CommandError, match=text):
            await guard(waited.wait(), [task])


async def test_what_is_guarded_returns_its_result() -> None:
    """While the background goes on."""
    background = asyncio.create_task(asyncio.sleep(3600))
    assert await guard(asyncio.sleep(0, "done"), [background]) == "done"
    background.cancel()


@pytest.mark.usefixtures("_logging")
def test_our_lines_and_the_libraries_are_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """With level, logger, time and fields."""
    configure_logging("info", "json")
    structlog.get_logger("worker.partition.lane").info("recovered", position=7)
    logging.getLogger("faust.app").info("chatter")
    logging.getLogger("aiokafka.client").warning("once more")
    logging.getLogger("faust.app").warning("lost %s", "broker-1")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["position"], ours["level"], ours["logger"]) == (
        "recovered",
        7,
        "info",
        "worker.partition.lane",
    )
    assert (theirs["event"], theirs["level"]) == ("lost broker-1", "warning")


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("format_", ["json", "console"])
def test_our_lines_and_the_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str], format_: LogFormat) -> None:
    """The same fields in the same order, with a traceback too: one function writes ours, and eight write theirs."""
    configure_logging("info", format_, process=2)
    try:
        int("x")
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("x").exception("failed")
    output = re.sub(r"\d+-\d+-\d+[T ]\d+:\d+:\d+(\.\d+)?", "TIME", capsys.readouterr().err)
    half = len(output) // 2
    assert output[:half] == output[half:]
    if format_ == "json":
        assert list(json.loads(output.splitlines()[0])) == [
            "process",
            "event",
            "level",
            "logger",
            "timestamp",
            "exception",
        ]


@pytest.mark.usefixtures("_logging")
def test_loggers_that_are_silent_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that shows something itself needs no line about it."""
    configure_logging("info", "json", silent=["worker.runtime.refusals"])
    structlog.get_logger("worker.runtime.refusals").warning("event_refused")
    structlog.get_logger("worker.partition.lane").info("recovered")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["recovered"]


@pytest.mark.usefixtures("_logging")
def test_lines_of_a_process_among_several_have_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of libraries and of threads too; a line of the parent names whom it is about."""
    configure_logging("info", "json", process=2)
    structlog.get_logger("a").info("ours")
    lines = threading.Thread(target=logging.getLogger("faust.app").warning, args=("theirs",))
    lines.start()
    lines.join()
    assert [json.loads(line)["process"] for line in capsys.readouterr().err.splitlines()] == [2, 2]


def test_a_line_that_nobody_takes_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is answered though the reader of stderr is gone."""
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure_logging("info", "json")
    closed.close()
    structlog.get_logger("x").info("lost")


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize(("level", "heard"), [("debug", True), ("info", False), ("error", False)])
def test_libraries_chatter_at_debug_only(capsys: pytest.CaptureFixture[str], level: LogLevel, *, heard: bool) -> None:
    """Faust and aiokafka speak of every rebalance at info."""
    configure_logging(level, "json")
    logging.getLogger("faust.app").info("chatter")
    assert ("chatter" in capsys.readouterr().err) is heard


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_no_local_variable(capsys: pytest.CaptureFixture[str], format_: LogFormat) -> None:
    """It may hold a secret."""
    configure_logging("info", format_)

    def fail(password: str) -> None:
        raise ValueError(len(password))

    try:
        fail("hunter" + str(2))
    except ValueError:
        structlog.get_logger("x").exception("failed")
    output = capsys.readouterr().err
    assert "ValueError: 7" in output
    assert "in fail" in output
    assert "hunter2" not in output


def test_an_error_is_one_line() -> None:
    """Its type, and its text if it has one."""
    assert describe(ValueError("a\n  b")) == "ValueError: a b"
    assert describe(ValueError()) == "ValueError"
    assert describe(KafkaError("away")) == "KafkaError: away"


def test_what_nobody_foresaw_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback."""

    def broken(_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sleepctl.commands.settings.describe_settings", broken)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as caught:
        main.app(["settings"])
    assert caught.value.code == 1
    output = capsys.readouterr().err
    assert output.startswith("sleepctl: unexpected ZeroDivisionError: by zero")
    assert output.count("\n") == 1
    monkeypatch.setenv("SLEEP_LOG_LEVEL", "debug")
    with pytest.raises(SystemExit):
        main.app(["settings"])
    assert "in broken" in capsys.readouterr().err


def test_the_version_is_told(run: Run) -> None:
    """And nothing else is done."""
    outcome = run("--version")
    assert (outcome.code, outcome.out.count(".")) == (0, 2)


def test_an_unknown_command_is_a_mistake_of_the_caller(run: Run) -> None:
    """Exit status 2 and a line that names it."""
    outcome = run("sned")
    assert outcome.code == 2
    assert "No such command 'sned'" in outcome.err


def test_a_scenario_is_reported_by_what_was_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing unseen is a success; an unfinished scenario is not."""
    report([], json=False)
    assert capsys.readouterr().out == ""
    report([], json=True)
    assert json.loads(capsys.readouterr().out) == {"finished": True, "unseen": []}
    with pytest.raises(CommandError, match="stopped before the scenario ended"):
        report(None, json=False)
    with pytest.raises(CommandError, match="2 expectations were not seen:\n  a\n  b"):
        report(["a", "b"], json=False)


def test_a_taken_port_is_replaced_by_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told which one it is."""

    class Listener:
        def __init__(self, address: tuple[str, int]) -> None:
            if address[1] in taken:
                raise OSError("in use")

        def close(self) -> None:
            """It was only tried."""

    monkeypatch.setattr("socket.create_server", Listener)
    taken = {8080}
    assert free_port(8081) == 8081
    # No connection of this machine's own begins there, and takes it before it is used.
    assert free_port(8080) in range(20_000, 32_000)
    assert free_port(0) in range(20_000, 32_000)
    assert free_port(8081, but=8081) in range(20_000, 32_000)
    taken.update(range(20_000, 32_000))
    with pytest.raises(CommandError, match="no port of 20000 to 31999 is free"):
        free_port(8080)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sleepctl.main", ("faust", "fastapi", "aiokafka", "redis", "httpx", "cryptography", "worker", "api")),
        ("sleepctl.commands.api, sleepctl.commands.worker", ("faust", "fastapi", "aiokafka", "redis", "worker", "api")),
        ("sleepctl.io.api_client", ("faust", "fastapi", "aiokafka", "worker", "api")),
    ],
)
def test_light_commands_load_nothing_heavy(module: str, absent: tuple[str, ...]) -> None:
    """So that they are quick, and `sleepctl api` loads no worker."""
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
