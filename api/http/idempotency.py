"""The `Idempotency-Key` header: the same key of the same caller means the same command."""

import re
from collections.abc import Sequence
from typing import Final

from api.errors.problems import invalid_request
from schemas.domain.policy import FieldError

HEADER: Final = "Idempotency-Key"
KEY_PATTERN: Final = r'^("([ !#-\[\]-~]|\\["\\]){1,128}"|[!#-\[\]-~]{1,128})$'
"""A quoted string of RFC 9651 with quote and backslash escaped; or bare text without quotes, backslashes and spaces."""
_KEY: Final = re.compile(KEY_PATTERN.removesuffix("$") + r"\Z")


def parse_key(headers: Sequence[str]) -> str | None:
    """Return the key, None without the header.

    Raises:
        ProblemError: `invalid_request` for more than one key, or one that is not 1 to 128 printable characters.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise invalid_request([FieldError(HEADER, "given more than once")])
    text = headers[0].strip()
    if _KEY.match(text) is None:
        raise invalid_request([FieldError(HEADER, "must be 1 to 128 printable ASCII characters, in quotes or bare")])
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
