"""`sleepctl rules`: applies the rules for tenants without a policy, and shows them."""

import asyncio
import getpass
import os
import uuid
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from pydantic_core import from_json
from rich.progress import Progress as ProgressBar

from schemas.clock import now_ms
from schemas.domain.explanation import notes_on
from schemas.domain.policy import InvalidDocumentError, parse_rules
from schemas.errors import describe
from schemas.redis.progress import Progress
from schemas.settings import Settings
from schemas.wire.cloudevents import UndecodableError, decode, encode
from schemas.wire.events import RULES
from sleepctl.io.kafka import KafkaLog
from sleepctl.io.records import SOURCE, Log
from sleepctl.io.worker_errors import as_command_errors
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, read_file, settings_or_fail
from sleepctl.ui.field_errors import by_option
from sleepctl.ui.output import Json, console, print_document, print_json
from sleepctl.ui.progress import progress_bar
from sleepctl.ui.rules_trial import print_trial
from worker.adapters.redis_store import LaneStore
from worker.ports import StoreError
from worker.recovery.rules_trial import Trial
from worker.recovery.rules_trial_reader import try_rules

_OPTIONS: Final = {f"{RULES}.data.actor": "--actor", f"{RULES}.data.reason": "--reason"}
app = typer.Typer(help="Show or apply the rules.", no_args_is_help=True, rich_markup_mode=None)


class AppliedRules(NamedTuple):
    """The offset of the new rules on each partition."""

    operation_id: str
    digest: str
    offsets: dict[int, int]


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The rules, a JSON object.")],
    actor: Annotated[str | None, typer.Option(help="Who applies the rules; by default the system user.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many tenants would change, and write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Check rules and write them to every partition.

    Each tenant follows them at its next event, or at once if it sleeps. With --dry-run each tenant's record in Redis is
    folded under the rules, and what would change is counted.
    """
    settings = settings_or_fail()
    document = parse_file(file)
    if dry_run:
        print_trial(tried(settings, document), parse_rules(0, document), as_json=json)
        return
    applied = run(apply_rules(settings, document, actor or user(), reason))
    notes = notes_on(parse_rules(0, document).policy)
    if json:
        print_json({**applied._asdict(), "notes": notes})
        return
    out = console()
    out.print(f"rules {applied.digest} are on {len(applied.offsets)} partitions (operation {applied.operation_id})")
    out.print("`sleepctl rules show` shows where they are in force")
    for note in notes:
        out.print(f"note: {note}")


def tried(settings: Settings, document: dict[str, Any]) -> Trial:
    """Return what rules would change.

    Raises:
        CommandError: if Redis does not answer, or a record cannot be read.
    """

    async def trial() -> Trial:
        store = LaneStore.connect(settings)
        try:
            with progress_bar("tenants") as bar:
                return await try_rules(store, settings.partitions, document, now_ms(), bar.begin, bar.advance)
        finally:
            await store.close()

    with as_command_errors():
        return run(trial())


def user() -> str:
    """Return the name of the system user, or the number of a user without a name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


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
        raise CommandError(f"{file}: {error}", WRONG_SETTINGS) from None
    checked: dict[str, Any] = document
    return checked


async def apply_rules(settings: Settings, document: dict[str, Any], actor: str, reason: str | None) -> AppliedRules:
    """Write one rules event to every partition of the events topic.

    Raises:
        CommandError: if the topic is not as the settings say, or a partition did not take the event. The other
            partitions have it; applying the same rules again is safe.
    """
    operation_id = str(uuid.uuid4())
    data = {"rules": document, "operation_id": operation_id, "actor": actor}
    if reason is not None:
        data["reason"] = reason
    value = encode(type_=RULES, id_=operation_id, source=SOURCE, subject=None, time=None, data=data)
    try:
        decode(None, value, ())
    except UndecodableError as error:
        raise CommandError(by_option(error, _OPTIONS), WRONG_SETTINGS) from None
    topic = settings.topics.events
    log: Log
    async with KafkaLog(settings) as log:
        count = await log.partitions(topic)
        if count != settings.partitions:
            raise CommandError(f"topic {topic} has {count} partitions and SLEEP_PARTITIONS is {settings.partitions}")
        offsets, failures = await _append_everywhere(log, topic, count, value)
    if failures:
        raise CommandError(
            f"the rules are on {len(offsets)} of {count} partitions; apply them again, which is safe: {failures[0]}"
        )
    return AppliedRules(operation_id, parse_rules(0, document).digest, offsets)


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
    """Show the rules in force on each partition, by Redis."""
    settings = settings_or_fail()
    shown = [_shown(partition, progress) for partition, progress in enumerate(run(read_rules(settings)))]
    if json:
        print_json({"same": len({entry["digest"] for entry in shown}) == 1, "partitions": shown})
        return
    out = console()
    for digest in dict.fromkeys(entry["digest"] for entry in shown):
        holders = [entry for entry in shown if entry["digest"] == digest]
        where = ", ".join(f"{entry['partition']} (number {entry['number']})" for entry in holders)
        out.print(f"rules {digest} on partition {where}")
        print_document(holders[0]["rules"], as_json=False)
        for note in holders[0]["notes"]:
            out.print(f"note: {note}")
    behind = [entry["partition"] for entry in shown if entry["swept"] != entry["number"]]
    if behind:
        out.print(f"partitions {', '.join(map(str, behind))} still apply them to their tenants")


def _shown(partition: int, progress: Progress) -> dict[str, Any]:
    rules = progress.rules[-1]
    return {
        "partition": partition,
        "number": rules.number,
        "digest": rules.digest,
        "swept": progress.swept,
        "rules": rules.document,
        "notes": notes_on(rules.policy),
    }


async def read_rules(settings: Settings) -> list[Progress]:
    """Return the progress of every partition, which holds its rules.

    Raises:
        CommandError: if Redis does not answer, or this version cannot read the progress.
    """
    store = LaneStore.connect(settings)
    try:
        return [(await store.partition_status(partition)).progress for partition in range(settings.partitions)]
    except StoreError as error:
        raise CommandError(f"Redis does not answer: {describe(error)}") from None
    except ValueError as error:
        raise CommandError(f"the rules in Redis cannot be read: {error}") from None
    finally:
        await store.close()
