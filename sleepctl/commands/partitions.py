"""`sleepctl partitions`: moves to new topics with another number of partitions."""

import re
from typing import Annotated, Any

import typer

from schemas.domain.values import PREFIX_PATTERN
from schemas.names import Topics
from schemas.settings import Settings
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.ui.moved import how_to_go_back, how_to_go_on, print_move
from sleepctl.ui.output import Json, print_json
from sleepctl.ui.progress import progress_bar
from worker.recovery.move.move import Move, MoveReport

app = typer.Typer(
    help="Move to new topics with another number of partitions.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def partitions() -> None:
    """Move to new topics with another number of partitions."""


@app.command()
def move(
    *,
    partitions: Annotated[
        int, typer.Option("--partitions", help="How many partitions the new topics have.", min=1, max=10_000)
    ],
    topic_prefix: Annotated[str, typer.Option(help="The new SLEEP_TOPIC_PREFIX.")],
    redis_prefix: Annotated[
        str | None,
        typer.Option(help="The new SLEEP_REDIS_PREFIX; by default the new topic prefix.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be moved, and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Move all tenants to new topics, with more partitions or fewer.

    Stop the APIs, then the workers. States, policies, rules and remembered commands are copied to new topics and new
    Redis keys, and compared. The old ones are only read, so going back is a matter of settings. An interrupted move is
    run again. `--dry-run` writes nothing.
    """
    old = settings_or_fail()
    new = new_settings(old, partitions, topic_prefix, redis_prefix or topic_prefix)
    with as_command_errors():
        report = run(_moved(old, new, dry_run=dry_run))
    if json:
        print_json(_document(old, new, report, dry_run=dry_run))
    else:
        print_move(old, new, report, dry_run=dry_run)
    if report.differences:
        raise CommandError(
            f"{len(report.differences)} differences between the old and the new topics: do not use the new ones. If "
            f"workers used one of them since the move began, stop them and move again to another --topic-prefix\n"
            f"{how_to_go_back(old)}"
        )


def new_settings(old: Settings, partitions: int, topic_prefix: str, redis_prefix: str) -> Settings:
    """Return the settings after the move.

    Raises:
        CommandError: if they are not new; exit status 2.
    """
    for option, value, present in (
        ("--topic-prefix", topic_prefix, old.topic_prefix),
        ("--redis-prefix", redis_prefix, old.redis_prefix),
    ):
        if re.fullmatch(PREFIX_PATTERN.removeprefix("^").removesuffix("$"), value) is None:
            raise CommandError(f"{option}: {value!r} is no prefix: it must match {PREFIX_PATTERN}", WRONG_SETTINGS)
        if value == present:
            raise CommandError(f"{option}: {value} is the present one; name a new one", WRONG_SETTINGS)
    if partitions == old.partitions:
        raise CommandError(f"--partitions: there are {partitions} partitions already", WRONG_SETTINGS)
    names = Topics.of(topic_prefix)
    if taken := sorted({source.topic for source in old.ingress_topics} & set(names)):
        raise CommandError(f"--topic-prefix: SLEEP_INGRESS names the topic {taken[0]}; name another", WRONG_SETTINGS)
    return old.model_copy(update={"partitions": partitions, "topic_prefix": topic_prefix, "redis_prefix": redis_prefix})


async def _moved(old: Settings, new: Settings, *, dry_run: bool) -> MoveReport:
    with progress_bar("tenants") as bar:
        async with Move.open(old, new) as opened:
            return await opened.plan() if dry_run else await opened.run(bar.advance)


def _document(old: Settings, new: Settings, report: MoveReport, *, dry_run: bool) -> dict[str, Any]:
    document = report._asdict() | {
        "dry_run": dry_run,
        "partitions": [each._asdict() for each in report.partitions],
        "differences": [each._asdict() for each in report.differences],
    }
    return {"ok": not report.differences, **document, "settings": how_to_go_on(old, new)}
