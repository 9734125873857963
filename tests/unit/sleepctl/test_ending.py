"""A process that does not end by itself: what ends it, and what is said."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Final

import pytest
import structlog

from sleepctl.runtime.ending import LastResort
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import CommandError

_BEGIN: Final = """
import asyncio, os, signal, sys, threading, time
from contextlib import suppress
import sleepctl.runtime.event_loop as process
from sleepctl.ui.errors import CommandError

async def stubborn(stop=None):
    print("runs", flush=True)
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

async def leaving(stop):
    asyncio.create_task(stubborn(), name="left")
    await asyncio.sleep(0)

async def threads(stop):
    threading.Thread(target=time.sleep, args=(3600,), name="left").start()
    print("runs", flush=True)

async def blocked(stop):
    print("runs", flush=True)
    while True:
        pass

process.STOP_SECONDS = process.COMMAND_SECONDS = process.AT_ONCE_SECONDS = process.CLOSE_SECONDS = 0.3
"""


def _process(code: str, *signals: signal.Signals) -> tuple[int, str]:
    """Run code, send these signals once it runs, and return its status and stderr. It ends by itself."""
    started = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "runs\n"
            for number in signals:
                started.send_signal(number)
                # A signal of the same kind that is not yet delivered would be lost.
                with suppress(subprocess.TimeoutExpired):
                    started.wait(0.1)
            _, output = started.communicate(timeout=30)
        finally:
            started.kill()
    return started.returncode, output


@pytest.mark.parametrize("main", ["stubborn", "blocked"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_ignores_each_cancel_is_ended_after_the_stated_time(main: str, number: signal.Signals) -> None:
    """A task that swallows cancels, or a loop that nothing interrupts; the line names it."""
    status, output = _process(f"process.serve_until_stopped({main})", number)
    assert status == 1
    assert output.startswith("sleepctl: ended by force: it did not end within 0.3 s; still running: ")
    assert main in output


def test_a_task_that_is_left_over_is_named_and_does_not_keep_the_process() -> None:
    """The command had its result."""
    status, output = _process("process.serve_until_stopped(leaving)")
    assert status == 1
    assert "still running: left (stubborn > sleep)" in output


def test_a_thread_does_not_keep_the_process() -> None:
    """One that is no daemon would."""
    code = """
from sleepctl import __main__, main
__main__._EXIT_SECONDS = 0.3
main.app = lambda: process.serve_until_stopped(threads)
__main__.main()
"""
    status, output = _process(code)
    assert (status, output) == (1, "sleepctl: ended by force: it did not end within 0.3 s; still running: left\n")


def test_a_second_signal_ends_it_at_once_and_a_third_without_any_wait() -> None:
    """With the status of Ctrl-C."""
    slow = "process.STOP_SECONDS = 3600\n"
    code = f"{slow}process.serve_until_stopped(stubborn)"
    status, output = _process(code, signal.SIGINT, signal.SIGINT)
    assert (status, output.count("\n")) == (130, 1)
    assert "ended by force" in output
    status, _ = _process(f"process.AT_ONCE_SECONDS = 3600\n{code}", *[signal.SIGINT] * 3)
    assert status == 130


def test_a_short_command_ends_at_ctrl_c() -> None:
    """And by force where it swallows that."""
    status, output = _process("process.run(stubborn())", signal.SIGINT)
    assert (status, "stubborn" in output) == (1, True)


def test_ctrl_c_unwinds_a_short_command() -> None:
    """Which may clean up, and says in one line that it was stopped."""
    cleaned = []

    async def command() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)

    with pytest.raises(CommandError, match=r"^stopped by Ctrl-C$") as caught:
        run(command())
    assert (cleaned, caught.value.exit_code) == ([1], 130)


def test_the_last_resort_speaks_through_the_log_where_there_is_one() -> None:
    """A worker's stderr is JSON."""
    ended = threading.Event()
    status = []

    def end(code: int) -> None:
        status.append(code)
        ended.set()

    with structlog.testing.capture_logs() as logs:
        resort = LastResort(end=end)
        resort.arm(3600)
        resort.arm(0.0, 7)
        assert ended.wait(10)
        resort.close()
    assert status == [7]
    assert [(line["event"], line["log_level"]) for line in logs] == [("process_ended_by_force", "error")]


def test_a_last_resort_that_is_closed_ends_nothing() -> None:
    """Nor stays behind."""
    resort = LastResort(end=lambda _: pytest.fail("it ended"))
    resort.arm(3600)
    resort.close()
