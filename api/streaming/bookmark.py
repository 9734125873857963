"""The ids of server-sent events: a client's position in the transitions topic, encoded and decoded. Pure.

An id of one tenant's stream is `<offset>/<P:O:i>`: the record's offset in the transitions topic, and the transition's
own id. An id of the stream of all tenants has one mark for each partition, in order, separated by commas. The offset of
such a mark is the next one to read. Its `:i` is absent if nothing of event `O` was delivered yet.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from api.errors.base import ApiError
from api.streaming.rows import Place, Row

Reason = Literal["malformed", "other_partition", "unknown", "beyond_end", "expired", "too_far_back"]
DETAILS: Final[dict[Reason, str]] = {
    "malformed": "Last-Event-ID is not an id of this stream",
    "other_partition": "Last-Event-ID names a transition of a partition that is not this tenant's",
    "unknown": "another record is at that offset now",
    "beyond_end": "the transitions end before that offset",
    "expired": "the transitions are no longer kept back to that offset",
    "too_far_back": "more than 10,000 records have come since",
}
WHOLE_EVENT: Final = -1
"""Row of a place before the first row of an event."""
NOWHERE: Final = Place(-1, WHOLE_EVENT)

_NUMBER: Final = r"(0|[1-9][0-9]{0,18})"
_MARK: Final = re.compile(rf"{_NUMBER}/{_NUMBER}:{_NUMBER}(?::{_NUMBER})?")


class ResetError(ApiError):
    """A client cannot continue from its id, and must start again."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(DETAILS[reason])
        self.reason = reason


class Mark(NamedTuple):
    """A position in one partition.

    Attributes:
        offset: the offset to read from.
        place: the place of the last delivered row.
        exact: whether the record at `offset` is that row.
    """

    offset: int
    place: Place
    exact: bool = False


class Bookmark:
    """The position of one stream in each of its partitions.

    Args:
        marks: where to begin, for each partition of the stream.
        tenant: the tenant of the stream, None for all tenants.
    """

    def __init__(self, marks: Mapping[int, Mark], tenant: str | None) -> None:
        self.tenant = tenant
        self.marks = dict(marks)
        self._texts = {partition: _text(partition, mark) for partition, mark in self.marks.items()}

    def wants(self, row: Row) -> bool:
        """Tell whether a record is a transition of this stream that was not delivered yet.

        After a crash a worker appends records again. Such a repeat has the same place as the first record.
        """
        if not row.shown or (self.tenant is not None and row.tenant != self.tenant):
            return False
        mark = self.marks.get(row.partition)
        return mark is not None and row.place > mark.place

    def meet(self, row: Row) -> None:
        """Check a record that was read: the first one must be the record that the client named.

        Raises:
            ResetError: if it is another one: the topic was recreated, or the id was invented.
        """
        mark = self.marks[row.partition]
        if mark.exact:
            if (row.offset, row.place, row.tenant) != (mark.offset, mark.place, self.tenant):
                raise ResetError("unknown")
            self.marks[row.partition] = mark._replace(exact=False)

    def deliver(self, row: Row) -> bytes:
        """Record the delivery of a row, and return its `id` line."""
        self._set(row.partition, Mark(row.offset + 1, row.place))
        return row.id_line if self.tenant is not None else self.id_line()

    def read(self, partition: int, offset: int) -> None:
        """Record that all rows before an offset were read, delivered or not."""
        mark = self.marks[partition]
        if offset > mark.offset:
            self._set(partition, Mark(offset, mark.place))

    def id_line(self) -> bytes:
        """Return the `id` line of the stream of all tenants at this position."""
        return b"id: %s\n" % ",".join(self._texts.values()).encode()

    def _set(self, partition: int, mark: Mark) -> None:
        self.marks[partition] = mark
        if self.tenant is None:
            self._texts[partition] = _text(partition, mark)


def _text(partition: int, mark: Mark) -> str:
    index = "" if mark.place.nth == WHOLE_EVENT else f":{mark.place.nth}"
    return f"{mark.offset}/{partition}:{max(mark.place.event, 0)}{index}"


def of_tenant(text: str, tenant: str, partition: int) -> Bookmark:
    """Return the bookmark in an id of a tenant's stream.

    Raises:
        ResetError: if it is invalid, or names another partition.
    """
    named, mark = _parse(text)
    if mark.place.nth == WHOLE_EVENT:
        raise ResetError("malformed")
    if named != partition:
        raise ResetError("other_partition")
    return Bookmark({partition: mark._replace(exact=True)}, tenant)


def of_all(text: str, partitions: int) -> Bookmark:
    """Return the bookmark in an id of the stream of all tenants.

    Raises:
        ResetError: if it is invalid for this number of partitions.
    """
    # At most one split too many, so that a long header is not split completely.
    parts = [_parse(part) for part in text.split(",", partitions)]
    if [partition for partition, _ in parts] != list(range(partitions)):
        raise ResetError("malformed")
    return Bookmark(dict(parts), None)


def _parse(text: str) -> tuple[int, Mark]:
    match = _MARK.fullmatch(text)
    if match is None:
        raise ResetError("malformed")
    offset, partition, event, index = match.groups()
    return int(partition), Mark(int(offset), Place(int(event), WHOLE_EVENT if index is None else int(index)))
