"""How much processor time each process of a measurement takes."""

import os
from collections.abc import Iterable, Mapping

import psutil

from tests.services import Service, Services
from tests.services.containers import ContainerService
from tests.services.processes import ProcessService
from tests.support.installation import Process


def service_pid(service: Service) -> int | None:
    """Return the id of a service's process; None where it has none of its own, as embedded ones."""
    match service:
        case ProcessService():
            return service.pid
        case ContainerService():
            # Zero where the engine runs on another machine.
            return int(service.container.attrs["State"]["Pid"]) or None
        case _:
            return None


class Meter:
    """Reads the processor time of processes, their children included.

    Args:
        services: Kafka and Redis.
        processes: ours, by the name of their column; of several under one name the sum counts.
        opa: the OPA server, if there is one.
    """

    def __init__(
        self, services: Services, processes: Mapping[str, Iterable[Process]], opa: Service | None = None
    ) -> None:
        pids: dict[str, list[int]] = {name: [process.pid for process in some] for name, some in processes.items()}
        for name, service in (("kafka", services.broker), ("redis", services.store), ("opa", opa)):
            if service is not None and (pid := service_pid(service)) is not None:
                pids[name] = [pid]
        pids["load"] = [os.getpid()]
        self._pids = pids

    def read(self) -> dict[str, float]:
        """Return the milliseconds of user and system time of each name so far."""
        return {
            name: sum(_milliseconds(pid, alone=name == "load") for pid in pids) for name, pids in self._pids.items()
        }

    def spent(self, before: Mapping[str, float], units: int) -> dict[str, float]:
        """Return the milliseconds for one unit since an earlier reading."""
        return {name: (now - before[name]) / units for name, now in self.read().items()}


def _milliseconds(pid: int, *, alone: bool) -> float:
    """Return the time of a process, and unless `alone` of those that it started."""
    process = psutil.Process(pid)
    family = [process] if alone else [process, *process.children(recursive=True)]
    return 1000 * sum(times.user + times.system for times in (one.cpu_times() for one in family))
