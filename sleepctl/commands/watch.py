"""`sleepctl watch`: states as they change."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import urlencode

import typer

from sleepctl.io.api_client import ApiClient
from sleepctl.io.event_stream import Event, EventStream, Lost
from sleepctl.io.requests import HERE, State, Token, Url, needed
from sleepctl.runtime.event_loop import run
from sleepctl.ui import change as lines
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, check_tenant
from sleepctl.ui.output import Json, console, print_json
from sleepctl.ui.watched import Change, Watched

_PATH: Final = "/api/states/events"
_MOST_TENANTS: Final = 200


def watch(
    *,
    tenant: Annotated[
        list[str] | None, typer.Argument(help="Only these tenants; without one all, which needs sleep:read-any.")
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only changes from or to this state.")] = None,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Show states as they change, until Ctrl-C.

    First come the tenants that sleep, then a line `live`, then each change as it happens. A line `not live` says at
    once that the connection is lost. After the next `live` nothing is missing but states that were passed through.
    """
    names = list(dict.fromkeys(tenant or ()))
    for name in names:
        check_tenant(name, "the tenant")
    if len(names) > _MOST_TENANTS:
        raise CommandError(f"at most {_MOST_TENANTS} tenants can be named; without one all are shown", WRONG_SETTINGS)
    needed(token)
    path = f"{_PATH}?{urlencode({'tenants': ','.join(names)})}" if names else _PATH
    watched = Watched(names, None if state is None else state.value)

    async def show() -> None:
        async with ApiClient(url, token) as client:
            await follow(EventStream(client, path), watched, Printer(json=json))

    run(show())


class Printer:
    """Prints what is seen, for people or for machines."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._out = console()

    def change(self, change: Change) -> None:
        """Print a change."""
        if self._json:
            print_json(change.as_json())
        else:
            self._out.print(lines.line(change))

    def live(self, asleep: int) -> None:
        """Print that everything is known as it is now."""
        if self._json:
            print_json({"event": "live", "asleep": asleep})
        else:
            self._out.print(lines.live(asleep))

    def not_live(self, lost: Lost) -> None:
        """Print that nothing is live any more."""
        if self._json:
            print_json({"event": "not_live", "reason": lost.reason, "retry_seconds": round(lost.seconds, 1)})
        else:
            self._out.print(lines.not_live(lost.reason, lost.seconds))


async def follow(
    stream: EventStream, watched: Watched, printer: Printer, now: Callable[[], float] = time.monotonic
) -> None:
    """Print what comes, for ever.

    Raises:
        CommandError: if the API refuses the stream for good.
    """
    events = stream.events()
    pending = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=watched.seconds_to_next(now()))
            for change in watched.due(now()):
                printer.change(change)
            if done:
                _show(pending.result(), stream, watched, printer, now())
                pending = asyncio.ensure_future(anext(events))
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await events.aclose()


def _show(event: Event | Lost, stream: EventStream, watched: Watched, printer: Printer, now: float) -> None:
    if isinstance(event, Lost):
        watched.lose(resumes=bool(stream.last_id))
        printer.not_live(event)
        return
    for change in watched.take(event, now):
        printer.change(change)
    if event.name == "ready":
        printer.live(watched.asleep)
