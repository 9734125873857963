"""When a token ends, as far as its bearer can tell."""

import binascii
import json
from base64 import urlsafe_b64decode
from typing import Final

_PARTS: Final = 3


def ends_at(token: str) -> int | None:
    """Return the `exp` of a JWT in milliseconds since the epoch; None if it has none, or is another kind of token.

    Nothing is verified: the server does that.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return int(claims["exp"] * 1000)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error):
        return None
