"""The base of this package's errors."""


class ApiError(Exception):
    """The base of all errors of this package."""
