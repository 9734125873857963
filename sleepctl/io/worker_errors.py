"""The worker's errors, as errors of a command."""

from collections.abc import Iterator
from contextlib import contextmanager

from sleepctl.ui.errors import CommandError
from worker.errors import WorkerError


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Raise each error of the worker in the block as a `CommandError` with the same text; exit status 1."""
    try:
        yield
    except WorkerError as error:
        raise CommandError(str(error)) from None
