"""What Redis holds as bytes: a JSON array led by the number of its layout, and a CRC-32 behind it.

Number and checksum are in the same place in every layout, so that an older version can tell a newer layout from
damage. A flipped byte is found before anything is read from it, and never folded on top of.
"""

from typing import Any, Final
from zlib import crc32

from pydantic_core import from_json, to_json

_CHECKSUM_BYTES: Final = 4


class NewerLayoutError(ValueError):
    """Bytes whose layout this version does not know."""

    def __init__(self, layout: int, newest: int) -> None:
        super().__init__(f"layout {layout} is newer than {newest}; run the newer version on this partition")


def seal(content: bytes) -> bytes:
    """Return the content with its checksum behind it."""
    return content + crc32(content).to_bytes(_CHECKSUM_BYTES, "big")


def unseal(sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        ValueError: if the checksum is not that of the content.
    """
    content, checksum = sealed[:-_CHECKSUM_BYTES], sealed[-_CHECKSUM_BYTES:]
    if crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        msg = "damaged: its checksum is wrong"
        raise ValueError(msg)
    return content


def pack_fields(layout: int, fields: list[Any]) -> bytes:
    """Return the sealed array of a layout's number and fields."""
    return seal(to_json([layout, *fields]))


def unpack_fields(packed: bytes, newest: int) -> tuple[int, list[Any]]:
    """Return number and fields of a layout from 1 to `newest`.

    Raises:
        NewerLayoutError: if a newer version wrote it.
        ValueError: if the bytes are damaged, or no such array.
    """
    found: Any = from_json(unseal(packed))
    if not isinstance(found, list) or not found or not isinstance(found[0], int) or found[0] < 1:
        msg = "not an array led by the number of a layout"
        raise ValueError(msg)
    layout, *fields = found
    if layout > newest:
        raise NewerLayoutError(layout, newest)
    return layout, fields
