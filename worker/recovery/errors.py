"""What can keep a partition from being rebuilt or verified."""

from worker.errors import WorkerError


class RecoveryError(WorkerError):
    """Recovery cannot go on: workers run, a topic does not fit the settings, or a service does not answer."""


class RefusedError(RecoveryError):
    """One partition cannot be rebuilt, or only after something else is done. Other partitions may be rebuilt."""


class ContradictionError(RecoveryError):
    """Topics and Redis cannot stem from one history. The text says what contradicts what, and where."""


class OtherLogError(ContradictionError):
    """The log is not the one from which the states stem: it was truncated, or its topic was recreated."""
