"""`sleepctl rebuild`: restores Redis from the states topic and the log."""

from typing import Annotated, NamedTuple

import typer

from schemas.settings import Settings
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.ui.output import Json, console, print_json
from sleepctl.ui.progress import progress_bar
from worker.recovery.errors import RefusedError
from worker.recovery.rebuild import Rebuild, RebuildReport


class Report(NamedTuple):
    """What was done.

    Attributes:
        done: the partitions that were rebuilt.
        left: partitions that have progress, so that nothing was done.
        refused: partitions that could not be rebuilt, and why.
    """

    done: list[RebuildReport]
    left: list[int]
    refused: dict[int, str]


def rebuild(
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace progress, and accept a log that was truncated or recreated.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore Redis from the states topic and the log.

    Stop the workers first. Partitions that have progress are left unchanged.
    """
    settings = settings_or_fail()
    chosen = chosen_partitions(partition, settings)
    report = Report([], [], {})
    try:
        with as_command_errors():
            run(_rebuild(settings, chosen, report, force=force))
    except CommandError as error:
        if not (report.done or report.refused):
            raise
        # Other partitions were rebuilt or refused before the failure.
        _show(report, json=json)
        raise CommandError("\n  ".join([*report.refused.values(), str(error)])) from None
    _show(report, json=json)
    if report.refused:
        raise CommandError("\n  ".join(report.refused.values()))
    if report.left and not report.done:
        raise CommandError(
            "nothing was done: there is progress already; `sleepctl verify` says whether it is right, and `--force` "
            "replaces it"
        )
    if not json:
        console().print("start the workers")


def chosen_partitions(partition: list[int] | None, settings: Settings) -> list[int]:
    """Return the partitions that were named, or all if none was named.

    Raises:
        CommandError: if a partition does not exist; exit status 2.
    """
    chosen = sorted(set(partition)) if partition else list(range(settings.partitions))
    if chosen[0] < 0 or chosen[-1] >= settings.partitions:
        raise CommandError(f"--partition must be from 0 to {settings.partitions - 1}", WRONG_SETTINGS)
    return chosen


async def _rebuild(settings: Settings, chosen: list[int], report: Report, *, force: bool) -> None:
    with progress_bar("records") as bar:
        async with Rebuild.open(settings, force=force) as run_:
            bar.begin(run_.records(chosen))
            for number in chosen:
                try:
                    rebuilt = await run_.rebuild(number, bar.advance)
                except RefusedError as error:
                    report.refused[number] = str(error)
                    continue
                if rebuilt is None:
                    report.left.append(number)
                else:
                    report.done.append(rebuilt)


def _show(report: Report, *, json: bool) -> None:
    if json:
        rebuilt = [entry._asdict() for entry in report.done]
        print_json({"rebuilt": rebuilt, "left": report.left, "refused": report.refused})
    else:
        _print(report.done, report.left)


def _print(done: list[RebuildReport], left: list[int]) -> None:
    out = console()
    for entry in done:
        out.print(
            f"partition {entry.partition}: {entry.tenants} tenants and {entry.operations} commands, next {entry.next}, "
            f"in {entry.seconds:.1f} s"
        )
        if entry.published:
            out.print(f"  its topics lacked {entry.published} records; they were sent")
        if entry.unknown:
            out.print(f"  {entry.unknown} records before {entry.next} are gone; whether they were applied is unknown")
        for tenant in entry.passed_over:
            out.print(f"  a state of tenant {tenant} from beyond the end of the log was ignored")
    if done:
        seconds = sum(entry.seconds for entry in done)
        out.print(f"{sum(entry.tenants for entry in done)} tenants in {seconds:.1f} s")
    if left:
        out.print(f"partitions {', '.join(map(str, left))} have progress and were left unchanged")
