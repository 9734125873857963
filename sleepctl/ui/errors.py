"""Errors of commands: one line on stderr and an exit status, never a traceback."""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperGroup

from schemas.domain.values import IN_WORDS, TENANT_PATTERN
from schemas.environment import PREFIX, SettingsError, ignored_links, unknown
from schemas.errors import describe
from schemas.settings import Settings
from schemas.settings_loader import load_settings
from sleepctl.runtime.streams import stdout_failed

WRONG_SETTINGS = 2
"""Exit status for wrong settings or arguments; every other failure exits with 1."""
STOPPED_AT_ONCE: Final = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT."""


class CommandError(Exception):
    """A command failed. The text says what happened and what to do, and holds no secret."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Group(TyperGroup):
    """A group of commands that prints a `CommandError` as one line and exits with its status."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer bundles click in some versions and imports it in others
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            if not stdout_failed():
                typer.echo(f"sleepctl: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("sleepctl: stopped by Ctrl-C", err=True)
            raise typer.Exit(STOPPED_AT_ONCE) from None


class App(typer.Typer):
    """The application. An unexpected error is one line too; `SLEEP_LOG_LEVEL=debug` shows its traceback."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as typer has it
        """Run the command in the arguments."""
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the outermost handler of unexpected errors
            if stdout_failed():
                sys.exit(1)
            text = f"sleepctl: unexpected {describe(error)} (a defect; SLEEP_LOG_LEVEL=debug shows the traceback)"
            typer.echo(text, err=True)
            if os.environ.get("SLEEP_LOG_LEVEL", "").lower() == "debug":
                traceback.print_exception(error)
            sys.exit(1)


def notices() -> Iterator[str]:
    """Yield a warning about all service links, and one about each `SLEEP_` variable that nothing reads."""
    if (links := ignored_links(os.environ)) is not None:
        yield links
    for name, near in unknown(os.environ, [f"{PREFIX}{field.upper()}" for field in Settings.model_fields]):
        yield f"{name} is not a setting and is ignored" + (f"; is {near} meant?" if near else "")


def say_notices(*, unknown_ones: bool = True) -> None:
    """Print the warnings on stderr.

    Args:
        unknown_ones: whether to warn of unknown variables, and not only of service links.
    """
    links = ignored_links(os.environ)
    for notice in notices() if unknown_ones else [links] * (links is not None):
        typer.echo(f"sleepctl: warning: {notice}", err=True)


def settings_or_fail(*, quiet: bool = False) -> Settings:
    """Return the settings in the environment; print a warning for each variable that is ignored.

    Args:
        quiet: whether to print no warnings, for a process that logs `notices`. A failure prints them anyway.

    Raises:
        CommandError: naming each variable that is missing or wrong; exit status 2.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        say_notices()
        raise CommandError(f"settings: {error} (`sleepctl settings` lists them all)", WRONG_SETTINGS) from None
    if not quiet:
        say_notices()
    return settings


def read_file(path: Path) -> bytes:
    """Return the content of a file that the caller named.

    Raises:
        CommandError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or describe(error)}") from None


def check_tenant(tenant: str, name: str) -> None:
    """Check a tenant id.

    Raises:
        CommandError: naming the option or argument, if the id is invalid; exit status 2.
    """
    if re.fullmatch(TENANT_PATTERN.removesuffix("$"), tenant) is None:
        raise CommandError(f"{name} must be {IN_WORDS[TENANT_PATTERN]}", WRONG_SETTINGS)
