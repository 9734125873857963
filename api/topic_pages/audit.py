"""Pages of the audit: the rows of the transitions topic, the newest first."""

import re
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec import Struct
from pydantic_core import from_json

from api.streaming.rows import Place
from api.topic_pages.cursor import cursor_of
from api.topic_pages.newest_first import NewestFirst
from api.topic_pages.walk import Bounds, Taken
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord, Unreadable
from schemas.wire.transition import RowKind

BOUNDS: Final = Bounds(most=10_000, first=1_000, ahead=2_000)
"""A worker that died may have written the rows of a batch again, at most 2,000 events. A page looks so far back for
rows that an earlier page has shown."""
EARLY_MS: Final = 120_000
"""How much earlier than its `at` a row may be written, by the clock of Kafka or of the worker, in ms. A worker folds no
event that is more than 60 s ahead of its own clock."""
_LARGEST_ROW: Final = 65_536
_ID: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,19}):([0-9]{1,9})")

log = structlog.get_logger(__name__)


class AuditQuery(NamedTuple):
    """What is looked for. All of it must fit.

    Attributes:
        tenant: of the rows, None for all tenants.
        from_, to: the rows with `from_ <= at < to`, in ms.
        kind: of the rows.
        actor: whose commands.
    """

    tenant: str | None = None
    from_: int | None = None
    to: int | None = None
    kind: RowKind | None = None
    actor: str | None = None

    def fits(self, row: "_Row") -> bool:
        """Tell whether a row is looked for."""
        return (
            self.tenant in (None, row.tenant)
            and self.kind in (None, row.kind)
            and self.actor in (None, row.actor)
            and (self.from_ is None or row.at >= self.from_)
            and (self.to is None or row.at < self.to)
        )


class _Row(Struct, frozen=True, gc=False):
    """The fields of a row that are looked at. All fields are passed on as they are."""

    id: str
    kind: str
    tenant: str
    actor: str | None
    at: int


_DECODER: Final = msgspec.json.Decoder(_Row)


class _Found(NamedTuple):
    """A row that fits: its order among rows, its identity, and its bytes."""

    at: int
    partition: int
    place: Place
    value: bytes

    @property
    def identity(self) -> tuple[int, int, Place]:
        """What a repeated row has in common with the first: its id, and its time. A new log has the same ids."""
        return self.at, self.partition, self.place


class _Unreadable(NamedTuple):
    """A record that is no row."""


_UNREADABLE: Final = _Unreadable()


class Audit:
    """Pages of the audit.

    Args:
        topic: walks over the transitions topic.
        partitions: how many it has.
    """

    def __init__(self, topic: NewestFirst, partitions: int) -> None:
        self._topic = topic
        self._partitions = partitions

    async def page(self, query: AuditQuery, cursor: str | None, limit: int, holder: Hashable) -> dict[str, Any]:
        """Return at most `limit` rows that fit, from a cursor on.

        Args:
            query: what is looked for.
            cursor: that of the page before; None for the newest rows.
            limit: the most rows.
            holder: whose page it is.

        Raises:
            ProblemError: `invalid_request` for a wrong cursor; `overloaded` if too many pages are read.
            UnavailableError: if Kafka does not answer, or a partition is not available.
        """

        def keep(record: SourceRecord) -> _Found | _Unreadable | None:
            return _found(record, query)

        wanted = range(self._partitions) if query.tenant is None else [partition_of(query.tenant, self._partitions)]
        oldest = None if query.from_ is None else query.from_ - EARLY_MS
        rows: list[_Found] = []
        unreadable = 0
        async with self._topic.walk(holder, keep, partitions=wanted, cursor=cursor, oldest=oldest) as walk:
            seen = {taken.kept.identity for taken in await walk.begin() if isinstance(taken.kept, _Found)}
            async for taken in walk.newest_first():
                if isinstance(taken.kept, _Found):
                    if taken.kept.identity not in seen:
                        seen.add(taken.kept.identity)
                        rows.append(taken.kept)
                    if len(rows) == limit:
                        break
                elif taken.kept is not None:
                    unreadable += 1
                    _log(taken)
            following = cursor_of(walk.marks)
            searched_until = walk.searched_until
        rows.sort(reverse=True)
        return {
            "rows": [from_json(row.value) for row in rows],
            "cursor": following,
            "searched_until": query.from_ if following is None else searched_until,
            "unreadable": unreadable,
        }


def _found(record: SourceRecord, query: AuditQuery) -> _Found | _Unreadable | None:
    """Return the row in a record, None if it does not fit."""
    value = record.value or b""
    if isinstance(record, Unreadable) or len(value) > _LARGEST_ROW:
        return _UNREADABLE
    try:
        row = _DECODER.decode(value)
    except ValueError:
        return _UNREADABLE
    place = _ID.fullmatch(row.id)
    if place is None or int(place[1]) != record.partition:
        return _UNREADABLE
    if not query.fits(row):
        return None
    return _Found(row.at, record.partition, Place(int(place[2]), int(place[3])), value)


def _log(taken: Taken[Any]) -> None:
    log.warning("audit_row_unreadable", partition=taken.partition, offset=taken.offset)
