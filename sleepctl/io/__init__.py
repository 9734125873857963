"""Clients of the API and of Kafka, keys, and errors of the worker."""
