"""`sleepctl replay`: folds a range of the log again, under the recorded rules or others, and shows what differs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic_core import from_json

from schemas.domain.policy import InvalidDocumentError, Policy, parse_policy
from schemas.settings import Settings
from sleepctl.commands.rules import parse_file
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, check_tenant, read_file, settings_or_fail
from sleepctl.ui.explained import print_explanation
from sleepctl.ui.output import Json, print_json
from sleepctl.ui.progress import progress_bar
from sleepctl.ui.replayed import print_report
from worker.recovery.what_if.bounds import InvalidBoundError, Place
from worker.recovery.what_if.explanation import Document
from worker.recovery.what_if.range_replay import RangeReplay
from worker.recovery.what_if.report import Report
from worker.recovery.what_if.scenario import Alternative

_TRANSITION: Final = re.compile(r"([0-9]{1,10}):([0-9]{1,19}):([0-9]{1,10})")
_BOUND: Final = "TIME|P:O"


def replay(
    *,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar=_BOUND, help="Where the range begins; by default where the log begins."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar=_BOUND, help="Where it ends: this time, or the event at this position is no part of it."),
    ] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Only this tenant; may be repeated.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Rules in the place of all rules in the range.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A policy in the place of all policies in the range; needs --tenant.")
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="P:O:I", help="Explain one decision: the id of its transition.")
    ] = None,
    json: Json = False,
) -> None:
    """Fold a range of the log again, and show what changes.

    A time is such as 2026-11-30T09:00:00Z, or milliseconds since the epoch. With a position P:O only its partition is
    replayed. Nothing is written, and workers may run meanwhile.

    Without --rules and --policy it folds under the recorded rules, and compares with the audit. It exits with 1 if the
    audit differs.
    """
    tenants = sorted(set(tenant or ()))
    for name in tenants:
        check_tenant(name, "--tenant")
    if policy is not None and not tenants:
        raise CommandError("--policy needs --tenant: a policy belongs to one tenant", WRONG_SETTINGS)
    alternative = Alternative(
        rules=None if rules is None else parse_file(rules), policy=None if policy is None else _policy_in(policy)
    )
    bounds = _place(from_, "--from"), _place(to, "--to")
    if explain is not None:
        if to is not None or (tenants and not alternative.policy):
            raise CommandError("--explain takes neither --to, nor --tenant without --policy", WRONG_SETTINGS)
        event = _transition(explain)
        document = _explained(settings_or_fail(), event, alternative, bounds[0], tenants)
        if json:
            print_json(document)
        else:
            print_explanation(document)
        return
    report = _replayed(settings_or_fail(), *bounds, tenants, alternative)
    if json:
        print_json(report.as_json())
    else:
        print_report(report)
    if report.audit_differences:
        raise CommandError(
            f"{report.audit_differences} rows of the audit are not those of the replay, so the recorded side is not "
            "what happened; docs/how-to/replay.md says why that may be"
        )


def _place(text: str | None, option: str) -> Place | None:
    if text is None:
        return None
    try:
        return Place.parse(text)
    except InvalidBoundError as error:
        raise CommandError(f"{option} {error}", WRONG_SETTINGS) from None


def _transition(text: str) -> tuple[int, int, int]:
    found = _TRANSITION.fullmatch(text)
    if found is None:
        raise CommandError(
            f"--explain {text!r} is no id of a transition, such as 3:1042:0 (partition, offset, row)", WRONG_SETTINGS
        )
    partition, offset, index = map(int, found.groups())
    return partition, offset, index


def _policy_in(file: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        CommandError: naming each wrong field; exit status 2.
    """
    try:
        return parse_policy(from_json(read_file(file), allow_inf_nan=False))
    except InvalidDocumentError as error:
        raise CommandError(f"{file}: {error}", WRONG_SETTINGS) from None
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}", WRONG_SETTINGS) from None


@contextmanager
def _bounds_as_settings() -> Iterator[None]:
    """Raise a wrong bound as a mistake of the caller; exit status 2."""
    try:
        yield
    except InvalidBoundError as error:
        raise CommandError(str(error), WRONG_SETTINGS) from None


def _replayed(
    settings: Settings, from_: Place | None, to: Place | None, tenants: list[str], alternative: Alternative
) -> Report:
    async def replayed() -> Report:
        with progress_bar("events") as bar:
            async with RangeReplay.open(settings) as opened:
                ranges = await opened.finder.ranges(from_, to, tenants)
                bar.begin(sum(range_.next - range_.read_from for range_ in ranges))
                return await opened.replay(ranges, alternative, tenants, bar.advance)

    with as_command_errors(), _bounds_as_settings():
        return run(replayed())


def _explained(
    settings: Settings, event: tuple[int, int, int], alternative: Alternative, from_: Place | None, tenants: list[str]
) -> Document:
    partition, offset, index = event

    async def explained() -> Document:
        async with RangeReplay.open(settings) as opened:
            return await opened.explain((partition, offset), index, alternative, from_)

    with as_command_errors(), _bounds_as_settings():
        document = run(explained())
    if tenants and document["tenant"] not in tenants:
        raise CommandError(f"{partition}:{offset} is an event of tenant {document['tenant']}", WRONG_SETTINGS)
    return document
