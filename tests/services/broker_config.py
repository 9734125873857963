"""The settings of a small single-node Kafka, the same for containers and processes."""

import os
from collections.abc import Mapping
from typing import Final

JVM: Final = "SLEEP_TEST_JVM"
"""Names the variable that chooses the compiler of Kafka's JVM: `quick` (the default), or `full` as in production."""
HEAP_OPTIONS = ("-Xms256m", "-Xmx512m")


def jvm_options() -> tuple[str, ...]:
    """One serially collected JVM. With the first compiler alone, for tests, it starts in about half the time."""
    quick = os.environ.get(JVM, "quick") == "quick"
    return ("-XX:+UseSerialGC", *(("-XX:TieredStopAtLevel=1",) if quick else ()))


def broker_config(*, listen: str, advertised: str, controller: str, log_dir: str) -> dict[str, str]:
    """Properties of a broker that is its own controller.

    `listen` and `controller` are `host:port` to bind, `advertised` is where clients find it.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{listen},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_dir,
        # As by default: no client of ours may lean on it, or bring back a topic that was deleted.
        "auto.create.topics.enable": "true",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "5",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "2",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        # A killed broker may register again only after its old session has ended; the default is 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The default of 128 MiB is a quarter of the heap given here.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }


def as_environment(config: Mapping[str, str]) -> dict[str, str]:
    """The same as variables of the public `apache/kafka` image (`node.id` is `KAFKA_NODE_ID`)."""
    return {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in config.items()}


def as_properties(config: Mapping[str, str]) -> str:
    """The same as the text of a properties file."""
    return "".join(f"{key}={value}\n" for key, value in config.items())
