"""`sleepctl verify`: the log against Redis against the states topic."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress as ProgressBar

from schemas.settings import Settings
from sleepctl.errors import CommandError, settings_or_fail
from sleepctl.process import run
from sleepctl.rebuild import chosen_partitions
from sleepctl.show import Json, console, print_json

if TYPE_CHECKING:
    from sleepctl.verifying import Verified
    from worker.recovery.verify import Difference

_SHOWN = 50


def verify(
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Compare the log, Redis and the states topic.

    Tenant by tenant, with timers, counts, open-ended tenants and commands. It writes nothing, and workers may go on.

    Exits with 1 where anything differs.
    """
    settings = settings_or_fail()
    found = run(_verify(settings, chosen_partitions(partition, settings)))
    differences = [difference for entry in found for difference in entry.differences]
    if json:
        print_json(
            {
                "ok": not differences,
                "tenants": sum(entry.tenants for entry in found),
                "partitions": [
                    {name: value for name, value in entry._asdict().items() if name != "differences"} for entry in found
                ],
                "differences": [difference._asdict() for difference in differences],
            }
        )
    else:
        _print(found, differences)
    if differences:
        raise CommandError(f"{len(differences)} differences; the runbook on rebuilding says what they mean")


async def _verify(settings: Settings, chosen: list[int]) -> "list[Verified]":
    # Kafka's and Redis' clients are not loaded by commands that do without them.
    from sleepctl.verifying import Verifying  # noqa: PLC0415

    errors = console(stderr=True)
    with ProgressBar(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        async with Verifying.open(settings) as verifying:
            task = bar.add_task("partitions", total=len(chosen))
            found = []
            for number in chosen:
                found.append(await verifying.verify(number))
                bar.advance(task)
    return found


def _print(found: "list[Verified]", differences: "list[Difference]") -> None:
    out = console()
    for difference in differences[:_SHOWN]:
        who = "the partition" if difference.tenant is None else f"tenant {difference.tenant}"
        out.print(f"partition {difference.partition}, {who}, {difference.where}: {difference.what}")
        for name, (expected, there) in difference.fields.items():
            out.print(f"  {name}: by the log {expected}, found {there}")
    if len(differences) > _SHOWN:
        out.print(f"… and {len(differences) - _SHOWN} more; `--json` lists them all")
    tenants, records = sum(entry.tenants for entry in found), sum(entry.records for entry in found)
    out.print(f"{tenants} tenants on {len(found)} partitions compared with {records} records of the log")
    if believed := sum(entry.believed for entry in found):
        out.print(f"the log no longer reaches back for {believed} of them: a published state of each was believed")
    if behind := {entry.partition: entry.behind for entry in found if entry.behind}:
        furthest = max(behind, key=behind.__getitem__)
        out.print(
            f"{len(behind)} partitions stood behind their log's end, by {sum(behind.values())} offsets in all; "
            f"partition {furthest} the furthest, by {behind[furthest]}"
        )
