"""Where a client is in the transitions topic: ids of events, as they go out and come back. Pure.

An id of one tenant's stream is `<offset>/<P:O:i>`: the record's offset in the transitions topic, and the transition's
own id. An id of the stream of all tenants has one mark for each partition, in order, with commas between; a mark's
offset is the next one to read there. Its `:i` is absent where nothing was delivered yet: all of event `O` is to come.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from api.stream.transitions import Place, Row

Reason = Literal["malformed", "other_partition", "unknown", "beyond_end", "expired", "too_far_back"]
DETAILS: Final[dict[Reason, str]] = {
    "malformed": "Last-Event-ID is not an id of this stream",
    "other_partition": "Last-Event-ID names a transition of a partition that is not this tenant's",
    "unknown": "another record is at that offset now",
    "beyond_end": "the transitions end before that offset",
    "expired": "the transitions are no longer kept back to that offset",
    "too_far_back": "more than 10,000 records have come since",
}
WHOLE: Final = -1
"""Row of a place that stands before the whole event."""
NOWHERE: Final = Place(-1, WHOLE)

_NUMBER: Final = r"(0|[1-9][0-9]{0,18})"
_MARK: Final = re.compile(rf"{_NUMBER}/{_NUMBER}:{_NUMBER}(?::{_NUMBER})?")


class ResetError(Exception):
    """A client cannot go on where it was; it must start afresh."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(DETAILS[reason])
        self.reason = reason


class Mark(NamedTuple):
    """A place in one partition: what was delivered last, the offset to read from, and whether that holds it."""

    offset: int
    place: Place
    exact: bool = False


class Bookmark:
    """How far one stream has come, partition by partition.

    Args:
        marks: where to begin; the partitions that the stream is made of.
        tenant: whose transitions it has, None for everybody's.
    """

    def __init__(self, marks: Mapping[int, Mark], tenant: str | None) -> None:
        self.tenant = tenant
        self.marks = dict(marks)
        self._texts = {partition: _text(partition, mark) for partition, mark in self.marks.items()}

    def wants(self, row: Row) -> bool:
        """Tell whether a record is a transition of this stream, and after all that was delivered.

        A worker that crashed appends again what it had appended: such a record has the place of the first.
        """
        if not row.body or (self.tenant is not None and row.tenant != self.tenant):
            return False
        mark = self.marks.get(row.partition)
        return mark is not None and row.place > mark.place

    def meet(self, row: Row) -> None:
        """Look at a record that was read from the mark on: the first must be the one that the client named.

        Raises:
            ResetError: if it is another; the topic was made anew, or the id was made up.
        """
        mark = self.marks[row.partition]
        if mark.exact:
            if (row.offset, row.place, row.tenant) != (mark.offset, mark.place, self.tenant):
                raise ResetError("unknown")
            self.marks[row.partition] = mark._replace(exact=False)

    def deliver(self, row: Row) -> bytes:
        """Note that a record goes out, and return its id's line."""
        self._set(row.partition, Mark(row.offset + 1, row.place))
        return row.id_line if self.tenant is not None else self.id_line()

    def read(self, partition: int, offset: int) -> None:
        """Note that everything before an offset was seen, delivered or not."""
        mark = self.marks[partition]
        if offset > mark.offset:
            self._set(partition, Mark(offset, mark.place))

    def id_line(self) -> bytes:
        """Return the id of the stream of all tenants, at this point."""
        return b"id: %s\n" % ",".join(self._texts.values()).encode()

    def _set(self, partition: int, mark: Mark) -> None:
        self.marks[partition] = mark
        if self.tenant is None:
            self._texts[partition] = _text(partition, mark)


def _text(partition: int, mark: Mark) -> str:
    index = "" if mark.place.nth == WHOLE else f":{mark.place.nth}"
    return f"{mark.offset}/{partition}:{max(mark.place.event, 0)}{index}"


def of_tenant(text: str, tenant: str, partition: int) -> Bookmark:
    """Return the bookmark in an id of a tenant's stream.

    Raises:
        ResetError: if it is none, or of another partition.
    """
    named, mark = _parse(text)
    if mark.place.nth == WHOLE:
        raise ResetError("malformed")
    if named != partition:
        raise ResetError("other_partition")
    return Bookmark({partition: mark._replace(exact=True)}, tenant)


def of_all(text: str, partitions: int) -> Bookmark:
    """Return the bookmark in an id of the stream of all tenants.

    Raises:
        ResetError: if it is none of this number of partitions.
    """
    # One split more than there may be, so that a long header is not taken apart.
    parts = [_parse(part) for part in text.split(",", partitions)]
    if [partition for partition, _ in parts] != list(range(partitions)):
        raise ResetError("malformed")
    return Bookmark(dict(parts), None)


def _parse(text: str) -> tuple[int, Mark]:
    found = _MARK.fullmatch(text)
    if found is None:
        raise ResetError("malformed")
    offset, partition, event, index = found.groups()
    return int(partition), Mark(int(offset), Place(int(event), WHOLE if index is None else int(index)))
