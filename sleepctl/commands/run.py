"""`sleepctl run`: starts everything in one process, plays a scenario over HTTP and Kafka, then serves."""

import asyncio
import logging
import random
import socket
from typing import Annotated, Final

import typer

from schemas.environment import SettingsError
from schemas.settings import Ports
from schemas.settings_loader import load_ports
from sleepctl.runtime.collector import relax_collector
from sleepctl.runtime.event_loop import serve_until_stopped
from sleepctl.runtime.loading import loading
from sleepctl.runtime.logs import configure_logging
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, say_notices
from sleepctl.ui.output import Json, console, print_json

HOST: Final = "127.0.0.1"
# Linux takes ports from 32768 up for outgoing connections. Such a port may be free when it is checked, and taken when
# it is used.
OTHER_PORTS: Final = range(20_000, 32_000)
ABOUT: Final = """\
Everything runs embedded: a mock Kafka, a Valkey server as Redis, the policy engine, a worker and the API.
Nothing survives this process; its Redis may go on only after SIGKILL. The mock Kafka creates each topic at its first
use, with four partitions. It cannot create or describe a topic on request. Timestamps are the producer's, since the
mock sets none. It trims a partition at 5 MiB or 100,000 records. Everything else is the production code.
It starts in a few seconds."""


def run(
    once: Annotated[bool, typer.Option("--once", help="End after the scenario; 0 only if all was seen.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of the API; another port if it is taken. By default SLEEP_API_PORT, else 8080.",
            min=0,
            max=65_535,
        ),
    ] = None,
    worker_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the worker's page. By default SLEEP_WORKER_METRICS_PORT, else 8081.",
            min=0,
            max=65_535,
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log the worker and the API.")] = False,
    json: Json = False,
) -> None:
    """Start everything embedded, play a scenario, then serve.

    It serves until Ctrl-C. With --once it ends after the scenario.
    """
    if verbose:
        configure_logging("info", "console")
    else:
        # The scenario shows each answer itself; one of them is a refusal.
        configure_logging("warning", "console", silent=("worker.runtime.refusals",))
        # The mock broker delays fetches, and Faust warns of tasks that run late.
        logging.getLogger("mode").setLevel(logging.ERROR)
    say_notices(unknown_ones=False)
    given = _ports()
    port = given.api_port if port is None else port
    worker_port = given.worker_metrics_port if worker_port is None else worker_port
    out = console()
    if not json:
        out.print(ABOUT)
    api_port = free_port(port)
    page_port = free_port(worker_port, but=api_port)
    for what, wanted, actual in (("API", port, api_port), ("worker's page", worker_port, page_port)):
        if wanted not in (0, actual):
            console(stderr=True).print(f"port {wanted} is taken; the {what} is on {actual}")
    # Faust, FastAPI and the embedded services take two seconds to load, after the first lines are read.
    with loading():
        from sleepctl.demo.live import Live  # noqa: PLC0415
        from sleepctl.demo.services import embedded_services  # noqa: PLC0415
        from sleepctl.demo.view import JsonView, PlainView  # noqa: PLC0415

    view = JsonView() if json else PlainView(out)

    async def main(stop: asyncio.Event) -> list[str] | None:
        # The services start inside, so that a signal during their start ends them too.
        with embedded_services() as services:
            settings = services.settings(api_host=HOST, api_port=api_port, worker_metrics_port=page_port)
            live = Live(services, settings, view, once=once)
            await live.run(stop)
            return live.unseen

    relax_collector()
    report(serve_until_stopped(main), json=json)


def _ports() -> Ports:
    try:
        return load_ports()
    except SettingsError as error:
        raise CommandError(f"settings: {error}", WRONG_SETTINGS) from None


def report(unseen: list[str] | None, *, json: bool) -> None:
    """End with the result of the scenario, which was printed before.

    Raises:
        CommandError: if the scenario was stopped, or naming what was not seen.
    """
    if json:
        print_json({"finished": unseen is not None, "unseen": unseen or []})
    if unseen is None:
        raise CommandError("stopped before the scenario ended")
    if unseen:
        raise CommandError("\n  ".join([f"{len(unseen)} expectations were not seen:", *unseen]))


def free_port(wanted: int, *, but: int | None = None) -> int:
    """Return the wanted port if it is free on the loopback and not `but`; else, or for 0, another free port.

    Raises:
        CommandError: if no port is free.
    """
    for port in ([wanted] if wanted else []) + random.SystemRandom().sample(OTHER_PORTS, 100):
        if port == but:
            continue
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            continue
        return port
    raise CommandError(f"no port of {OTHER_PORTS.start} to {OTHER_PORTS.stop - 1} is free on {HOST}")
