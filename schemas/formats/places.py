"""Where a message names its tenant, its breaker and its instance.

A place is a text: `subject`, `key`, `caller`, `header:NAME`, `field:PATH`, `label:NAME` or `pattern:PATTERN`.

- `field:PATH` is a field of the document, with dots between the names of objects.
- `pattern:PATTERN` matches the breaker's name. `{tenant}` is the tenant, and `{NAME}` is any other text. Each of them
  takes at least one character, and ends before the first character that follows it in the pattern. So there is only one
  way to match a name, and matching takes time linear in the name.
"""

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

from schemas.formats.parts import Found, Part, wrong
from schemas.wire.cloudevents import ReceivedHeaders

_LONGEST: Final = 200
_NAMES: Final = {"header": r"[!-~]+", "field": r"[^.\s]+(\.[^.\s]+)*", "label": r"[A-Za-z_][A-Za-z0-9_]*"}
_GROUP: Final = re.compile(r"\{([a-z_]+)\}")
_GOBREAKER_KEY: Final = "gobreaker:state:"


class Message(NamedTuple):
    """A message from an emitter: a record of Kafka, or a request.

    Attributes:
        value: the value of a record, or the body of a request.
        headers: headers; names have any case.
        key: the key of a record.
        caller: the tenant that a request is about; None on Kafka, and if the request names none.
        source: the `source` of the events.
        id: the first part of the events' ids.
    """

    value: bytes | None
    headers: ReceivedHeaders = ()
    key: bytes | None = None
    caller: str | None = None
    source: str = "/"
    id: str = "0"


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern on a breaker's name as a regular expression that never backtracks.

    Raises:
        ValueError: if it is invalid.
    """
    pieces = _GROUP.split(pattern)
    literals, groups = pieces[::2], pieces[1::2]
    if groups.count("tenant") != 1:
        msg = "a pattern must have {tenant} once"
        raise ValueError(msg)
    if any("{" in literal or "}" in literal for literal in literals):
        msg = "a pattern may have braces around names of a to z and _ only"
        raise ValueError(msg)
    expression = re.escape(literals[0])
    for index, (group, literal) in enumerate(zip(groups, literals[1:], strict=True), 1):
        if not literal and index < len(groups):
            msg = "a pattern must have a character between two names in braces"
            raise ValueError(msg)
        # Possessive: what a name took is never given back.
        text = f"[^{re.escape(literal[0])}]++" if literal else ".++"
        expression += f"(?P<tenant>{text})" if group == "tenant" else text
        expression += re.escape(literal)
    return re.compile(expression, re.DOTALL)


def kind_of(place: str) -> str:
    """Return the kind of a place, such as `header`."""
    return place.partition(":")[0]


def checked(place: str) -> str:
    """Return a place from a setting.

    Raises:
        ValueError: if it is none.
    """
    kind, colon, name = place.partition(":")
    if len(place) > _LONGEST:
        msg = f"it must have at most {_LONGEST} characters"
        raise ValueError(msg)
    if kind == "pattern" and name:
        compiled(name)
    elif kind in _NAMES:
        if re.fullmatch(_NAMES[kind], name) is None:
            msg = f"{kind}: must be followed by the name of a {kind}"
            raise ValueError(msg)
    elif kind not in ("subject", "key", "caller") or colon:
        msg = "it must be like subject, key, header:NAME, field:PATH, label:NAME or pattern:PATTERN"
        raise ValueError(msg)
    return place


def look_up(place: str, message: Message, part: Part, breaker: Found | None = None) -> Found:
    """Return the text at a place, and the name of the place; the text is empty if nothing is there.

    Args:
        place: a checked place, except `subject`.
        message: the message.
        part: the object of its document in which fields and labels are looked up.
        breaker: the breaker's name, if it is known.

    Raises:
        UndecodableError: if it is no text, is there twice, or the pattern does not match.
    """
    kind, _, name = place.partition(":")
    match kind:
        case "caller":
            return Found(message.caller or "", "X-Tenant-Id")
        case "key":
            return _decoded(message.key, "key")
        case "header":
            return _header(message.headers, name)
        case "field":
            return _text(part, name.split("."))
        case "label":
            return _text(part, ["labels", name])
        case _:
            return _matched(name, breaker or Found("", "name of the breaker"))


def without_prefix(name: Found) -> Found:
    """Return the name of a breaker whose key in gobreaker's store was found."""
    return name._replace(text=name.text.removeprefix(_GOBREAKER_KEY))


def _decoded(raw: bytes | None, field: str) -> Found:
    try:
        return Found((raw or b"").decode(), field)
    except UnicodeDecodeError:
        raise wrong(field, "must be UTF-8") from None


def _header(headers: ReceivedHeaders, name: str) -> Found:
    field = f"header {name}"
    values = [raw for header, raw in headers if header.lower() == name.lower()]
    if len(values) > 1:
        raise wrong(field, "must be there once")
    return _decoded(values[0] if values else None, field)


def _text(part: Part, path: list[str]) -> Found:
    value: Any = part.members
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    field = part.at(".".join(path))
    if value is not None and not isinstance(value, str):
        raise wrong(field, "must be a string")
    return Found(value or "", field)


def _matched(pattern: str, breaker: Found) -> Found:
    match = compiled(pattern).fullmatch(breaker.text)
    if match is None:
        raise wrong(breaker.field, f"must match the pattern {pattern}")
    return Found(match["tenant"], breaker.field)
