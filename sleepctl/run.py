"""`sleepctl run`: everything in one process, a scenario through its outside doors, then a system to play with."""

import asyncio
import logging
import random
import socket
from typing import Annotated, Final

import typer

from sleepctl.errors import CommandError
from sleepctl.logs import configure_logging
from sleepctl.process import serve_until_stopped
from sleepctl.show import Json, console, print_json

API_PORT: Final = 8080
WORKER_PORT: Final = 8081
HOST: Final = "127.0.0.1"
# Below those from which the kernel takes ports for outgoing connections (32768 and up on Linux): one of these would be
# free when looked at, and taken when it is used.
OTHER_PORTS: Final = range(20_000, 32_000)
ABOUT: Final = """\
Everything runs embedded: a mock Kafka, a Valkey server as Redis, the policy engine, a worker and the API.
Nothing survives this process; only if it is killed with SIGKILL may its Redis stay behind. The mock Kafka makes
each topic as it is first named, with four partitions, and cannot be asked to make or describe one. It stamps no time
of its own, so time here is the producer's, and it trims a partition at 5 MiB or 100,000 records. All the rest is
what runs in production. It starts in a few seconds."""


def run(
    once: Annotated[bool, typer.Option("--once", help="End after the scenario; 0 only if all was seen.")] = False,
    port: Annotated[
        int,
        typer.Option(help="Port of the API; another one if it is taken.", envvar="SLEEP_API_PORT", min=0, max=65_535),
    ] = API_PORT,
    worker_port: Annotated[
        int,
        typer.Option(
            help="Port of the worker's page; likewise.", envvar="SLEEP_WORKER_METRICS_PORT", min=0, max=65_535
        ),
    ] = WORKER_PORT,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what the worker and the API do.")] = False,
    json: Json = False,
) -> None:
    """Start everything embedded and play a scenario, then serve.

    It serves until Ctrl-C; with --once it ends after the scenario.
    """
    configure_logging("info" if verbose else "warning", "console")
    if not verbose:
        # The mock broker holds fetches, and what Faust does beside them looks late to it.
        logging.getLogger("mode").setLevel(logging.ERROR)
    out = console()
    if not json:
        out.print(ABOUT)
    api_port = free_port(port)
    page_port = free_port(worker_port if worker_port != api_port else 0)
    for what, wanted, found in (("API", port, api_port), ("worker's page", worker_port, page_port)):
        if wanted not in (0, found):
            console(stderr=True).print(f"port {wanted} is taken; the {what} is on {found}")
    # Faust, FastAPI and the embedded services take two seconds to load.
    from sleepctl.embedded import embedded_services  # noqa: PLC0415
    from sleepctl.live import Live  # noqa: PLC0415
    from sleepctl.view import JsonView, PlainView  # noqa: PLC0415

    view = JsonView() if json else PlainView(out)

    async def main(stop: asyncio.Event) -> list[str] | None:
        # Started in here, so that a signal that comes meanwhile leaves no server behind.
        with embedded_services() as services:
            settings = services.settings(api_host=HOST, api_port=api_port, worker_metrics_port=page_port)
            live = Live(services, settings, view, once=once)
            await live.run(stop)
            return live.unseen

    report(serve_until_stopped(main), json=json)


def report(unseen: list[str] | None, *, json: bool) -> None:
    """End as the scenario did, whose verdict a person has read already.

    Raises:
        CommandError: naming what was not.
    """
    if json:
        print_json({"finished": unseen is not None, "unseen": unseen or []})
    if unseen is None:
        raise CommandError("stopped before the scenario ended")
    if unseen:
        raise CommandError("\n  ".join([f"{len(unseen)} expectations were not seen:", *unseen]))


def free_port(wanted: int) -> int:
    """Return the wanted port if it is free on the loopback, else another that is, as for 0.

    Raises:
        CommandError: if none was found.
    """
    for port in ([wanted] if wanted else []) + random.SystemRandom().sample(OTHER_PORTS, 100):
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            continue
        return port
    raise CommandError(f"no port of {OTHER_PORTS.start} to {OTHER_PORTS.stop - 1} is free on {HOST}")
