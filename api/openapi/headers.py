"""The headers of responses in OpenAPI, and which response has which."""

from collections.abc import Iterable
from typing import Any, Final

_NUMBER: Final = {"type": "integer", "format": "int64", "minimum": 0}
_TEXT: Final = {"type": "string"}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "ETag": {"description": "The policy's version, in quotes: send it as `If-Match`.", "schema": _TEXT},
    "Location": {"description": "Where the outcome of the command is found.", "schema": _TEXT},
    "Preference-Applied": {"description": "Which preference of `Prefer` was followed.", "schema": _TEXT},
    "RateLimit": {"description": "What is left of each rate limit, and when it is full again.", "schema": _TEXT},
    "RateLimit-Policy": {"description": "The rate limits that apply.", "schema": _TEXT},
    "Retry-After": {"description": "After how many seconds to try again.", "schema": _NUMBER},
    "WWW-Authenticate": {"description": "The challenge (RFC 6750).", "schema": _TEXT},
    "X-Request-Id": {"description": "Finds the request in the log.", "schema": {"type": "string", "format": "uuid"}},
}
"""All headers for clients, by name."""

ALWAYS: Final = {202: ("Retry-After",), 401: ("WWW-Authenticate",), 429: ("Retry-After",)}
"""The headers of every response with a status, on any route."""
_MAYBE: Final = {503: ("Retry-After",)}
_BEFORE_LIMITS: Final = frozenset({401})
_LIMITS: Final = ("RateLimit", "RateLimit-Policy")


def headers_of(status: int, always: Iterable[str] = (), maybe: Iterable[str] = ()) -> dict[str, Any]:
    """Return the `headers` of an answer.

    Args:
        status: of the response; some headers follow from it.
        always: further headers that the response always has.
        maybe: further headers that it may have.
    """
    limits = () if status in _BEFORE_LIMITS else _LIMITS
    required = ("X-Request-Id", *ALWAYS.get(status, ()), *always)
    optional = (*limits, *_MAYBE.get(status, ()), *maybe)
    named = dict.fromkeys(optional, False) | dict.fromkeys(required, True)
    return {name: HEADERS[name] | {"required": named[name]} for name in sorted(named)}
