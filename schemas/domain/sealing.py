"""Values in Redis as bytes: a JSON array that begins with its layout's number, followed by a CRC-32.

Number and checksum have the same place in every layout, so that an older version can distinguish a newer layout from
damage. A changed byte is detected before the value is read, so nothing is ever folded on top of it. If the checksum is
right and a code is unknown, a newer release wrote the value: nothing is damaged, and only an upgrade helps.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec
from pydantic_core import from_json

from schemas.errors import SchemasError

_CHECKSUM_BYTES: Final = 4
_JSON: Final = msgspec.json.Encoder()
Name = TypeVar("Name")


class NewerReleaseError(SchemasError, ValueError):
    """Intact data that only a newer release can read. The message says to upgrade; a rebuild would not help."""


class NewerLayoutError(NewerReleaseError):
    """The layout is newer than this version.

    Attributes:
        layout: their layout.
        newest: the newest layout that this version knows.
    """

    def __init__(self, layout: int, newest: int) -> None:
        super().__init__(f"layout {layout} is newer than {newest}; run the newer version on this partition")
        self.layout = layout
        self.newest = newest


class NewerCodeError(NewerReleaseError):
    """A code or name, of a cause say, that this version does not know, in data that is intact."""

    def __init__(self, what: str, code: object) -> None:
        super().__init__(f"{what} {code!r} is of a newer release; upgrade: run the newer version on this partition")


def named(what: str, code: object, names: Mapping[int, Name]) -> Name:
    """Return what a code of a sealed record stands for; codes are given out in order, from 0.

    Raises:
        NewerCodeError: if the code is beyond those that this version knows.
        ValueError: if it is no code at all.
    """
    if type(code) is not int or code < 0:
        msg = f"{what} {code!r} is no code"
        raise ValueError(msg)
    if code not in names:
        raise NewerCodeError(what, code)
    return names[code]


def seal(content: bytes) -> bytes:
    """Return the content followed by its checksum."""
    return content + crc32(content).to_bytes(_CHECKSUM_BYTES, "big")


def unseal(sealed: bytes) -> bytes:
    """Return the content of sealed bytes.

    Raises:
        ValueError: if the checksum is wrong.
    """
    content, checksum = sealed[:-_CHECKSUM_BYTES], sealed[-_CHECKSUM_BYTES:]
    if crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        msg = "damaged: its checksum is wrong"
        raise ValueError(msg)
    return content


def pack_fields(layout: int, fields: list[Any]) -> bytes:
    """Return the sealed array of a layout's number and fields."""
    return seal(_JSON.encode([layout, *fields]))


def unpack_fields(packed: bytes, newest: int) -> tuple[int, list[Any]]:
    """Return number and fields of a layout from 1 to `newest`.

    Raises:
        NewerLayoutError: if a newer version wrote it.
        ValueError: if the bytes are damaged, or no such array.
    """
    fields: Any = from_json(unseal(packed))
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], int) or fields[0] < 1:
        msg = "not an array led by the number of a layout"
        raise ValueError(msg)
    layout, *fields = fields
    if layout > newest:
        raise NewerLayoutError(layout, newest)
    return layout, fields
