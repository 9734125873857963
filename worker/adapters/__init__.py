"""Redis and Kafka, behind the protocols of `worker.ports`."""
