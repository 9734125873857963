"""The processes of a run: workers and APIs that are started, hurt and started again, each by its own id."""

import asyncio
import re
import signal
from pathlib import Path
from typing import Any, Final

import httpx

from tests.faults.schedule import Kind
from tests.services.probe import free_port
from tests.support.installation import ApiClient, Installation, Process

WORKERS: Final = 3
DOORS: Final = 2
# The limit is asked, as it always is, but not met.
_OPEN: Final = {"SLEEP_RATE_LIMITS": '{"*": "1000000/minute"}'}
_STATUS_SECONDS: Final = 10.0
_STARTING_SECONDS: Final = 15.0


class Worker:
    """A worker process and its page."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.frozen = False


class Fleet:
    """Processes of the worker and the API, as many as a run needs.

    Attributes:
        workers, doors: those that are to run now.
    """

    def __init__(self, installation: Installation) -> None:
        self.workers: list[Worker] = []
        self.doors: list[ApiClient] = []
        self._installation = installation
        self._started = 0

    @property
    def logs(self) -> list[Path]:
        """The workers' logs, one a process."""
        return sorted(self._installation.directory.glob("worker-*.log"))

    async def start(self) -> None:
        """Start all processes, and wait until the APIs serve."""
        self.add_workers(WORKERS)
        await asyncio.gather(*(self.open_door() for _ in range(DOORS)))

    def add_workers(self, count: int) -> None:
        """Start so many more workers."""
        for _ in range(count):
            port = free_port()
            log = self._installation.directory / f"worker-{self._started}.log"
            environment = self._installation.environment | {
                "SLEEP_WORKER_METRICS_PORT": str(port),
                # Each event that came through ingress is looked for in the log, so none may replace another.
                "SLEEP_INGRESS_TENANT_LIMIT": "1000000",
            }
            process = Process("worker", environment, log, self._installation.command("worker"))
            self._installation.processes.append(process)
            self.workers.append(Worker(process, f"http://127.0.0.1:{port}"))
            self._started += 1

    async def open_door(self) -> None:
        """Start one more API, and wait until it serves."""
        self.doors.append(await self._installation.open_door(**_OPEN))

    async def kill(self, kind: Kind, target: int, seconds: float) -> None:
        """End a process and start another after so many seconds."""
        worker, door = kind in (Kind.WORKER_KILLED, Kind.WORKER_STOPPED), None
        process = self._take_worker(target).process if worker else (door := self._take_door(target)).process
        if kind in (Kind.WORKER_KILLED, Kind.API_KILLED):
            await asyncio.to_thread(process.kill)
        else:
            await _end(process)
        await asyncio.sleep(seconds)
        if door is None:
            self.add_workers(1)
        else:
            await self.open_door()

    async def remove_worker(self, target: int) -> None:
        """Stop a worker for good."""
        await _end(self._take_worker(target).process)

    async def freeze(self, target: int, seconds: float) -> None:
        """Let a worker stand still for so many seconds."""
        awake = [worker for worker in self.workers if not worker.frozen]
        worker = awake[target % len(awake)]
        worker.frozen = True
        worker.process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            worker.process.signal(signal.SIGCONT)
            worker.frozen = False

    async def end_workers(self) -> None:
        """Stop every worker as an operator would; each must end well."""
        workers, self.workers = self.workers, []
        await asyncio.gather(*(_end(worker.process) for worker in workers))

    async def end(self) -> None:
        """Stop everybody as an operator would; each must end well."""
        await self.end_workers()
        apis, self.doors = self.doors, []
        await asyncio.gather(*(_end(door.process) for door in apis))

    def check(self) -> None:
        """Assert that nobody ended who was not told to."""
        dead = [process.name for process in self._present() if not process.running]
        assert not dead, f"ended by themselves: {dead}"

    def _present(self) -> list[Process]:
        return [*(worker.process for worker in self.workers), *(door.process for door in self.doors)]

    async def lanes(self) -> dict[int, dict[str, Any]]:
        """Return what the workers' pages say of each partition that has an owner."""
        async with httpx.AsyncClient(timeout=_STATUS_SECONDS) as client:
            pages = await asyncio.gather(*(self._lanes(client, worker) for worker in self.workers))
        return {lane["partition"]: lane for lanes in pages for lane in lanes}

    async def _lanes(self, client: httpx.AsyncClient, worker: Worker) -> list[dict[str, Any]]:
        try:
            lanes: list[dict[str, Any]] = (await client.get(f"{worker.url}/status")).json()["lanes"]
        except httpx.TransportError:
            return []
        return lanes

    def count(self, event: str) -> int:
        """Return how often the workers' logs name an event."""
        pattern = re.compile(rf"\b{event}\b")
        return sum(len(pattern.findall(log.read_text(errors="replace"))) for log in self.logs)

    def _take_worker(self, target: int) -> Worker:
        awake = [worker for worker in self.workers if not worker.frozen]
        worker = awake[target % len(awake)]
        self.workers.remove(worker)
        return worker

    def _take_door(self, target: int) -> ApiClient:
        return self.doors.pop(target % len(self.doors))


async def _end(process: Process) -> None:
    # One that is told before it can listen is ended by the signal itself.
    well = (0, -signal.SIGTERM) if process.age < _STARTING_SECONDS else (0,)
    code = await asyncio.to_thread(process.stop)
    assert code in well, f"{process.name} ended with {code}"
