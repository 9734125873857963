"""`sleepctl health`: asks the processes on this machine whether they are alive."""

import http.client
from enum import StrEnum
from typing import Annotated, Final

import typer

from schemas.errors import describe
from schemas.settings import Settings
from sleepctl.ui.errors import CommandError, settings_or_fail
from sleepctl.ui.output import Json, console, print_json

TIMEOUT_SECONDS: Final = 3.0
"""Less than the image's health check waits."""
_EVERY_INTERFACE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class Process(StrEnum):
    """A process that serves `/healthz`."""

    API = "api"
    WORKER = "worker"


def health(
    process: Annotated[
        Process | None, typer.Argument(help="Which one to ask; without it, each that listens here.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask `/healthz` of API and worker on this machine.

    It exits with 1 if none answers, or if one says that it is not healthy. The ports are those of the settings.
    """
    settings = settings_or_fail()
    wanted = list(Process) if process is None else [process]
    results = {one: _ask(settings, one) for one in wanted}
    listening = {one: result for one, result in results.items() if result is not None}
    if json:
        print_json({one.value: result for one, result in results.items()})
    if not listening:
        ports = " and ".join(f"{one} on port {_port(settings, one)}" for one in wanted)
        raise CommandError(f"nothing listens here (looked for {ports}); is it running, and on this port?")
    if failed := [f"{one}: {result}" for one, result in listening.items() if result != "ok"]:
        raise CommandError("; ".join(failed))
    if not json:
        console().print(", ".join(f"{one}: ok" for one in listening))


def _ask(settings: Settings, process: Process) -> str | None:
    """Return `ok`, or what is wrong; None if nothing listens on its port."""
    host = _EVERY_INTERFACE.get(settings.api_host, settings.api_host)
    connection = http.client.HTTPConnection(host, _port(settings, process), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return describe(error)
    finally:
        connection.close()
    return "ok" if status == http.client.OK else f"/healthz answered {status}"


def _port(settings: Settings, process: Process) -> int:
    return settings.api_port if process is Process.API else settings.worker_metrics_port
