"""`sleepctl verify`: compares the log, Redis and the states topic."""

from typing import Annotated

import typer

from schemas.settings import Settings
from sleepctl.commands.rebuild import chosen_partitions
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import CommandError, settings_or_fail
from sleepctl.ui.output import Json, console, print_json
from sleepctl.ui.progress import progress_bar
from worker.recovery.differences import Difference
from worker.recovery.verify import Verification, VerifiedPartition

_SHOWN = 50


def verify(
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Compare the log, Redis and the states topic.

    It compares every tenant's record, with timers, counts, open-ended tenants and commands. It writes nothing, and
    workers may run meanwhile.

    It exits with 1 if anything differs. Versions before 0.1.0 kept the first reason of a renewed mode or pin. Such a
    reason is reported as a difference; the runbook on rebuilding says when that ends.
    """
    settings = settings_or_fail()
    with as_command_errors():
        verified = run(_verify(settings, chosen_partitions(partition, settings)))
    differences = [difference for entry in verified for difference in entry.differences]
    if json:
        print_json(
            {
                "ok": not differences,
                "tenants": sum(entry.tenants for entry in verified),
                "partitions": [
                    {name: value for name, value in entry._asdict().items() if name != "differences"}
                    for entry in verified
                ],
                "differences": [difference._asdict() for difference in differences],
            }
        )
    else:
        _print(verified, differences)
    if differences:
        raise CommandError(f"{len(differences)} differences; the runbook on rebuilding says what they mean")


async def _verify(settings: Settings, chosen: list[int]) -> list[VerifiedPartition]:
    with progress_bar("partitions", total=len(chosen)) as bar:
        async with Verification.open(settings) as verification:
            verified = []
            for number in chosen:
                verified.append(await verification.verify(number))
                bar.advance()
    return verified


def _print(verified: list[VerifiedPartition], differences: list[Difference]) -> None:
    out = console()
    for difference in differences[:_SHOWN]:
        who = "the partition" if difference.tenant is None else f"tenant {difference.tenant}"
        out.print(f"partition {difference.partition}, {who}, {difference.where}: {difference.what}")
        for name, (expected, actual) in difference.fields.items():
            out.print(f"  {name}: by the log {expected}, found {actual}")
    if len(differences) > _SHOWN:
        out.print(f"… and {len(differences) - _SHOWN} more; `--json` lists them all")
    tenants, records = sum(entry.tenants for entry in verified), sum(entry.records for entry in verified)
    out.print(f"{tenants} tenants on {len(verified)} partitions compared with {records} records of the log")
    if believed := sum(entry.believed for entry in verified):
        out.print(f"the log's beginning is gone for {believed} of them: each began with a published state")
    if behind := {entry.partition: entry.behind for entry in verified if entry.behind}:
        furthest = max(behind, key=behind.__getitem__)
        out.print(
            f"{len(behind)} partitions were behind their log's end, by {sum(behind.values())} offsets in all; "
            f"partition {furthest} the furthest, by {behind[furthest]}"
        )
