"""Bounds on the JSON of a request, checked before it is parsed.

The parsers accept any JSON of 64 KiB. An object of 6,200 unknown members costs a hundred times as much as a command,
since each member becomes a finding. The bounds apply to HTTP requests only, and not to the decoder of the log.

Only the structure is read here. Text that is not JSON passes, and the parser refuses it.
"""

import json
import re
from typing import Final

from api.errors.problems import ProblemError, invalid_request
from schemas.domain.policy import FieldError

MOST_MEMBERS: Final = 32
"""Members of one object. The largest valid one has 8; an event may have extensions besides."""
MOST_DEPTH: Final = 16
"""Nesting of objects and arrays. A policy has 3 levels; ignored parts of an event may have more."""
COMMAND_PARTS: Final = 1024
"""Parts of a command or a policy: names, brackets and commas. 32 rules and a schedule have 320."""
EVENT_PARTS: Final = 8192
"""Parts of a request with breaker events. The most events that 64 KiB hold are 537, with 14 parts each."""
REPORT_MEMBERS: Final = 128
"""Members of one object of a report in the format of a library. A sample of Hystrix has about 70."""
_NAME_SHOWN: Final = 128
_STRING: Final = rb'"(?>[^"\\]*(?:\\.[^"\\]*)*)"?'
# A bracket; a name with its colon, a flat value and a comma; a comma; or another string. The groups are atomic (no
# backtracking), so each byte is read a few times at most in any document.
_PART: Final = re.compile(
    rb'[{}\[\]]|(%b)(?>\s*):(?>\s*)(?>%b\s*,|[^"{}\[\],]*,)?|,|%b' % (_STRING, _STRING, _STRING), re.DOTALL
)


def require_bounded(document: bytes, most_parts: int = COMMAND_PARTS, most_members: int = MOST_MEMBERS) -> None:
    """Refuse JSON with too many parts, or with a repeated name in an object. Stop at the first finding.

    Args:
        document: the JSON, in UTF-8.
        most_parts: the largest number of names, brackets and commas.
        most_members: the largest number of members of an object.

    Raises:
        ProblemError: `invalid_request` for too many parts, `malformed_request` for a repeated name and for too deep
            nesting.
    """
    enclosing: list[set[str] | None] = []
    names: set[str] | None = None  # names of the open object, None within an array
    for count, part in enumerate(_PART.finditer(document), 1):
        if count > most_parts:
            raise _too_much(f"it has more than {most_parts} names, brackets and commas", part)
        if (name := part[1]) is not None:
            if names is not None:
                _note(names, name, part, most_members)
            continue
        match part[0]:
            case b"{" | b"[" as bracket:
                enclosing.append(names)
                if len(enclosing) > MOST_DEPTH:
                    text = f"the body has more than {MOST_DEPTH} objects and arrays inside each other"
                    raise ProblemError("malformed_request", text)
                names = set() if bracket == b"{" else None
            case b"}" | b"]":
                names = enclosing.pop() if enclosing else None
            case _:
                pass


def _note(names: set[str], token: bytes, part: re.Match[bytes], most_members: int) -> None:
    # Compared as parsers decode it: `"\u0061"` is `"a"`.
    name = token.decode(errors="replace")[1:-1]
    if "\\" in name:
        try:
            name = json.loads(f'"{name}"', strict=False)
        except ValueError:
            return  # The parser refuses it.
    if name in names:
        text = f"an object has the name {name[:_NAME_SHOWN]!r} twice, the second time at byte {part.start()}"
        raise ProblemError("malformed_request", text)
    names.add(name)
    if len(names) > most_members:
        raise _too_much(f"an object has more than {most_members} members", part)


def _too_much(reason: str, part: re.Match[bytes]) -> ProblemError:
    return invalid_request([FieldError("(document)", f"{reason}, at byte {part.start()}")])
