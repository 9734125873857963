"""Texts for bytes that the parser refuses: what is wrong, and where."""

from typing import Final, NamedTuple

from schemas.http.head import protocol_fault, shown
from schemas.http.pieces import Part

_TLS: Final = b"\x16\x03"


class Where(NamedTuple):
    """Where the parser was.

    Attributes:
        part: the part of the request.
        line: the request line, as far as it has come.
        last_field: the last header field that was read, None where there is none.
        body_bytes: how many bytes of the body were read.
    """

    part: Part
    line: bytes
    last_field: bytes | None
    body_bytes: int


def detail_of(reason: str, where: Where) -> str:
    """Return the detail of an early answer.

    Args:
        reason: the parser's, such as `Invalid header token`.
        where: where it was found.
    """
    sentence = reason[:1].lower() + reason[1:]
    if where.part is Part.BODY:
        return (
            f"the body has not the framing that the head names, behind {where.body_bytes} bytes of it: {sentence}; "
            "send a Content-Length or chunks"
        )
    if where.part is Part.FIELDS:
        behind = "among the first fields" if where.last_field is None else f"behind the field {shown(where.last_field)}"
        return f"the head is malformed, {behind}: {sentence}; send one field a line, as name: value"
    if where.line.startswith(_TLS):
        return "a TLS handshake came to a port that speaks plain HTTP; use http://, or a proxy that ends TLS"
    named = protocol_fault(where.line)
    if named is not None:
        return named
    return (
        f"the request line is not that of HTTP/1.1, it begins with {shown(where.line)}: {sentence}; "
        "check any proxy between the client and this server"
    )
