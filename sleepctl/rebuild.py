"""`sleepctl rebuild`: Redis from the states topic and the log behind it."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.progress import Progress as ProgressBar

from schemas.settings import Settings
from sleepctl.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.process import run
from sleepctl.show import Json, console, print_json

if TYPE_CHECKING:
    from sleepctl.rebuilding import Partition


class Report(NamedTuple):
    """What became of partitions: rebuilt, left since they have progress, or refused, with the reasons."""

    done: "list[Partition]"
    left: list[int]
    refused: dict[int, str]


def rebuild(
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where there is progress, and where the log was cut or made anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore Redis from the states topic and the log behind it.

    Stop the workers first. Partitions that have progress are left as they are.
    """
    settings = settings_or_fail()
    chosen = chosen_partitions(partition, settings)
    report = Report([], [], {})
    try:
        run(_rebuild(settings, chosen, report, force=force))
    except CommandError as error:
        if not (report.done or report.refused):
            raise
        # What became of the others stands, whatever failed then.
        _show(report, json=json)
        raise CommandError("\n  ".join([*report.refused.values(), str(error)])) from None
    _show(report, json=json)
    if report.refused:
        raise CommandError("\n  ".join(report.refused.values()))
    if report.left and not report.done:
        raise CommandError(
            "nothing was done: there is progress already; `sleepctl verify` tells whether it is right, and `--force` "
            "rebuilds all the same"
        )
    if not json:
        console().print("start the workers")


def chosen_partitions(partition: list[int] | None, settings: Settings) -> list[int]:
    """Return the partitions that were named, all where none was.

    Raises:
        CommandError: if there is no such partition; exit status 2.
    """
    chosen = sorted(set(partition)) if partition else list(range(settings.partitions))
    if chosen[0] < 0 or chosen[-1] >= settings.partitions:
        raise CommandError(f"--partition must be from 0 to {settings.partitions - 1}", WRONG_SETTINGS)
    return chosen


async def _rebuild(settings: Settings, chosen: list[int], report: Report, *, force: bool) -> None:
    # Kafka's and Redis' clients are not loaded by commands that do without them.
    from sleepctl.rebuilding import Rebuilding, RefusedError  # noqa: PLC0415

    errors = console(stderr=True)
    with ProgressBar(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        async with Rebuilding.open(settings, force=force) as rebuilding:
            task = bar.add_task("records", total=rebuilding.records(chosen))
            for number in chosen:
                try:
                    found = await rebuilding.rebuild(number, lambda more: bar.advance(task, more))
                except RefusedError as error:
                    report.refused[number] = str(error)
                    continue
                if found is None:
                    report.left.append(number)
                else:
                    report.done.append(found)


def _show(report: Report, *, json: bool) -> None:
    if json:
        rebuilt = [entry._asdict() for entry in report.done]
        print_json({"rebuilt": rebuilt, "left": report.left, "refused": report.refused})
    else:
        _print(report.done, report.left)


def _print(done: "list[Partition]", left: list[int]) -> None:
    out = console()
    for entry in done:
        out.print(
            f"partition {entry.partition}: {entry.tenants} tenants and {entry.operations} commands, next {entry.next}, "
            f"in {entry.seconds:.1f} s"
        )
        if entry.published:
            out.print(f"  {entry.published} records were missing on its topics and are there now")
        if entry.unknown:
            out.print(
                f"  {entry.unknown} records before {entry.next} are gone; nobody can tell whether they were applied"
            )
        for tenant in entry.passed_over:
            out.print(f"  a state of tenant {tenant} from behind the end of the log was passed over")
    if done:
        seconds = sum(entry.seconds for entry in done)
        out.print(f"{sum(entry.tenants for entry in done)} tenants in {seconds:.1f} s")
    if left:
        out.print(f"partitions {', '.join(map(str, left))} have progress and were left as they are")
