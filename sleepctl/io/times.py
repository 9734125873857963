"""Times as people write them on the command line. Pure."""

import re
from datetime import UTC, datetime
from typing import Final

from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MILLISECONDS: Final = re.compile(r"[0-9]{1,16}")


def time_in(text: str, option: str, now: int) -> int:
    """Return the time in milliseconds that a person wrote: ISO 8601 with its zone, how long ago, or milliseconds.

    Args:
        text: such as `2026-11-30T09:00:00Z`, `90m` (90 minutes ago) or `1795334837992`.
        option: names the option in an error.
        now: the present time in milliseconds.

    Raises:
        CommandError: if it is none of these; exit status 2.
    """
    if (ago := _AGO.fullmatch(text)) is not None:
        return max(0, now - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        if _MILLISECONDS.fullmatch(text):
            at = datetime.fromtimestamp(int(text) / 1000, UTC)
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            f"{option} {text!r} is neither a time such as 2026-11-30T09:00:00Z, nor how long ago, such as 90m, 2h or "
            "7d, nor milliseconds since the epoch",
            WRONG_SETTINGS,
        ) from None
    if at.tzinfo is None:
        raise CommandError(
            f"{option} {text!r} has no time zone: add Z for UTC, or an offset such as +01:00", WRONG_SETTINGS
        )
    return max(0, round(at.timestamp() * 1000))
