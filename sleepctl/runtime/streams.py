"""stdin, stdout and stderr without tracebacks: closed descriptors, full disks, pipes and encodings are handled."""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BROKEN_PIPE: Final = 141
"""Exit status after the reader of a pipe has closed it, as `| head` does: 128 and the number of SIGPIPE."""
_FAILED: Final = 1


class _Descriptor(io.FileIO):
    """A file descriptor for writing. After its first error it accepts and drops everything.

    Args:
        number: the descriptor.
        raises: whether to raise the first error, too.

    Attributes:
        failure: the first error.
    """

    def __init__(self, number: int, *, raises: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None
        self._raises = raises

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write. Wait if the terminal or pipe is non-blocking and full."""
        view = memoryview(data)
        while self.failure is None:
            try:
                written = super().write(view)
            except OSError as error:
                self.failure = error
                if self._raises:
                    raise
            else:
                if written is not None:
                    return written
                select.select((), (self.fileno(),), ())
        return view.nbytes


class Streams:
    """The three streams of this process; see `install`.

    Attributes:
        stdout: the descriptor of stdout, None before `install`.
    """

    stdout: ClassVar[_Descriptor | None] = None

    def __init__(self) -> None:
        _open_closed_descriptors()
        if sys.stdin is None:
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open until the process ends
        self._stdout = _Descriptor(1, raises=True)
        # An error of stderr could not be reported anywhere.
        self._stderr = _Descriptor(2, raises=False)

    def install(self) -> None:
        """Replace `sys.stdout` and `sys.stderr`. They escape characters that their encoding lacks."""
        Streams.stdout = self._stdout
        sys.stdout = self._out = _text(self._stdout, sys.stdout)
        sys.stderr = _text(self._stderr, sys.stderr, line_buffering=True)

    def finish(self, status: int) -> int:
        """Flush the buffers and return the exit status: the given one, or that of a failed stdout."""
        try:
            self._out.flush()
        except OSError as error:
            self._stdout.failure = self._stdout.failure or error
        failure = self._stdout.failure
        if failure is None:
            return status
        if failure.errno == errno.EPIPE:
            return BROKEN_PIPE
        sys.stderr.write(f"sleepctl: stdout cannot be written: {failure.strerror}\n")
        return _FAILED


def stdout_failed() -> bool:
    """Return whether writing to stdout has failed. Only the end of the process reports it."""
    return Streams.stdout is not None and Streams.stdout.failure is not None


def _open_closed_descriptors() -> None:
    """Open each closed descriptor, or the next socket would become stdout.

    A closed stdout becomes read-only, so that a command without stdout reports a failure.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # `open` returns the lowest free number, which is this one.


def _text(raw: _Descriptor, before: object, *, line_buffering: bool = False) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
    )
