"""What tests and benchmarks run against: one Kafka and one Redis, the best that this machine can give.

An OPA server comes in the same ways (`tests.services.opa`), started for the first test that asks for it.

The ways, in this order: containers (testcontainers, where a Docker engine answers), local processes (Kafka's
jars by Maven, `redis-server` or else Valkey from a wheel), embedded (librdkafka's mock cluster, Valkey).
`SLEEP_TEST_SERVICES` set to `containers`, `processes` or `embedded` forces one. `SLEEP_TEST_REDIS=cluster` puts a
Redis Cluster of local processes in the place of the one Redis; tests make their clients with `redis_client`, which
knows both.

    with start_services() as services:
        settings = Settings(kafka_bootstrap=services.kafka, redis_url=services.redis)
        with services.store.killed():
            ...  # Redis is gone; afterwards it is back at the same address, with its data
"""

from tests.services.base import Kind, Service, ServiceError, UnavailableError
from tests.services.choose import Services, start_services
from tests.services.namespace import Namespace
from tests.services.redis_client import Client, blocking_client, listening_client, redis_client
from tests.services.skips import Lacks

__all__ = [
    "Client",
    "Kind",
    "Lacks",
    "Namespace",
    "Service",
    "ServiceError",
    "Services",
    "UnavailableError",
    "blocking_client",
    "listening_client",
    "redis_client",
    "start_services",
]
