"""`sleepctl rebuild`: Redis from the states topic and the log behind it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress as ProgressBar

from schemas.settings import Settings
from sleepctl.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.process import run
from sleepctl.show import Json, console, print_json

if TYPE_CHECKING:
    from sleepctl.rebuilding import Partition


def rebuild(
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where a worker could start, and where the log was cut or made anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore Redis from the states topic and the log behind it.

    Stop the workers first. Partitions on which a worker can start are left as they are.
    """
    settings = settings_or_fail()
    chosen = chosen_partitions(partition, settings)
    done, left, refused = run(_rebuild(settings, chosen, force=force))
    if json:
        print_json({"rebuilt": [entry._asdict() for entry in done], "left": left, "refused": refused})
    else:
        _print(done, left)
    if refused:
        raise CommandError("\n  ".join([f"{len(refused)} partitions were not rebuilt:", *refused.values()]))
    if not done:
        raise CommandError(
            "a worker can start on every partition, and nothing was done; `sleepctl verify` tells whether they are "
            "right, and `--force` rebuilds all the same"
        )


def chosen_partitions(partition: list[int] | None, settings: Settings) -> list[int]:
    """Return the partitions that were named, all where none was.

    Raises:
        CommandError: if there is no such partition; exit status 2.
    """
    chosen = sorted(set(partition)) if partition else list(range(settings.partitions))
    if chosen[0] < 0 or chosen[-1] >= settings.partitions:
        raise CommandError(f"--partition must be from 0 to {settings.partitions - 1}", WRONG_SETTINGS)
    return chosen


async def _rebuild(
    settings: Settings, chosen: list[int], *, force: bool
) -> "tuple[list[Partition], list[int], dict[int, str]]":
    """Return what was rebuilt, what was left as it is, and what was refused, with the reasons."""
    # Kafka's and Redis' clients are not loaded by commands that do without them.
    from sleepctl.rebuilding import Rebuilding, RefusedError  # noqa: PLC0415

    errors = console(stderr=True)
    done: list[Partition] = []
    left: list[int] = []
    refused: dict[int, str] = {}
    with ProgressBar(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        async with Rebuilding.open(settings, force=force) as rebuilding:
            task = bar.add_task("records", total=rebuilding.records(chosen))
            for number in chosen:
                try:
                    found = await rebuilding.rebuild(number, lambda more: bar.advance(task, more))
                except RefusedError as error:
                    refused[number] = str(error)
                    continue
                if found is None:
                    left.append(number)
                else:
                    done.append(found)
    return done, left, refused


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
        out.print(f"{sum(entry.tenants for entry in done)} tenants in {seconds:.1f} s; start the workers")
    if left:
        out.print(f"a worker can start on partitions {', '.join(map(str, left))}, and they were left as they are")
