"""What is wrong for a caller, or with a stream."""


class ReaderError(Exception):
    """The base of what a reader raises about a tenant that it cannot answer for."""


class NotReady(ReaderError):  # noqa: N818 - a fixed name of the contract
    """The reader knows no states: not yet, not any more, or not in this process. The text says why."""


class NotWatched(ReaderError):  # noqa: N818 - a fixed name of the contract
    """The tenant is not one of those that the reader was opened for."""


class BadStreamError(Exception):
    """A stream sent what is no stream of states. The text says what."""
