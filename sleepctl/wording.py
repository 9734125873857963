"""What a model refuses, in words: its own messages show regular expressions, which tell a person little."""

import re
from collections.abc import Mapping
from typing import Final

from schemas.values import IN_WORDS

# An API of another version may tell a pattern, and one that is not known here.
_UNKNOWN: Final = "does not have the form that is allowed here"
_PATTERN: Final = re.compile(r"String should match pattern '([^']*)'")
# What a model says in Python's words, in those of who wrote JSON or a variable.
_IN_PYTHON: Final = {
    "Value error, ": "",
    "Field required": "missing",
    "Extra inputs are not permitted": "is not known",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "an object",
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
}
_BESIDE: Final = re.compile(r" or instance of \w+|, unable to parse string as an? \w+| after validation, not \d+")
_SUBJECT: Final = re.compile(r"(?:String|Input|Value|List|Tuple|Dictionary) should (?=be|have|match)")


def _allowed(found: re.Match[str]) -> str:
    words = IN_WORDS.get(found[1])
    return _UNKNOWN if words is None else f"must be {words}"


def in_words(text: str, fields: Mapping[str, str] | None = None) -> str:
    """Return a message of a model for people.

    Args:
        text: findings as `field: reason`, with `; ` between them.
        fields: what the caller knows each field as, where that is another name.
    """
    for python, words in _IN_PYTHON.items():
        text = text.replace(python, words)
    text = _PATTERN.sub(_allowed, _BESIDE.sub("", text))
    text = _SUBJECT.sub("must ", text)
    for field, name in (fields or {}).items():
        text = re.sub(rf"(?<![\w.]){re.escape(field)}: ", f"{name} ", text)
    return text
