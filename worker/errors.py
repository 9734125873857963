"""The base of the worker's errors."""


class WorkerError(Exception):
    """Base of errors that a person reads.

    The text says what happened, to which partition, topic or tenant, and what to do next. It holds no secret.
    """
