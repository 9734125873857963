"""`sleepctl topics`: make the topics, and check that they are what the pipeline rests on."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from sleepctl.errors import CommandError, settings_or_fail
from sleepctl.process import run
from sleepctl.show import Json, console, print_json

if TYPE_CHECKING:
    from worker.topics import TopicAdmin

_Answer = TypeVar("_Answer")
app = typer.Typer(help="Create or check the topics.", no_args_is_help=True)


@app.command()
def create(json: Json = False) -> None:
    """Create the topics that are missing. Those that stand are left as they are."""
    made = _ask(lambda admin: admin.create())
    if json:
        print_json({"created": made})
        return
    for name in made:
        console().print(f"created {name}")
    if not made:
        console().print("every topic is there already; `sleepctl topics check` looks at how they are")


@app.command()
def check(json: Json = False) -> None:
    """Check each topic's partitions and configuration.

    Exits with 1 where a worker would not start; what is only weaker than asked is told.
    """
    found = _ask(lambda admin: admin.check())
    findings = [finding.text for finding in found if finding.stops]
    warnings = [finding.text for finding in found if not finding.stops]
    if json:
        print_json({"ok": not findings, "findings": findings, "warnings": warnings})
    else:
        for warning in warnings:
            console().print(f"weaker than asked: {warning}")
    if findings:
        raise CommandError("; ".join(findings))
    if not json:
        console().print("no worker is stopped by that" if warnings else "every topic is as it must be")


def _ask(question: "Callable[[TopicAdmin], Awaitable[list[_Answer]]]") -> list[_Answer]:
    """Return what the topics' administrator answers.

    Raises:
        CommandError: if Kafka does not answer or refuses.
    """
    settings = settings_or_fail()
    # Kafka's client is not loaded by commands that do without it.
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    from sleepctl.kafka import unreachable  # noqa: PLC0415
    from worker.topics import TopicAdmin, TopicsError  # noqa: PLC0415

    async def ask() -> list[_Answer]:
        async with TopicAdmin(settings) as admin:
            return await question(admin)

    try:
        return run(ask())
    except TopicsError as error:
        raise CommandError(str(error)) from None
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from None
