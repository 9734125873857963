"""Progress bars on stderr, where it is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

from sleepctl.ui.output import console


class ProgressBar:
    """One bar; see `progress_bar`."""

    def __init__(self, bar: Progress, task: TaskID, stderr: Console) -> None:
        self._bar = bar
        self._task = task
        self._stderr = stderr

    def begin(self, total: int) -> None:
        """Show how much there is to do."""
        self._bar.update(self._task, total=total)

    def advance(self, more: int = 1) -> None:
        """Show that so much more is done."""
        self._bar.advance(self._task, more)

    def ignored(self, reason: str) -> None:
        """Print that something was ignored, and why."""
        self._stderr.print(f"ignored: {reason}")


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[ProgressBar]:
    """Show a bar while a command works; it goes away afterwards.

    Args:
        what: what is counted.
        total: how much there is to do; None if `begin` will say so.
    """
    stderr = console(stderr=True)
    with Progress(console=stderr, disable=not stderr.is_terminal, transient=True) as bar:
        yield ProgressBar(bar, bar.add_task(what, total=total), stderr)
