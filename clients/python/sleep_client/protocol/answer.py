"""An answer of the server, and what is readable in it."""

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

_LATER: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_SHOWN: Final = 300
_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a1-\ud7ff\ue000-\uffff]+")


class Answer(NamedTuple):
    """An answer, as it came.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        body: its first 64 KiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date(self) -> float | None:
        """The server's time in seconds since the epoch; None if the answer has none."""
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object, empty if it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def retry_after(self) -> int | None:
        """`Retry-After` in seconds, None for anything else. The server sends no dates."""
        value = self.headers.get("retry-after")
        return None if value is None or _SECONDS.fullmatch(value) is None else int(value)

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _LATER or self.status >= _SERVER_ERROR

    @property
    def finding(self) -> str:
        """Status, code and detail, for people."""
        document = self.document
        words = [str(document[name]) for name in ("code", "detail") if isinstance(document.get(name), str)]
        return _UNPRINTABLE.sub(" ", ": ".join([f"HTTP {self.status}", *words]))[:_SHOWN]
