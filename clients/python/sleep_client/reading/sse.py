"""Bytes of server-sent events."""

from typing import Final, NamedTuple

from sleep_client.reading.errors import BadStreamError

MOST_BYTES: Final = 2_097_152
"""What one event may have. A record of the server is smaller than 256 KiB."""


class Event(NamedTuple):
    """An event.

    Attributes:
        name: "" for a comment, or for what has only an id.
        data: as it came, the lines joined.
        id: None if it came without one.
    """

    name: str
    data: bytes
    id: str | None


class EventParser:
    """Cuts a stream of bytes into events. What is not complete waits."""

    def __init__(self) -> None:
        self._left = b""
        self._return = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """Take bytes and return the events that are complete now.

        Raises:
            BadStreamError: if an event is too long, or is no text.
        """
        chunk = self._return + chunk
        self._return = b""
        if b"\r" in chunk:
            # The format allows three kinds of line ends; one may be cut between two chunks.
            if chunk.endswith(b"\r"):
                chunk, self._return = chunk[:-1], b"\r"
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, self._left = (self._left + chunk).split(b"\n\n")
        if len(self._left) > MOST_BYTES:
            raise BadStreamError(f"an event has more than {MOST_BYTES} bytes")
        return [event for block in blocks if (event := _event(block)) is not None]


def _event(block: bytes) -> Event | None:
    """Return what a block says, without the empty line after it; None for a comment or a wait."""
    name, identifier = "", None
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = _text(value)
        elif field == b"id" and b"\0" not in value:
            identifier = _text(value)
    if not data and identifier is None:
        return None
    return Event(name if data else "", b"\n".join(data), identifier)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadStreamError("it sends bytes that are no text") from None
