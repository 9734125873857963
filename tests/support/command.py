"""Calls `sleepctl` as a process of its own, from an empty folder."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_DUMP_SECONDS = 10.0
PROGRAM = str(Path(sys.executable).with_name("sleepctl"))


class Running:
    """A `sleepctl` process whose lines are read as they come; it is killed with the block, should it still run.

    Args:
        arguments: the command and its options.
        environment: variables beside those of this process.
        folder: the working directory.
        ignores: signals that the shell which starts it ignores, as its children then do.
    """

    def __init__(
        self, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, ignores: Sequence[str] = ()
    ) -> None:
        command = [PROGRAM, *arguments]
        if ignores:
            command = ["sh", "-c", f'trap \'\' {" ".join(ignores)}; exec "$0" "$@"', *command]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._incoming: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str] | None) -> None:
        assert output is not None
        for line in output:
            self._incoming.put(line.rstrip("\n"))
        self._incoming.put(None)

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for(self, text: str, seconds: float) -> str:
        """Return the first line with this text; fails where the process ends or stays silent before it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._incoming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {text!r} within {seconds:g} s:\n{self.told}") from None
            if line is None:
                raise AssertionError(f"ended before {text!r}:\n{self.told}")
            self.lines.append(line)
            if text in line:
                return line

    def end(self, seconds: float) -> int:
        """Wait for the end and return the exit status. A process that does not end shows where its threads are."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(_DUMP_SECONDS)
            self._take_rest()
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.told}") from None
        self._take_rest()
        return code

    def _take_rest(self) -> None:
        self._reader.join()
        while (line := self._incoming.get()) is not None:
            self.lines.append(line)

    def interrupt(self, seconds: float) -> int:
        """Send what Ctrl-C sends, to all processes of the foreground group, and return the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.end(seconds)

    def stop(self, number: signal.Signals, seconds: float) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.end(seconds)

    @property
    def told(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)


def call(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, seconds: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
