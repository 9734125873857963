"""Services as containers, through testcontainers."""

import gc
import os
import warnings
from collections.abc import Callable
from typing import cast

import requests
from docker.errors import DockerException
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.services.base import Service, ServiceError, UnavailableError
from tests.services.broker_config import HEAP_OPTIONS, as_environment, broker_config, jvm_options
from tests.services.jars import kafka_version
from tests.services.opa_program import OPA_VERSION
from tests.services.probe import LOOPBACK, free_port, kafka_answers, opa_answers, redis_answers

CONTROLLER_PORT = 9093
REDIS_PORT = 6379
OPA_PORT = 8181
ANY_INTERFACE = "0.0.0.0"  # noqa: S104 - inside a container, or where the engine is another machine
STOP_TIMEOUT_SECONDS = 30
LOG_TAIL_LINES = 40


def kafka_image() -> str:
    """`SLEEP_TEST_KAFKA_IMAGE`, else the public image of the version that Maven fetches too."""
    return os.environ.get("SLEEP_TEST_KAFKA_IMAGE") or f"apache/kafka:{kafka_version()}"


def redis_image() -> str:
    """`SLEEP_TEST_REDIS_IMAGE`, else a public one."""
    return os.environ.get("SLEEP_TEST_REDIS_IMAGE") or "redis:7.4"


def opa_image() -> str:
    """`SLEEP_TEST_OPA_IMAGE`, else the public image of the version that Go builds too."""
    return os.environ.get("SLEEP_TEST_OPA_IMAGE") or f"openpolicyagent/opa:{OPA_VERSION}"


class ContainerService(Service):
    """A service in one container, its port published at a fixed one of the host."""

    def __init__(self, name: str, address: str, container: DockerContainer, answers: Callable[[str], bool]) -> None:
        super().__init__(name, address)
        self._container = container
        self._answers = answers
        self._created = False

    @property
    def container(self) -> Container:
        """The engine's own view of it, once it was launched."""
        return self._container.get_wrapped_container()

    def launch(self) -> None:
        try:
            if self._created:
                self.container.start()
            else:
                self._container.start()
                self._created = True
        except (DockerException, requests.RequestException) as error:
            problem = ServiceError if self._created else UnavailableError
            raise problem(f"the engine cannot start {self._container.image}: {error}") from error

    def _status(self) -> str:
        if not self._created:
            return "absent"
        container = self._container.get_wrapped_container()
        container.reload()
        return str(container.status)

    def running(self) -> bool:
        return self._status() in {"running", "paused"}

    def answers(self) -> bool:
        return self._answers(self.address)

    def log_tail(self) -> str:
        if not self._created:
            return "(no container)"
        log: bytes = self._container.get_wrapped_container().logs(tail=LOG_TAIL_LINES)
        return log.decode(errors="replace")

    def _expect_running(self) -> None:
        if not self.running():
            raise ServiceError(f"{self.name} does not run")

    def stop(self) -> None:
        self._expect_running()
        self._container.get_wrapped_container().stop(timeout=STOP_TIMEOUT_SECONDS)

    def kill(self) -> None:
        self._expect_running()
        container = self._container.get_wrapped_container()
        container.kill()
        container.wait(timeout=STOP_TIMEOUT_SECONDS)

    def _freeze(self, *, frozen: bool) -> None:
        container = self._container.get_wrapped_container()
        if frozen:
            container.pause()
        else:
            container.unpause()

    def close(self) -> None:
        self._container.stop()
        self._created = False


def _publish(container: DockerContainer, inside: int, port: int, *, local: bool) -> None:
    """Publish a port, on loopback only where the engine is this machine's."""
    # testcontainers types the value as a port; the Docker library that gets it takes (interface, port) too.
    ports = cast("dict[str, object]", container.ports)
    ports[f"{inside}/tcp"] = (LOOPBACK if local else ANY_INTERFACE, port)


def _engine() -> tuple[str, bool, bool]:
    """The engine's host as seen from here, whether it is this machine, and whether containers share its network.

    `SLEEP_TEST_DOCKER_NETWORK=host` shares it, for an engine that can make none of its own. Raises UnavailableError
    when no engine answers.
    """
    client: DockerClient | None = None
    finding = ""
    try:
        client = DockerClient()
        client.client.ping()
    except (DockerException, requests.RequestException) as error:
        finding = str(error)
    if client is None or finding:
        # docker-py leaves the socket of a refused connection to the collector, whose warning would fail some test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        raise UnavailableError(f"no Docker engine answers: {finding}")
    host = client.host()
    local = host in {"localhost", LOOPBACK}
    host = LOOPBACK if local else host
    client.client.close()
    return host, local, os.environ.get("SLEEP_TEST_DOCKER_NETWORK") == "host"


def container_services() -> tuple[Service, Service]:
    """Kafka and Redis as containers, not yet started; raises UnavailableError when no engine answers."""
    host, local, share_host = _engine()
    return _kafka(host, local=local, share_host=share_host), _redis(host, local=local, share_host=share_host)


def opa_container(image: str, command: Callable[[str], list[str]]) -> Service:
    """An OPA server as a container, not yet started; `command` gets the address to listen at."""
    host, local, share_host = _engine()
    port = free_port()
    container = DockerContainer(image)
    if share_host:
        container.with_kwargs(network_mode="host")
        container.with_command(command(f"{LOOPBACK}:{port}"))
    else:
        _publish(container, OPA_PORT, port, local=local)
        container.with_command(command(f"{ANY_INTERFACE}:{OPA_PORT}"))
    return ContainerService("OPA", f"http://{host}:{port}", container, opa_answers)


def _kafka(host: str, *, local: bool, share_host: bool) -> Service:
    port = free_port()
    address = f"{host}:{port}"
    config = broker_config(
        # Its coordinator of transactions calls the broker where clients find it, from inside the container.
        listen=address if share_host else f"{ANY_INTERFACE}:{port}",
        advertised=address,
        controller=f"{LOOPBACK}:{free_port() if share_host else CONTROLLER_PORT}",
        log_dir="/tmp/kraft-combined-logs",
    )
    container = DockerContainer(kafka_image())
    container.with_envs(
        **as_environment(config),
        KAFKA_HEAP_OPTS=" ".join(HEAP_OPTIONS),
        KAFKA_JVM_PERFORMANCE_OPTS=" ".join(jvm_options()),
    )
    if share_host:
        container.with_kwargs(network_mode="host")
    else:
        _publish(container, port, port, local=local)
    return ContainerService("Kafka", address, container, kafka_answers)


def _redis(host: str, *, local: bool, share_host: bool) -> Service:
    port = free_port()
    command = ["redis-server", "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    container = DockerContainer(redis_image())
    if share_host:
        container.with_kwargs(network_mode="host")
        command += ["--bind", LOOPBACK, "--port", str(port)]
    else:
        # Protected mode would refuse the host, which comes from the bridge's address.
        command += ["--protected-mode", "no"]
        _publish(container, REDIS_PORT, port, local=local)
    container.with_command(command)
    return ContainerService("Redis", f"redis://{host}:{port}/0", container, redis_answers)
