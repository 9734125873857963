"""Reads the JSON of a report: each missing or wrong field is an error that names its path."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

from schemas.domain.policy import FieldError
from schemas.domain.values import time_ms
from schemas.wire.cloudevents import UndecodableError, read_json

T = TypeVar("T")
DOCUMENT: Final = "(document)"
_PATH_SHOWN: Final = 128
_MISSING: Final = "required, but missing"


def wrong(field: str, reason: str) -> UndecodableError:
    """Return the error for a wrong field.

    Args:
        field: the path of the field, or where else the value was looked for.
        reason: a sentence that follows the field's name.
    """
    field = field[:_PATH_SHOWN]
    return UndecodableError("invalid_event", f"{field}: {reason}", [FieldError(field, reason)])


def listed(values: Mapping[str, object]) -> str:
    """Return the accepted values in words."""
    *first, last = values
    return f"{', '.join(first)} or {last}" if first else last


class Found(NamedTuple):
    """A text, and the field in which it was found."""

    text: str
    field: str


class Part(NamedTuple):
    """An object of a document, and the path of its field.

    All methods raise `UndecodableError` where a field is missing or has another type.
    """

    members: dict[str, Any]
    path: str = ""

    def at(self, name: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def required(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        """Return a member."""
        if name not in self.members:
            raise wrong(self.at(name), _MISSING)
        return self.members[name]

    def found(self, name: str) -> Found:
        """Return a member that is a text, with its path."""
        value = self.required(name)
        if not isinstance(value, str):
            raise wrong(self.at(name), "must be a string")
        return Found(value, self.at(name))

    def flag(self, name: str) -> bool:
        """Return a member that is true or false."""
        value = self.required(name)
        if not isinstance(value, bool):
            raise wrong(self.at(name), "must be true or false")
        return value

    def whole(self, name: str) -> int:
        """Return a member that is a whole number, 0 or more."""
        value = self.required(name)
        if type(value) is not int or value < 0:
            raise wrong(self.at(name), "must be an integer, 0 or more")
        return value

    def one_of(self, name: str, values: Mapping[str, T]) -> T:
        """Return what a member means that is one of these texts."""
        text = self.found(name).text
        if text not in values:
            raise wrong(self.at(name), f"must be {listed(values)}")
        return values[text]

    def time(self, name: str) -> int:
        """Return a member that is a time of RFC 3339, in ms since the epoch."""
        return milliseconds(self.found(name))

    def part(self, name: str) -> "Part":
        """Return a member that is an object."""
        return as_part(self.required(name), self.at(name))

    def parts(self, name: str) -> "list[Part]":
        """Return a member that is an array of objects."""
        value = self.required(name)
        if not isinstance(value, list):
            raise wrong(self.at(name), "must be a JSON array")
        return [as_part(item, f"{self.at(name)}[{index}]") for index, item in enumerate(value)]


def as_part(value: Any, path: str) -> Part:  # noqa: ANN401 - any JSON
    """Return an object of a document.

    Raises:
        UndecodableError: if it is no object.
    """
    if not isinstance(value, dict):
        raise wrong(path or DOCUMENT, "must be a JSON object")
    return Part(value, path)


def document_of(value: bytes | None) -> Part:
    """Return the document in the value of a record, or in the body of a request.

    Raises:
        UndecodableError: with code `oversize`, `undecodable` or `invalid_event`.
    """
    return as_part(read_json(value), "")


def milliseconds(time: Found) -> int:
    """Return a time of RFC 3339 in ms since the epoch.

    Raises:
        UndecodableError: if it is none, or lies before 1970.
    """
    try:
        at = time_ms(time.text)
    except (ValueError, OverflowError, TypeError):
        raise wrong(time.field, "must be a time (2026-01-31T12:00:00Z)") from None
    if at < 0:
        raise wrong(time.field, "must not lie before 1970")
    return at
