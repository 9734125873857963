"""The HTTP protocol that the API and the worker's status page serve with."""
