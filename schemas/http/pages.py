"""Pages about the state of a process, or of all processes of one command."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import to_json

PageName = Literal["status", "metrics", "readyz"]
JSON: Final = "application/json"
OK: Final = 200
UNAVAILABLE: Final = 503


class Page(NamedTuple):
    """An answer: its HTTP status, its body, and the media type of the body."""

    status: int
    body: str
    media_type: str = JSON


Pages = Callable[[PageName], Awaitable[Page]]
"""Return one of the pages."""


def document(content: dict[str, Any], *, good: bool = True) -> Page:
    """Return a page of JSON, with 503 if it is not good."""
    return Page(OK if good else UNAVAILABLE, to_json(content).decode())
