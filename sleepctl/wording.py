"""What a model refuses, in words: its own messages show regular expressions, which tell a person little."""

import re
from collections.abc import Mapping
from typing import Final

from schemas.values import IN_WORDS

# An API of another version may tell a pattern, and one that is not known here.
_UNKNOWN: Final = "does not have the form that is allowed here"
_PATTERN: Final = re.compile(r"String should match pattern '([^']*)'")
_SUBJECT: Final = re.compile(r"(?:String|Input) should (?=be|have|match)")


def _allowed(found: re.Match[str]) -> str:
    words = IN_WORDS.get(found[1])
    return _UNKNOWN if words is None else f"must be {words}"


def in_words(text: str, fields: Mapping[str, str] | None = None) -> str:
    """Return a message of a model for people.

    Args:
        text: findings as `field: reason`, with `; ` between them.
        fields: what the caller knows each field as, where that is another name.
    """
    text = _PATTERN.sub(_allowed, text.replace("Value error, ", ""))
    text = _SUBJECT.sub("must ", text)
    for field, name in (fields or {}).items():
        text = re.sub(rf"(?<![\w.]){re.escape(field)}: ", f"{name} ", text)
    return text
