"""The peer's processes: its server with a fresh data folder, and its SDK under uvicorn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import psutil

from tests.benchmarks.peer.install import installed
from tests.benchmarks.processor_time import Meter
from tests.services import Services
from tests.services.probe import free_port
from tests.support.installation import Process

SDK_PROCESSES: Final = 2
"""With two processes of the SDK the peer was fastest on a machine of two cores."""
_READY_SECONDS: Final = 60.0


class Peer(NamedTuple):
    """The peer while it runs.

    Attributes:
        port: where calls go.
        admin: the address of its administration.
        meter: reads the processor time of server and SDK together, as `peer`.
    """

    port: int
    admin: str
    meter: Meter


@asynccontextmanager
async def peer(services: Services, directory: Path) -> AsyncIterator[Peer]:
    """Start the peer, end it afterwards.

    Raises:
        UnavailableError: if it cannot be installed here.
    """
    folder = await asyncio.to_thread(installed)
    port, admin, sdk, node = (free_port() for _ in range(4))
    environment = {
        "RESTATE_BASE_DIR": str(directory / f"restate-{node}"),
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{port}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FORMAT": "compact",
    }
    program = folder / "node_modules" / ".bin" / "restate-server"
    server = Process("restate", environment, directory / "restate.log", [str(program), "--no-logo"])
    python = folder / "venv" / "bin" / "python"
    command = [str(python), "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "--port", str(sdk)]
    command += ["--workers", str(SDK_PROCESSES), "--no-access-log", "--log-level", "warning", "tenant:app"]
    # The peer's environment holds nothing of ours.
    handlers = Process("restate-sdk", {"PYTHONPATH": ""}, directory / "restate-sdk.log", command)
    try:
        address = f"http://127.0.0.1:{admin}"
        async with httpx.AsyncClient(timeout=10) as client:
            await _ready(client, f"{address}/health")
            await _ready(client, f"http://127.0.0.1:{port}/restate/health")
            await _ready(client, f"http://127.0.0.1:{sdk}/health")
            deployment = {"uri": f"http://127.0.0.1:{sdk}", "use_http_11": True}
            (await client.post(f"{address}/deployments", json=deployment)).raise_for_status()
        yield Peer(port, address, Meter(services, {"peer": [server, handlers]}))
    finally:
        for process in (handlers, server):
            _kill(process)


def _kill(process: Process) -> None:
    """End a process and those that it started: uvicorn's own stop of several does not always end."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()


async def _ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            with suppress(httpx.TransportError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
