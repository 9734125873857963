"""`sleepctl rules`: what every tenant without a policy gets; apply new rules, show those in force."""

import asyncio
import getpass
import uuid
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from pydantic_core import from_json
from rich.progress import Progress as ProgressBar

from schemas.cloudevents import UndecodableError, decode, encode
from schemas.errors import describe
from schemas.events import RULES
from schemas.policy import InvalidDocumentError, parse_rules
from schemas.progress import Progress
from schemas.settings import Settings
from sleepctl.errors import WRONG_SETTINGS, CommandError, read_file, settings_or_fail
from sleepctl.process import run
from sleepctl.records import SOURCE, Log, open_log
from sleepctl.show import Json, console, print_document, print_json
from sleepctl.wording import in_words

_OPTIONS: Final = {f"{RULES}.data.actor": "--actor", f"{RULES}.data.reason": "--reason"}
app = typer.Typer(help="Show or apply the rules.", no_args_is_help=True)


class Applied(NamedTuple):
    """Where new rules landed: an offset a partition."""

    operation_id: str
    digest: str
    offsets: dict[int, int]


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The rules, a JSON object.")],
    actor: Annotated[str | None, typer.Option(help="Who applies them; by default the user of this system.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit.")] = None,
    json: Json = False,
) -> None:
    """Check rules and write them to every partition.

    Each tenant follows at its next event, at once if it is asleep.
    """
    settings = settings_or_fail()
    applied = run(apply_rules(settings, parse_file(file), actor or getpass.getuser(), reason))
    if json:
        print_json(applied._asdict())
        return
    out = console()
    out.print(f"rules {applied.digest} are on {len(applied.offsets)} partitions (operation {applied.operation_id})")
    out.print("`sleepctl rules show` shows where they are in force")


def parse_file(file: Path) -> dict[str, Any]:
    """Return the rules in a file.

    Raises:
        CommandError: naming each wrong field; exit status 2.
    """
    try:
        document = from_json(read_file(file), allow_inf_nan=False)
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}", WRONG_SETTINGS) from None
    try:
        parse_rules(0, document)
    except InvalidDocumentError as error:
        raise CommandError(f"{file}: {in_words(str(error))}", WRONG_SETTINGS) from None
    checked: dict[str, Any] = document
    return checked


async def apply_rules(settings: Settings, document: dict[str, Any], actor: str, reason: str | None) -> Applied:
    """Write one rules event to every partition of the events topic.

    Raises:
        CommandError: if the topic is not as the settings say, or a partition did not take the event; the
            others have it, and applying the same rules again does no harm.
    """
    operation_id = str(uuid.uuid4())
    data = {"rules": document, "operation_id": operation_id, "actor": actor}
    if reason is not None:
        data["reason"] = reason
    value = encode(type_=RULES, id_=operation_id, source=SOURCE, subject=None, time=None, data=data)
    try:
        decode(None, value, ())
    except UndecodableError as error:
        raise CommandError(in_words(str(error), _OPTIONS), WRONG_SETTINGS) from None
    topic = settings.topics.events
    log: Log
    async with open_log(settings) as log:
        found = await log.partitions(topic)
        if found != settings.partitions:
            raise CommandError(f"topic {topic} has {found} partitions and SLEEP_PARTITIONS is {settings.partitions}")
        offsets, failures = await _append_everywhere(log, topic, found, value)
    if failures:
        raise CommandError(
            f"the rules are on {len(offsets)} of {found} partitions; apply them again, that does no harm: {failures[0]}"
        )
    return Applied(operation_id, parse_rules(0, document).digest, offsets)


async def _append_everywhere(
    log: Log, topic: str, partitions: int, value: bytes
) -> tuple[dict[int, int], list[CommandError]]:
    offsets: dict[int, int] = {}
    failures: list[CommandError] = []
    errors = console(stderr=True)
    with ProgressBar(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task("partitions", total=partitions)

        async def append(partition: int) -> None:
            try:
                offsets[partition] = await log.append(topic, partition, None, value)
            except CommandError as error:
                failures.append(error)
            bar.advance(task)

        await asyncio.gather(*map(append, range(partitions)))
    return dict(sorted(offsets.items())), failures


@app.command()
def show(json: Json = False) -> None:
    """Show the rules in force on each partition, as Redis has them."""
    settings = settings_or_fail()
    found = run(read_rules(settings))
    shown = [_shown(partition, progress) for partition, progress in enumerate(found)]
    if json:
        print_json({"same": len({entry["digest"] for entry in shown}) == 1, "partitions": shown})
        return
    out = console()
    for digest in dict.fromkeys(entry["digest"] for entry in shown):
        holders = [entry for entry in shown if entry["digest"] == digest]
        where = ", ".join(f"{entry['partition']} (number {entry['number']})" for entry in holders)
        out.print(f"rules {digest} on partition {where}")
        print_document(holders[0]["rules"], as_json=False)
    behind = [entry["partition"] for entry in shown if entry["swept"] != entry["number"]]
    if behind:
        out.print(f"partitions {', '.join(map(str, behind))} are still telling their tenants")


def _shown(partition: int, progress: Progress) -> dict[str, Any]:
    rules = progress.rules[-1]
    return {
        "partition": partition,
        "number": rules.number,
        "digest": rules.digest,
        "swept": progress.swept,
        "rules": rules.document,
    }


async def read_rules(settings: Settings) -> list[Progress]:
    """Return the progress of every partition, which holds its rules.

    Raises:
        CommandError: if Redis does not answer, or holds what this version cannot read.
    """
    # The store loads Redis' client, which other commands do without.
    from worker.ports import StoreError  # noqa: PLC0415 - as below
    from worker.store import Store  # noqa: PLC0415

    store = Store.connect(settings)
    try:
        return [(await store.standing(partition)).progress for partition in range(settings.partitions)]
    except StoreError as error:
        raise CommandError(f"Redis does not answer: {describe(error)}") from None
    except ValueError as error:
        raise CommandError(f"the rules in Redis cannot be read: {error}") from None
    finally:
        await store.close()
