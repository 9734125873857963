"""The cursor of a page: in each partition the offset below which the next page goes on. Pure.

A cursor is `P.O` for each partition `P`, in order, with hyphens between. Offset 0 means that nothing is left. Clients
send it back, so it is no more than a wish: it can only say where to read, never what the caller may see.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from api.errors.problems import ProblemError, invalid_request
from schemas.domain.policy import FieldError

_MARK: Final = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,18})")


def cursor_of(marks: Mapping[int, int]) -> str | None:
    """Return the cursor of the page after these offsets, None if nothing is left."""
    if not any(marks.values()):
        return None
    return "-".join(f"{partition}.{offset}" for partition, offset in sorted(marks.items()))


def marks_in(cursor: str, wanted: Collection[int]) -> dict[int, int]:
    """Return the offsets in a cursor, of the wanted partitions.

    Raises:
        ProblemError: `invalid_request` for a text that is no cursor, or none of this list.
    """
    marks: dict[int, int] = {}
    last = -1
    for part in cursor.split("-"):
        match = _MARK.fullmatch(part)
        if match is None or int(match[1]) <= last:
            raise not_a_cursor()
        last = int(match[1])
        marks[last] = int(match[2])
    if not marks.keys() >= set(wanted):
        raise not_a_cursor()
    return {partition: marks[partition] for partition in wanted}


def not_a_cursor() -> ProblemError:
    """Return the problem of a cursor that no page gave."""
    return invalid_request([FieldError("cursor", "not one that a page of this list gave")])
