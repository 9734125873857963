"""Which way of getting services is taken, and their start and end."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.base import Kind, Service, UnavailableError
from tests.services.cluster import RedisClusterService
from tests.services.containers import container_services
from tests.services.embedded import embedded_services
from tests.services.processes import process_services
from tests.services.valkey import redis_program


@dataclass(frozen=True, slots=True)
class Services:
    """A Kafka (`broker`) and a Redis (`store`) that answer."""

    kind: Kind
    broker: Service
    store: Service
    notes: tuple[str, ...] = ()
    """Why better ways were not taken."""

    @property
    def kafka(self) -> str:
        """The bootstrap address, `host:port`."""
        return self.broker.address

    @property
    def redis(self) -> str:
        """The Redis URL."""
        return self.store.address

    @property
    def log_append_time(self) -> bool:
        """Whether the broker is a real Kafka: it stamps records itself and keeps data over a restart."""
        return self.kind is not Kind.EMBEDDED

    def environ(self) -> dict[str, str]:
        """The addresses as settings for a child process."""
        return {"SLEEP_KAFKA_BOOTSTRAP": self.kafka, "SLEEP_REDIS_URL": self.redis}

    def heal(self) -> None:
        """Bring back what a test took away; quick when nothing is."""
        self.broker.heal()
        self.store.heal()

    def __str__(self) -> str:
        """One line for the test report."""
        return "; ".join([f"{self.kind} (Kafka {self.kafka}, {self.redis})", *self.notes])


def wanted_kinds(environ: Mapping[str, str]) -> list[Kind]:
    """The ways to try, in order: the one that `SLEEP_TEST_SERVICES` names, else all.

    Raises UnavailableError where it names none.
    """
    name = environ.get("SLEEP_TEST_SERVICES", "")
    if not name:
        return list(Kind)
    try:
        return [Kind(name)]
    except ValueError as error:
        raise UnavailableError(f"SLEEP_TEST_SERVICES is {name!r}, not one of {', '.join(Kind)}") from error


def wants_cluster(environ: Mapping[str, str]) -> bool:
    """Whether `SLEEP_TEST_REDIS` asks for a Redis Cluster in place of the one server.

    Raises UnavailableError where it asks for something else.
    """
    name = environ.get("SLEEP_TEST_REDIS", "")
    if name not in {"", "cluster"}:
        raise UnavailableError(f"SLEEP_TEST_REDIS is {name!r}, not cluster")
    return bool(name)


def _make(kind: Kind, folder: Path) -> tuple[Service, Service]:
    """Services that are not yet started; a cluster is made of this machine's processes whatever the kind."""
    broker, store = _make_single(kind, folder)
    if wants_cluster(os.environ):
        store = RedisClusterService(folder, redis_program())
    return broker, store


def _make_single(kind: Kind, folder: Path) -> tuple[Service, Service]:
    match kind:
        case Kind.CONTAINERS:
            return container_services()
        case Kind.PROCESSES:
            return process_services(folder)
        case Kind.EMBEDDED:
            return embedded_services(folder)


def _start(kind: Kind, stack: ExitStack) -> tuple[Service, Service]:
    """Launch both, then wait for both; whatever happens, the stack ends them."""
    folder = Path(tempfile.mkdtemp(prefix="somabrain-sleep-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    pair = _make(kind, folder)
    for service in pair:
        stack.callback(service.close)
        service.launch()
    for service in pair:
        service.wait_ready()
    return pair


@contextmanager
def start_cluster() -> Iterator[RedisClusterService]:
    """A Redis Cluster that answers, ended with its data after the block.

    Raises UnavailableError where there is neither a `redis-server` nor a wheel with one.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="somabrain-sleep-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = RedisClusterService(folder, redis_program())
        stack.callback(cluster.close)
        cluster.launch()
        cluster.wait_ready()
        yield cluster


@contextmanager
def start_services(kind: Kind | None = None) -> Iterator[Services]:
    """Services that answer, ended with their data after the block.

    `kind` forces a way as `SLEEP_TEST_SERVICES` does. Without either, a way that this machine cannot go is
    passed over and named in `notes`. Raises UnavailableError when the forced way, or every way, is closed,
    and ServiceError when a service that should start does not.
    """
    notes: list[str] = []
    for candidate in [kind] if kind else wanted_kinds(os.environ):
        with ExitStack() as stack:
            try:
                broker, store = _start(candidate, stack)
            except UnavailableError as error:
                notes.append(f"not {candidate}: {error}")
                continue
            yield Services(candidate, broker, store, tuple(notes))
            return
    raise UnavailableError("\n".join(notes))
