"""What a head must be beyond what the parser checks: one meaning, whoever stands between the client and this server.

A proxy may route, allow or cut by the path, the host or the framing. Where it could read one of these in another way
than this server does, the request is refused (RFC 9112, sections 3.2, 6.1 and 6.3; RFC 3986, section 6.2.2).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from schemas.http.host import host_of
from schemas.http.percent import encoding_fault

Fields = Sequence[tuple[bytes, bytes]]
"""Names in lower case, with their values."""

_LINE: Final = re.compile(rb"[^ ]+ [^ ]+ ([^ \r\n]+)\r?\n?")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TARGET: Final = re.compile(rb"(?:([Hh][Tt][Tt][Pp][Ss]?)://([^/?#]*)(?=[/?]|\Z)|(?=/))(/[^?#]*)?((?:\?[^#]*)?)")
_PATH: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_DOTS: Final = frozenset({b".", b".."})
_ONCE: Final = (b"host", b"transfer-encoding", b"content-length", b"content-type")
_CHUNKED: Final = b"chunked"
_SHOWN: Final = 40


class Target(NamedTuple):
    """What a request is for: `authority` as it was sent, None where the target names none."""

    scheme: bytes
    authority: bytes | None
    path: bytes
    query: bytes

    @property
    def origin_form(self) -> bytes:
        """The path and the query alone."""
        return self.path + self.query


def target_of(text: bytes) -> Target | None:
    """Return a target in origin form or absolute form (RFC 9112, section 3.2); None where it is in neither."""
    parts = _TARGET.fullmatch(text)
    if parts is None:
        return None
    scheme, authority, path, query = parts.groups()
    return Target((scheme or b"").lower(), authority, path or b"/", query)


def protocol_fault(line: bytes) -> str | None:
    """Return why a request line is refused that the parser takes: it takes RTSP and ICE beside HTTP.

    Args:
        line: the request line, with its end or without.
    """
    parts = _LINE.fullmatch(line)
    if parts is None or _VERSION.fullmatch(parts[1]) is not None:
        return None
    return f"the request line names the protocol {shown(parts[1])}; send HTTP/1.1"


def fault_of(target: bytes, version: str, fields: Fields) -> str | None:
    """Return why a head is refused, and what to do; None where it has one meaning.

    Args:
        target: the request's target, as it came.
        version: of HTTP, such as `1.1`.
        fields: the head's fields.
    """
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _ONCE:
            if name in values:
                return f"the header {name.decode()} is there more than once; send it once"
            values[name] = value.strip(b" \t")
    host = values.get(b"host")
    return _host_fault(version, host) or _framing_fault(version, values) or _target_fault(target, host)


def shown(text: bytes) -> str:
    """Return a piece of a request as a detail shows it: short, and in ASCII."""
    cut = text[:_SHOWN].decode("ascii", "backslashreplace")
    return repr(cut)[1:-1] + ("…" if len(text) > _SHOWN else "")


def _host_fault(version: str, host: bytes | None) -> str | None:
    if not host:
        if version == "1.0":
            return None
        return f"the header host is {'missing' if host is None else 'empty'}; HTTP/1.1 needs it"
    if host_of(host) is None:
        return f"the header host is not a host with an optional port: {shown(host)}"
    return None


def _framing_fault(version: str, values: Mapping[bytes, bytes]) -> str | None:
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is not None and not length.isdigit():
        return f"the header content-length is not a number of bytes: {shown(length)}"
    if coding is None:
        return None
    if length is not None:
        return "content-length and transfer-encoding are both there; send one of them"
    if coding.lower() != _CHUNKED or version == "1.0":
        return "the only transfer-encoding that is read is chunked, of HTTP/1.1; send a content-length"
    return None


def _target_fault(text: bytes, host: bytes | None) -> str | None:
    target = target_of(text)
    if target is None:
        return f"the target is not a path with an optional query; it has no fragment: {shown(text)}"
    return _authority_fault(target, host) or _path_fault(target.path)


def _authority_fault(target: Target, host: bytes | None) -> str | None:
    """Return why an authority is refused: it counts, so what a proxy may have read in `Host` is the same."""
    if target.authority is None:
        return None
    named = host_of(target.authority)
    if named is None:
        return f"the target's authority is not a host with an optional port: {shown(target.authority)}"
    beside = host_of(host) if host else None
    if beside is not None and beside.on(target.scheme) != named.on(target.scheme):
        return "the target names another host than the header host; send the same in both"
    return None


def _path_fault(path: bytes) -> str | None:
    if _PATH.fullmatch(path) is None:
        return "the path holds a character that only its percent-encoding may stand for, or a broken encoding"
    if any(segment.partition(b";")[0] in _DOTS for segment in path.split(b"/")):
        return "the path has a segment of dots; send the path that it comes to"
    hidden = encoding_fault(path)
    return None if hidden is None else f"the path {hidden}"
