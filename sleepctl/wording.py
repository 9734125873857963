"""What a model refuses, in words: its own messages show regular expressions, which tell a person little."""

import re
from collections.abc import Mapping
from typing import Final

from schemas.values import TENANT_PATTERN

TENANT_IN_WORDS: Final = "must be 1 to 128 of A-Z a-z 0-9 . _ : @ -"
_PREFIX_IN_WORDS: Final = "must be 1 to 64 of A-Z a-z 0-9 . _ -"
_IN_WORDS: Final = {
    TENANT_PATTERN: TENANT_IN_WORDS,
    r"^[ -~]{1,128}$": "must be 1 to 128 printable ASCII characters",
    r"^[^\x00-\x1f\x7f-\x9f]*$": "must not hold control characters",
    r"^[^@\x00-\x1f\x7f-\x9f]*$": "must hold neither @ nor control characters",
    r"^[A-Za-z0-9._-]{1,64}$": _PREFIX_IN_WORDS,
    r"^(embedded|https?://.+)$": "must be `embedded`, or a URL with http:// or https://",
}
# A newer API may refuse by a pattern that this version does not know.
_UNKNOWN: Final = "does not have the form that is allowed here"
_PATTERN: Final = re.compile(r"String should match pattern '([^']*)'")
_SUBJECT: Final = re.compile(r"(?:String|Input) should (?=be|have|match)")


def in_words(text: str, fields: Mapping[str, str] | None = None) -> str:
    """Return a message of a model for people.

    Args:
        text: findings as `field: reason`, with `; ` between them.
        fields: what the caller knows each field as, where that is another name.
    """
    text = _PATTERN.sub(lambda found: _IN_WORDS.get(found[1], _UNKNOWN), text.replace("Value error, ", ""))
    text = _SUBJECT.sub("must ", text)
    for field, name in (fields or {}).items():
        text = re.sub(rf"(?<![\w.]){re.escape(field)}: ", f"{name} ", text)
    return text
