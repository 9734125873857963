"""How long a proxy waits for `sleep-gate`, at a fixed rate on loopback: from when a request was due to its answer."""

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from tests.benchmarks.figures import Figure, Latencies, WrongEndError
from tests.services import Services
from tests.services.probe import free_port
from tests.support.states_server import snapshot

_RATE: Final = 1_000
_SECONDS: Final = 10
_CONNECTIONS: Final = 8
_WARM_UP_SECONDS: Final = 1
_START_SECONDS: Final = 60
_TENANTS: Final = 1_000
_CLIENT: Final = Path(__file__).resolve().parents[2] / "clients" / "python"


async def gate(_services: Services, directory: Path) -> list[Figure]:
    """Start a gate in front of a server that streams states, and ask it on connections that stay open."""
    states = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    states += snapshot(*(f"tenant-{number}" for number in range(_TENANTS)))

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(states)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    port = free_port()
    environment = {
        "PYTHONPATH": str(_CLIENT),
        "SLEEP_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "SLEEP_TOKEN": "benchmark",
        "SLEEP_GATE_PROXY": "nginx",
        "SLEEP_GATE_DENY": "freeze",
        "SLEEP_GATE_PORT": str(port),
    }
    with (directory / "gate.log").open("wb") as log:
        command = (sys.executable, "-m", "sleep_client.gate")
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        await _ready(port)
        await _ask(port, _WARM_UP_SECONDS)
        before = psutil.Process(process.pid).cpu_times()
        milliseconds = await _ask(port, _SECONDS)
        after = psutil.Process(process.pid).cpu_times()
    finally:
        process.terminate()
        await process.wait()
        server.close()
    share = (after.user + after.system - before.user - before.system) / _SECONDS
    latencies = Latencies.of(milliseconds)
    more = {"of_one_core_%": share * 100, "p50_ms": latencies.p50, "p99_ms": latencies.p99}
    return [Figure(f"gate: checks at {_RATE}/s", len(milliseconds) / _SECONDS, latencies, more=more)]


async def _ready(port: int) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                if answer.startswith(b"HTTP/1.1 200"):
                    return
            await asyncio.sleep(0.1)


async def _ask(port: int, seconds: int) -> list[float]:
    begun = time.perf_counter() + 0.1
    workers = [_worker(port, begun, number, seconds) for number in range(_CONNECTIONS)]
    return [each for measured in await asyncio.gather(*workers) for each in measured]


async def _worker(port: int, begun: float, number: int, seconds: int) -> list[float]:
    """Send each request when it is due, also if the one before was late."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    milliseconds = []
    for call in range(number, _RATE * seconds, _CONNECTIONS):
        due = begun + call / _RATE
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        asleep = call % 10 == 0
        tenant = f"tenant-{call % _TENANTS}" if asleep else f"other-{call}"
        writer.write(b"GET /gate HTTP/1.1\r\nHost: gate\r\nX-Tenant-Id: %s\r\n\r\n" % tenant.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.partition(b":")[2]))
        milliseconds.append((time.perf_counter() - due) * 1000)
        if not head.startswith(b"HTTP/1.1 403" if asleep else b"HTTP/1.1 200"):
            raise WrongEndError(f"the gate answered {head[:60]!r}")
    writer.close()
    return milliseconds
