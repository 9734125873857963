"""The `Prefer` header (RFC 7240): how long the caller waits for the outcome."""

from collections.abc import Iterable
from typing import Final, NamedTuple

DEFAULT_WAIT_SECONDS: Final = 10
LONGEST_WAIT_SECONDS: Final = 60
_MOST: Final = 32
_MOST_DIGITS: Final = 9


class Preference(NamedTuple):
    """The preferences of a request; `wait` in seconds, at most `LONGEST_WAIT_SECONDS`, None if absent."""

    wait: int | None = None
    respond_async: bool = False

    def patience(self, *, async_mode: bool) -> int:
        """Return the seconds to wait for the outcome; 0 means to answer 202 at once."""
        if async_mode:
            return 0
        if self.wait is not None:
            return self.wait
        return 0 if self.respond_async else DEFAULT_WAIT_SECONDS

    def applied(self, *, async_mode: bool, answered: bool, waited: bool) -> str | None:
        """Return the value of `Preference-Applied`, None if no preference was applied.

        Args:
            async_mode: whether the body asks for 202 at once, which wins.
            answered: whether the outcome is known.
            waited: whether the answer was waited for as long as the caller wanted.
        """
        parts = []
        if self.respond_async and not answered:
            parts.append("respond-async")
        if self.wait is not None and waited and not async_mode:
            parts.append(f"wait={self.wait}")
        return ", ".join(parts) or None


def parse_prefer(headers: Iterable[str]) -> Preference:
    """Read all `Prefer` headers. Unknown and malformed preferences are ignored; the first of a kind counts.

    Preferences after the 32nd are ignored too.
    """
    wait: int | None = None
    respond_async = False
    for item in ",".join(headers).split(",", _MOST)[:_MOST]:
        name, _, value = item.partition(";")[0].partition("=")
        match name.strip().lower():
            case "respond-async":
                respond_async = True
            case "wait" if wait is None:
                wait = _seconds(value.strip().strip('"'))
            case _:
                pass
    return Preference(wait, respond_async)


def _seconds(value: str) -> int | None:
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        return None
    return min(int(value), LONGEST_WAIT_SECONDS)
