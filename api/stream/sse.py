"""Server-sent events on the wire. Pure."""

from typing import Final

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment: clients ignore it, and whatever stands between sees that the stream lives."""
FORGET_ID: Final = b"id:\n"
"""Makes a client forget the last id, so that it does not send one that is no longer good."""


def retry(milliseconds: int) -> bytes:
    """Return the line that says how long a client waits before it connects again. The next block begins with it."""
    return b"retry: %d\n" % milliseconds


def id_line(value: str) -> bytes:
    """Return the line that names an event; it stands before the event's body."""
    return b"id: %s\n" % value.encode()


def body(event: str, data: bytes) -> bytes:
    """Return an event without its id. A line break in the data becomes a field of its own, as the format wants."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"event: %s\n" % event.encode() + b"".join(b"data: %s\n" % line for line in lines) + b"\n"
