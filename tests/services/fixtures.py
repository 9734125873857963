"""Fixtures over the services; `tests/conftest.py` makes them known to pytest."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.services.base import Service, UnavailableError
from tests.services.choose import Services, start_cluster, start_services
from tests.services.cluster import RedisClusterService
from tests.services.namespace import Namespace
from tests.services.opa import start_opa
from tests.services.skips import Lacks, pass_over

services_line: pytest.StashKey[str] = pytest.StashKey()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Iterator[Services]:
    """One Kafka and one Redis for the whole session."""
    with start_services() as started:
        request.config.stash[services_line] = str(started)
        yield started


@pytest.fixture(scope="session")
def opa(services: Services) -> Iterator[Service]:
    """An OPA server with the shipped policy, started for the first test that wants it (which is marked `needs_opa`)."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start_opa(services.kind))
        except UnavailableError as error:
            pass_over(f"needs an OPA server: {error}")
        yield server


@pytest.fixture(scope="session")
def redis_cluster(services: Services) -> Iterator[RedisClusterService]:
    """The services' own Redis Cluster, or one started for the first test that wants it."""
    if isinstance(services.store, RedisClusterService):
        yield services.store
        return
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(start_cluster())
        except UnavailableError as error:
            pass_over(f"needs a Redis Cluster: {error}")
        yield cluster


@pytest.fixture
def on_cluster(services: Services, redis_cluster: RedisClusterService) -> Services:
    """The services with a Redis Cluster as their store."""
    return replace(services, store=redis_cluster)


@pytest.fixture
def namespace() -> Namespace:
    """Topic prefix, Redis prefix and consumer group of this test alone."""
    return Namespace.fresh()


@pytest.fixture(scope="module")
def module_namespace() -> Namespace:
    """Topic prefix, Redis prefix and consumer group of this module's tests."""
    return Namespace.fresh()


@pytest.fixture(autouse=True)
def _healthy_services(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bring back what a fault test took away, so that the next test finds it."""
    yield
    if "services" in request.fixturenames:
        request.getfixturevalue("services").heal()
    if "redis_cluster" in request.fixturenames:
        request.getfixturevalue("redis_cluster").heal()
    if "opa" in request.fixturenames:
        request.getfixturevalue("opa").heal()


@pytest.fixture(scope="module", autouse=True)
def _real_kafka_of_module(request: pytest.FixtureRequest) -> None:
    """Skip a module marked `needs_kafka` where only the mock is there, before anything of the module is set up."""
    _need_kafka(request)


@pytest.fixture(autouse=True)
def _real_kafka(request: pytest.FixtureRequest) -> None:
    """Skip a test marked `needs_kafka` where only the mock is there."""
    _need_kafka(request)


def _need_kafka(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("needs_kafka")
    if marker is None:
        return
    services: Services = request.getfixturevalue("services")
    if not services.log_append_time:
        pass_over(f"needs a real Kafka: the embedded one {marker.args[0] if marker.args else Lacks.ANY}")
