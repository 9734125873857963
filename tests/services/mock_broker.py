"""A process that holds librdkafka's mock cluster: prints its address, ends with its standard input."""

import sys

from confluent_kafka import Producer


def main() -> None:
    """Hold one mock broker until standard input ends."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    sys.stdout.write(f"{broker.host}:{broker.port}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
