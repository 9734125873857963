"""Server-sent events on the wire. Pure."""

from typing import Final

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment. Clients ignore it, and proxies see that the stream is alive."""
FORGET_ID: Final = b"id:\n"
"""Makes a client forget its last id, which is no longer valid."""


def retry(milliseconds: int) -> bytes:
    """Return the line with the client's wait before it connects again. It begins the next block."""
    return b"retry: %d\n" % milliseconds


def id_line(value: str) -> bytes:
    """Return the `id` line of an event, which goes before the event's body."""
    return b"id: %s\n" % value.encode()


def body(event: str, data: bytes) -> bytes:
    """Return an event without its id. Each line of the data becomes a `data` field, as the format requires."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"event: %s\n" % event.encode() + b"".join(b"data: %s\n" % line for line in lines) + b"\n"
