"""Failures as a person sees them: one clear line on stderr and an exit status, never a traceback."""

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from schemas.errors import describe
from schemas.settings import Settings, SettingsError, load_settings
from schemas.values import IN_WORDS, TENANT_PATTERN
from sleepctl.wording import in_words

WRONG_SETTINGS = 2
"""Exit status where the settings or the arguments are wrong; every other failure exits with 1."""


class CommandError(Exception):
    """A command failed; the text says what happened and what to do, and holds no secret."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Group(TyperGroup):
    """The group of all commands: turns a `CommandError` into its line and its exit status."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer bundles click in some versions and imports it in others
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            typer.echo(f"sleepctl: {error}", err=True)
            raise typer.Exit(error.exit_code) from None


class App(typer.Typer):
    """The application. What nobody foresaw is one line too; `SLEEP_LOG_LEVEL=debug` shows where it came from."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as typer has it
        """Run the command that the arguments name."""
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the outermost edge, where whatever nobody foresaw ends
            text = f"sleepctl: unexpected {describe(error)} (a defect; SLEEP_LOG_LEVEL=debug shows more)"
            typer.echo(text, err=True)
            if os.environ.get("SLEEP_LOG_LEVEL", "").lower() == "debug":
                traceback.print_exception(error)
            sys.exit(1)


def settings_or_fail() -> Settings:
    """Return the settings in the environment.

    Raises:
        CommandError: naming each variable that is missing or wrong; exit status 2.
    """
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(
            f"settings: {in_words(str(error))} (`sleepctl settings` lists them all)", WRONG_SETTINGS
        ) from None


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
    """Refuse what is no tenant id.

    Raises:
        CommandError: naming the option or argument; exit status 2.
    """
    if re.fullmatch(TENANT_PATTERN.removesuffix("$"), tenant) is None:
        raise CommandError(f"{name} must be {IN_WORDS[TENANT_PATTERN]}", WRONG_SETTINGS)
