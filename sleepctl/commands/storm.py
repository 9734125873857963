"""`sleepctl storm`: makes load."""

import random
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from schemas.domain.policy import InvalidDocumentError
from sleepctl.io.kafka import KafkaLog
from sleepctl.runtime.event_loop import run
from sleepctl.storm.load import EMBEDDED_EVENTS, EMBEDDED_RATE, Load, Sent
from sleepctl.storm.mix import Mix, Storm, parse_mix
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, read_file, settings_or_fail
from sleepctl.ui.output import Json, print_json
from sleepctl.ui.progress import progress_bar

_MOST_RATE = 20_000.0
_MOST_SECONDS = 86_400.0


def storm(
    *,
    rate: Annotated[float, typer.Option(help="Events a second.", min=0.1, max=_MOST_RATE)] = 100.0,
    seconds: Annotated[float, typer.Option(help="For how long.", min=0.1, max=_MOST_SECONDS)] = 10.0,
    mix: Annotated[
        Path | None, typer.Option(help="A JSON object: prefix, tenants, breakers, instances, and weights of states.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    leave: Annotated[bool, typer.Option("--leave", help="Leave the breakers as they are at the end.")] = False,
    direct: Annotated[bool, typer.Option("--direct", help="Write to the events topic, without ingress.")] = False,
    json: Json = False,
) -> None:
    """Make load: breaker events of tenants of its own.

    They are named storm-0, storm-1 and so on.
    At the end every breaker that is not closed is closed, so that these tenants wake. On the embedded broker rate and
    number are capped.
    """
    settings = settings_or_fail()
    chosen = _mix_in(mix)
    topic = settings.topics.events if direct else settings.topics.breakers

    async def send() -> Sent:
        with progress_bar("events", max(1, round(rate * seconds))) as bar:
            async with KafkaLog(settings) as log:
                load = Load(log, topic, bar.advance)
                return await load.send(Storm(chosen, random.Random(seed)), rate, seconds, calm=not leave)  # noqa: S311 - load

    sent = run(send())
    _print(sent, topic, json=json)
    if sent.failed:
        raise CommandError(f"{sent.failed} events were not acknowledged: {sent.failure}")


def _print(sent: Sent, topic: str, *, json: bool) -> None:
    achieved = sent.sent / sent.seconds if sent.seconds else 0.0
    if json:
        print_json({"topic": topic, **sent._asdict(), "rate": round(achieved, 1)})
        return
    typer.echo(
        f"{sent.sent:,} events on {topic} in {sent.seconds:.1f} s ({achieved:,.0f} a second), then {sent.calmed:,} "
        "breakers were closed"
    )
    if sent.capped:
        typer.echo(
            f"note: the embedded broker takes at most {EMBEDDED_RATE:,.0f} events a second, and {EMBEDDED_EVENTS:,}",
            err=True,
        )


def _mix_in(file: Path | None) -> Mix:
    """Return the mix in a file, the built-in one without a file.

    Raises:
        CommandError: naming each wrong field; exit status 2.
    """
    if file is None:
        return Mix()
    try:
        document: Any = from_json(read_file(file), allow_inf_nan=False)
        return parse_mix(document)
    except InvalidDocumentError as error:
        raise CommandError(f"{file}: {error}", WRONG_SETTINGS) from None
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}", WRONG_SETTINGS) from None
