"""`sleepctl deadletters`: lists dead letters, and redrives them."""

import re
from collections.abc import Callable
from typing import Annotated, Final

import typer

from schemas.settings import Settings
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.dead_letter import details, document, full_document, line
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.ui.output import Json, console, print_json
from sleepctl.ui.progress import progress_bar
from worker.recovery import redrive as recovery
from worker.recovery.dead_letter_topic import LatestDeadLetters, Select, latest
from worker.recovery.dead_letters import DeadLetter

_SHOWN: Final = 100
_MOST: Final = 1_000_000
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}")
_PLACE: Final = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+):)?(?P<partition>[0-9]{1,10}):(?P<offset>[0-9]{1,19})")
app = typer.Typer(help="List dead letters, or put their records back.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many to list, the latest.")] = _SHOWN,
    code: Annotated[str | None, typer.Option(help="Only dead letters with this code.")] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Headers and value of one dead letter: its number (1 is the latest), its place (P:O) or TOPIC:P:O.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List dead letters, the latest last.

    The number comes first, then the place on the dead-letter topic. The latest has the number 1.
    """
    selector = _selector(show, code)
    settings = settings_or_fail()
    limit = limit if show is None else _number_of(show)
    with as_command_errors(), progress_bar("dead letters") as bar:
        listed = run(latest(settings, limit, selector(settings), bar))
    if show is not None:
        _show(listed, show, json=json)
        return
    numbered = list(zip(range(len(listed.dead_letters), 0, -1), listed.dead_letters, strict=True))
    if json:
        print_json([document(number, each, redriven=listed.redriven(each)) for number, each in numbered])
        return
    out = console()
    for number, each in numbered:
        out.print(line(number, each, redriven=listed.redriven(each)))
    if not numbered:
        out.print("no dead letters" if code is None else f"no dead letters with the code {code}")


def _selector(show: str | None, code: str | None) -> Callable[[Settings], Select]:
    """Return what selects dead letters by the options, once the settings are known.

    Raises:
        CommandError: if `show` is neither a number nor a place.
    """
    if show is None or _NUMBER.fullmatch(show):
        return lambda _: lambda dead_letter: code in (None, dead_letter.code)
    place = _PLACE.fullmatch(show)
    if place is None:
        raise CommandError(
            "--show takes a number of the list, a place on the dead-letter topic as P:O, or TOPIC:P:O", WRONG_SETTINGS
        )
    topic, partition, offset = place["topic"], int(place["partition"]), int(place["offset"])

    def select(settings: Settings) -> Select:
        if topic in (None, settings.topics.deadletter):
            return lambda dead_letter: dead_letter.place == f"{partition}:{offset}"
        return lambda dead_letter: (
            (dead_letter.topic, dead_letter.partition) == (topic, partition)
            and any(first <= offset <= last for first, last in dead_letter.ranges)
        )

    return select


def _number_of(show: str) -> int:
    """Return which of the selected dead letters is meant, counted from the latest."""
    return int(show) if _NUMBER.fullmatch(show) else 1


def _show(listed: LatestDeadLetters, show: str, *, json: bool) -> None:
    number = _number_of(show)
    if len(listed.dead_letters) < number:
        raise CommandError(f"there is no dead letter {show}; `sleepctl deadletters list` shows all")
    dead_letter = listed.dead_letters[-number]
    if json:
        print_json(full_document(number, dead_letter, redriven=listed.redriven(dead_letter)))
        return
    out = console()
    for text in details(number, dead_letter, redriven=listed.redriven(dead_letter)):
        out.print(text)


@app.command()
def redrive(
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: one, by its place in `list`.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="See --partition.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that were not put back yet.")] = False,
    code: Annotated[str | None, typer.Option(help="With --all: only dead letters with this code.")] = None,
    again: Annotated[bool, typer.Option("--again", help="With --all: also what was put back before.")] = False,
    json: Json = False,
) -> None:
    """Put records back on the topic that they came from.

    Records of one key keep their order. A record that was put back is a new record of the log. --all leaves out what
    was put back before, even if it became a dead letter again. A record that is named by its place is put back in any
    case.
    """
    one = partition is not None and offset is not None
    if one == all_ or (partition is None) != (offset is None) or ((code is not None or again) and not all_):
        raise CommandError(
            "name one by --partition and --offset, or --all of them, perhaps of one --code, perhaps --again",
            WRONG_SETTINGS,
        )
    settings = settings_or_fail()
    place = f"{partition}:{offset}"

    def select(dead_letter: DeadLetter) -> bool:
        return dead_letter.place == place if one else code in (None, dead_letter.code)

    with as_command_errors(), progress_bar("dead letters") as bar:
        report = run(recovery.redrive(settings, select, bar, named=one, again=again))
    if json:
        refused = [{"place": place, "reason": reason} for place, reason in report.refused]
        print_json({"redriven": report.sent, "refused": refused, "skipped": report.skipped})
    else:
        for refused_place, reason in report.refused:
            console().print(f"{refused_place} stays: {reason}")
        console().print(f"{report.records} records were put back, in their order")
        if report.skipped:
            console().print(f"{report.skipped} were put back before and are left out; --again puts them back once more")
    if report.refused:
        raise CommandError(f"{len(report.refused)} dead letters could not be put back")
    if not report.sent and not report.skipped:
        raise CommandError("there is no such dead letter")
