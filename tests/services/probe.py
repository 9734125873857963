"""Free ports, and whether a Kafka, a Redis or an OPA answers."""

import random
import socket
from collections.abc import Sequence

import httpx
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux), so that
# the port of a stopped service is still free when it starts again.
PORTS: Sequence[int] = range(20_000, 32_000)
PROBE_SECONDS = 1.0


def free_port() -> int:
    """A loopback port that nothing listens on now; raises OSError when 100 tries found none."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 20000 and 32000")


def redis_answers(url: str) -> bool:
    """Whether Redis answers a PING (it does not while it loads its data)."""
    client = redis.Redis.from_url(url, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def opa_answers(url: str) -> bool:
    """Whether an OPA server is there, with its policy loaded."""
    try:
        return httpx.get(f"{url}/health", timeout=PROBE_SECONDS).is_success
    except httpx.HTTPError:
        return False


def kafka_answers(bootstrap: str) -> bool:
    """Whether a broker is a member of its cluster: it lists itself in the metadata."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PROBE_SECONDS).close()
    except OSError:
        return False
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=PROBE_SECONDS).brokers)
    except KafkaException:
        return False
