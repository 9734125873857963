"""`sleepctl topics`: creates the topics, and checks their configuration."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from sleepctl.io.kafka import unreachable
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import CommandError, settings_or_fail
from sleepctl.ui.output import Json, console, print_json
from worker.adapters.kafka_topics import TopicAdmin, TopicsError, disk_cost

_Answer = TypeVar("_Answer")
app = typer.Typer(help="Create or check the topics.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(json: Json = False) -> None:
    """Create the topics that are missing. Existing topics stay unchanged."""
    settings = settings_or_fail()
    created = _ask(settings, lambda admin: admin.create())
    notes = [disk_cost(settings)] if settings.topics.states in created else []
    if json:
        print_json({"created": created, "notes": notes})
        return
    for name in created:
        console().print(f"created {name}")
    for note in notes:
        console().print(f"note: {note}")
    if not created:
        console().print("all topics exist already; `sleepctl topics check` checks their configuration")


@app.command()
def check(json: Json = False) -> None:
    """Check each topic's partitions and configuration.

    It exits with 1 if a worker would not start. It prints a warning if a topic is only weaker than required.
    """
    checked = _ask(settings_or_fail(), lambda admin: admin.check())
    findings = [finding.text for finding in checked if finding.stops]
    warnings = [finding.text for finding in checked if not finding.stops]
    if json:
        print_json({"ok": not findings, "findings": findings, "warnings": warnings})
    else:
        for warning in warnings:
            console().print(f"weaker than required: {warning}")
    if findings:
        raise CommandError("; ".join(findings))
    if not json:
        console().print("Warnings only; workers will start" if warnings else "all topics are as required")


def _ask(settings: Settings, question: Callable[[TopicAdmin], Awaitable[list[_Answer]]]) -> list[_Answer]:
    """Return the answer of the topics' administrator.

    Raises:
        CommandError: if Kafka does not answer, or refuses.
    """

    async def ask() -> list[_Answer]:
        async with TopicAdmin(settings) as admin:
            return await question(admin)

    try:
        return run(ask())
    except TopicsError as error:
        raise CommandError(str(error)) from None
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from None
