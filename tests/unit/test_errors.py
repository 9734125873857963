"""The errors of each package have one base, and no ladder below it."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

from api.errors.base import ApiError
from schemas.domain.sealing import NewerReleaseError
from schemas.environment import SettingsError
from schemas.errors import SchemasError
from sleepctl.ui.errors import CommandError
from worker.errors import WorkerError

BASES: dict[str, type[Exception]] = {
    "api": ApiError,
    "schemas": SchemasError,
    "sleepctl": CommandError,
    "worker": WorkerError,
}
# A certificate is a setting too: whoever starts a process treats both alike. A newer layout and a newer code both ask
# for an upgrade.
_GROUPS = (*BASES.values(), SettingsError, NewerReleaseError)


def errors_of(package: str) -> Iterator[type[Exception]]:
    """Return the exceptions that a package defines."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if module.name.endswith("__main__"):
            continue
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member, Exception) and member.__module__ == module.name:
                yield member


@pytest.mark.parametrize(("package", "base"), BASES.items())
def test_each_error_of_a_package_has_its_base(package: str, base: type[Exception]) -> None:
    """A caller of the package can catch all of them, and nothing else."""
    assert [error.__name__ for error in errors_of(package) if not issubclass(error, base)] == []


@pytest.mark.parametrize("package", ["api", "schemas", "sleepctl"])
def test_errors_are_flat(package: str) -> None:
    """Each stands directly below the base; beside it may be a class of Python or of a library."""
    for error in set(errors_of(package)) - {*BASES.values()}:
        bases = [above for above in error.__bases__ if above.__module__.partition(".")[0] in BASES]
        assert all(above in _GROUPS for above in bases), error
