"""Services as children of the test process: a Kafka from Maven's jars, a Redis from the machine."""

import shutil
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.base import Service, ServiceError, UnavailableError
from tests.services.broker_config import HEAP_OPTIONS, as_properties, broker_config, jvm_options
from tests.services.jars import kafka_jars
from tests.services.probe import LOOPBACK, free_port, kafka_answers, redis_answers
from tests.services.valkey import redis_program

STOP_TIMEOUT_SECONDS = 30.0
LOG_TAIL_BYTES = 4_000
CLUSTER_ID = "c29tYWJyYWluLXNsZWVwMA"

# A child is to die with the session, however that ends. The kernel counts the parent's *thread* as the
# parent, so all children are started by one thread that lives as long as the process.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="test-services")


def _die_with_parent() -> list[str]:
    """The words before a command that make the kernel end it with the session (Linux; elsewhere none)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def find(program: str, package: str) -> str:
    """The path of a program; raises UnavailableError naming the package that has it."""
    path = shutil.which(program)
    if path is None:
        raise UnavailableError(f"no {program} (package {package})")
    return path


class ProcessService(Service):
    """A service that is one child process with a folder of its own."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        super().__init__(name, address)
        self.folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments."""

    def launch(self) -> None:
        if self.running():
            raise ServiceError(f"{self.name} runs already")
        with (self.folder / "log").open("ab") as log:
            self._child = _spawner.submit(
                subprocess.Popen,
                [*_die_with_parent(), *self.command()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process.

        Raises:
            ServiceError: if it does not run.
        """
        if self._child is None or self._child.poll() is not None:
            raise ServiceError(f"{self.name} does not run")
        return self._child.pid

    def log_tail(self) -> str:
        return (self.folder / "log").read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            raise ServiceError(f"{self.name} does not run")
        self._child.send_signal(number)
        return self._child

    def stop(self) -> None:
        self._signal(signal.SIGTERM).wait(STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        self._signal(signal.SIGKILL).wait(STOP_TIMEOUT_SECONDS)

    def _freeze(self, *, frozen: bool) -> None:
        self._signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def close(self) -> None:
        if self.running():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisProcess(ProcessService):
    """A Redis (or Valkey) server that keeps its data in an append-only file."""

    def __init__(self, folder: Path, program: str) -> None:
        self._port = free_port()
        self._program = program
        super().__init__("Redis", f"redis://{LOOPBACK}:{self._port}/0", folder / "redis")

    def command(self) -> Sequence[str]:
        options = ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
        return [self._program, "--bind", LOOPBACK, "--port", str(self._port), *options]

    def answers(self) -> bool:
        return redis_answers(self.address)


class KafkaProcess(ProcessService):
    """A Kafka broker, its own controller, in one JVM."""

    def __init__(self, folder: Path, java: str, jars: Path) -> None:
        port = free_port()
        super().__init__("Kafka", f"{LOOPBACK}:{port}", folder / "kafka")
        self._java = [java, *HEAP_OPTIONS, *jvm_options(), "-Dlog4j2.level=WARN", "-cp", f"{jars}/*"]
        config = broker_config(
            listen=self.address,
            advertised=self.address,
            controller=f"{LOOPBACK}:{free_port()}",
            log_dir=str(self.folder / "data"),
        )
        self._properties = self.folder / "server.properties"
        self._properties.write_text(as_properties(config))

    def launch(self) -> None:
        if not (self.folder / "data").exists():
            self._format()
        super().launch()

    def _format(self) -> None:
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]
        done = subprocess.run([*self._java, *tool, str(self._properties)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            # Most likely a Java too old for this Kafka: then this way is closed, and nothing is broken.
            raise UnavailableError(f"{self._java[0]} cannot run Kafka:\n{done.stdout}{done.stderr}")

    def command(self) -> Sequence[str]:
        return [*self._java, "kafka.Kafka", str(self._properties)]

    def answers(self) -> bool:
        return kafka_answers(self.address)


def process_services(folder: Path) -> tuple[Service, Service]:
    """Kafka and Redis as local processes, not yet started.

    Raises UnavailableError naming the program that is missing or Maven's failure.
    """
    redis = RedisProcess(folder, redis_program())
    java = find("java", "default-jre-headless")
    return KafkaProcess(folder, java, available_jars()), redis


def available_jars() -> Path:
    """Kafka's jars; raises UnavailableError where Maven is missing, fails, or has no folder to put them into."""
    try:
        return kafka_jars()
    except FileNotFoundError as error:
        raise UnavailableError("no mvn (package maven) to fetch Kafka's jars with") from error
    except OSError as error:
        raise UnavailableError(f"no folder for Kafka's jars: {error}; name one with SLEEP_TEST_CACHE") from error
    except subprocess.SubprocessError as error:
        output = getattr(error, "stdout", "") or ""
        raise UnavailableError(f"Maven could not fetch Kafka's jars: {first_error(output) or error}") from error


def first_error(output: str) -> str:
    """Return the first line in which Maven says what is wrong; the rest is how to ask it for more."""
    return next((line for line in output.splitlines() if line.startswith("[ERROR]")), "")
