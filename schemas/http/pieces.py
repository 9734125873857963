"""Where a connection's bytes are cut before they are parsed. Pure.

A piece holds at most one request line, or the end of one head, or bytes of one body. So whoever parses piece by piece
stops between two requests, and knows in which part of a request an error was found. A smaller piece does no harm.
"""

import re
from enum import Enum
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\n"
_OVERLAP: Final = len(_HEAD_END) - 1
_BLANK_LINES: Final = re.compile(rb"[\r\n]*")


class Part(Enum):
    """A part of a request: its line, its header fields, or its body with the trailer."""

    LINE = "line"
    FIELDS = "fields"
    BODY = "body"


class Pieces:
    """Follows one connection's bytes.

    Attributes:
        part: what comes next.
        line: the request line of the request that is coming, as far as it has come.
    """

    def __init__(self) -> None:
        self.part = Part.LINE
        self.line = b""
        self._body_left = 0
        self._tail = b""

    def end(self, data: bytes, begin: int) -> int:
        """Return where the piece ends that begins there.

        Args:
            data: what is not parsed yet.
            begin: where the piece begins, before the end of the data.
        """
        if self._body_left:
            return min(begin + self._body_left, len(data))
        if self.part is Part.LINE:
            at = begin
            if not self.line and (blank := _BLANK_LINES.match(data, begin)) is not None:
                at = blank.end()
            return _behind(data.find(_LINE_END, at), _LINE_END, data)
        # The empty line may have begun in the piece before.
        across = (self._tail + data[begin : begin + _OVERLAP]).find(_HEAD_END)
        if across >= 0:
            return begin + across + len(_HEAD_END) - len(self._tail)
        return _behind(data.find(_HEAD_END, begin), _HEAD_END, data)

    def take(self, piece: bytes) -> bool:
        """Note a piece; call it before the piece is parsed. Return whether the request line has ended with it."""
        if self._body_left:
            self._body_left -= len(piece)
            return False
        self._tail = (self._tail + piece[-_OVERLAP:])[-_OVERLAP:]
        if self.part is not Part.LINE:
            return False
        self.line = (self.line + piece).lstrip(b"\r\n")
        if not self.line.endswith(_LINE_END):
            return False
        self.part = Part.FIELDS
        return True

    def body(self, length: int) -> None:
        """Note that a head has ended, and that a body of so many bytes follows it; 0 for chunks and for none."""
        self.part = Part.BODY
        self._body_left = length
        self._tail = b""

    def next_request(self) -> None:
        """Note that a request has ended."""
        self.part = Part.LINE
        self.line = b""
        self._body_left = 0
        self._tail = b""


def _behind(at: int, what: bytes, data: bytes) -> int:
    return len(data) if at < 0 else at + len(what)
