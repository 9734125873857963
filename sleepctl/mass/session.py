"""One call of a command over many tenants: choose the tenants, ask, send, and report. It begins or continues a run."""

import base64
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

import typer
from pydantic_core import from_json

from schemas.clock import now_ms
from schemas.wire.runs import RUN_IN_WORDS, RUN_PATTERN
from sleepctl.io.api_client import ApiClient
from sleepctl.io.requests import needed
from sleepctl.io.tenant_pages import Calls
from sleepctl.mass.commands import MassCommand
from sleepctl.mass.patient_api import NoAnswerError, Pace, PatientApi
from sleepctl.mass.run_file import Head, RunFile
from sleepctl.mass.runner import Runner
from sleepctl.mass.targets import Selection
from sleepctl.runtime.event_loop import run as run_loop
from sleepctl.ui.errors import STOPPED_AT_ONCE, WRONG_SETTINGS, CommandError
from sleepctl.ui.mass import print_plan, print_report
from sleepctl.ui.progress import progress_bar

RATE: Final = 950.0
"""Requests a second, by default: a little below the default budget, 60,000 a minute."""
MOST_RATE: Final = 10_000.0
_SUFFIX: Final = ".jsonl"
_PARTS_OF_A_JWT: Final = 3


class Door(NamedTuple):
    """The API, and how a caller wants to use it.

    Attributes:
        url, token: of the API.
        rate: how many requests may begin in a second.
        json: whether all output is JSON.
    """

    url: str
    token: str
    rate: float
    json: bool


class Work(NamedTuple):
    """What a run does.

    Attributes:
        kind: the name of the command, such as `mode`.
        title: what it does, for people: `mode active` say.
        document: the same as JSON, with how the tenants are chosen. A continued run must have the same.
        command: sends it to a tenant.
        select: chooses the tenants; not called if the run is continued.
    """

    kind: str
    title: str
    document: dict[str, Any]
    command: MassCommand
    select: Callable[[Calls], Awaitable[Selection]]


class Place(NamedTuple):
    """The name of a run, and its file."""

    name: str
    path: Path

    @classmethod
    def of(cls, given: str | None, kind: str) -> "Place":
        """Return the place of a run by its name or path; without one a new name is made.

        Raises:
            CommandError: if the name is wrong; exit status 2.
        """
        if given is None:
            given = f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        name, path = given, None
        if "/" in given:
            path = Path(given)
            name = path.name.removesuffix(_SUFFIX)
        if re.fullmatch(RUN_PATTERN.removesuffix("$"), name) is None:
            raise CommandError(f"--run: the name must be {RUN_IN_WORDS}; a path has a slash", WRONG_SETTINGS)
        return cls(name, path or _folder() / f"{name}{_SUFFIX}")


def _folder() -> Path:
    """Return the folder of runs that are given by name, by the XDG Base Directory Specification."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise CommandError("there is no home folder for the file of a run; give --run PATH", WRONG_SETTINGS) from None
    return base / "somabrain-sleep" / "runs"


def subject_of(token: str) -> str:
    """Return the subject of a token. Nothing is verified: the API does that.

    Raises:
        CommandError: if it is no JWT with a subject; exit status 2. The token is not shown.
    """
    parts = token.split(".")
    try:
        claims = from_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        subject = claims["sub"]
    except (LookupError, ValueError, TypeError):
        subject = None
    if len(parts) != _PARTS_OF_A_JWT or not isinstance(subject, str):
        raise CommandError("--token or SLEEP_TOKEN: it is no JWT with a subject, which a run needs", WRONG_SETTINGS)
    return subject


def carry_out(door: Door, work: Work, given: str | None, *, yes: bool, dry_run: bool) -> int:
    """Begin or continue a run, and report.

    Args:
        door: the API.
        work: what the run does.
        given: the name or path of the run, None for a new one.
        yes: whether to send without being asked.
        dry_run: whether to only say what would be sent.

    Returns:
        How many rows of a table became no target since they are wrong.

    Raises:
        CommandError: with what is wrong, and how to continue if anything was sent.
    """
    needed(door.token)
    subject = subject_of(door.token)
    place = Place.of(given, work.kind)
    file = RunFile.open(place.path)
    try:
        if file is not None:
            _require_same(file.head, place, work, subject)
            selection = Selection([file.target(index) for index in file.unanswered()], Counter())
            answered = file.done + file.refused
        else:
            selection = _selected(door, work, place.name)
            answered = 0
        left = len(selection.targets)
        print_plan(work.title, place.name, left, answered=answered, states=selection.states, json=door.json and dry_run)
        if dry_run:
            return selection.broken
        if left:
            _confirm(left, yes=yes)
        if file is None:
            head = Head(place.name, work.document, subject, now_ms(), selection.broken)
            file = RunFile.create(place.path, head, selection.targets)
        # Told before anything is sent, since a process that is killed tells nothing.
        typer.echo(f"the run's file is {file.path}; {_how_to_continue(file)}", err=True)
        _send(door, work, file, left)
        return file.head.broken
    finally:
        if file is not None:
            file.close()


def _require_same(head: Head, place: Place, work: Work, subject: str) -> None:
    """Check that a run is continued with the command and the subject that it was begun with.

    Raises:
        CommandError: saying what differs; exit status 2.
    """
    what = f"the run {place.name} ({place.path}) was begun"
    if head.run != place.name:
        raise CommandError(f"{place.path} is the file of the run {head.run}; name it so", WRONG_SETTINGS)
    if head.subject != subject:
        raise CommandError(
            f"{what} by {head.subject}, and the token is {subject}'s: its commands would be new ones", WRONG_SETTINGS
        )
    for name in sorted(head.command.keys() | work.document.keys()):
        before, now = head.command.get(name), work.document.get(name)
        if before != now:
            raise CommandError(
                f"{what} with {name} {before!r}, and now it is {now!r}; give the same, or another run", WRONG_SETTINGS
            )


def _selected(door: Door, work: Work, run: str) -> Selection:
    async def selected() -> Selection:
        async with ApiClient(door.url, door.token) as client:
            return await work.select(PatientApi(client, run, Pace(door.rate)))

    try:
        selection = run_loop(selected())
    except NoAnswerError as error:
        raise CommandError(f"{error}; nothing was sent") from None
    if not selection.targets:
        raise CommandError("there is no such tenant; nothing was sent")
    return selection


def is_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty()


def _confirm(count: int, *, yes: bool) -> None:
    """Ask for the number of tenants.

    Raises:
        CommandError: if it is not given; nothing was sent.
    """
    if yes:
        return
    if not is_terminal():
        raise CommandError(
            f"nothing was sent: give --yes to send to {count} tenants without being asked", WRONG_SETTINGS
        )
    answer = typer.prompt(f"type {count} to go on", default="", show_default=False, err=True)
    if answer.strip() != str(count):
        raise CommandError("nothing was sent")


def _send(door: Door, work: Work, file: RunFile, left: int) -> None:
    began = monotonic()

    async def sent() -> None:
        with progress_bar("tenants", left) as bar:
            async with ApiClient(door.url, door.token) as client:
                api = PatientApi(client, file.head.run, Pace(door.rate))
                await Runner(file, work.command, api, advance=bar.advance).run()

    try:
        run_loop(sent())
    except CommandError as error:
        print_report(file, monotonic() - began, json=door.json)
        code = error.exit_code if error.exit_code == STOPPED_AT_ONCE else 1
        raise CommandError(f"{error}\n{_how_to_continue(file)}", code) from None
    print_report(file, monotonic() - began, json=door.json)
    missing = len(file) - file.done - file.refused
    if missing:
        raise CommandError(f"{missing} tenants have no answer yet\n{_how_to_continue(file)}")
    if file.refused:
        raise CommandError(f"{file.refused} tenants were refused; `grep '\"refused\"' {file.path}` lists their answers")


def _how_to_continue(file: RunFile) -> str:
    run = file.head.run if file.path == _folder_or_none(file.head.run) else file.path
    return f"to continue, give the same command with --run {run}: no answered command is sent again"


def _folder_or_none(run: str) -> Path | None:
    try:
        return _folder() / f"{run}{_SUFFIX}"
    except CommandError:
        return None
