"""Integration tests: real Kafka and Redis."""
