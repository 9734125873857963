"""Kafka and Redis, as the API reads and writes them; nothing else here has a client of either."""
