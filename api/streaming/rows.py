"""The records of the transitions topic in the form for streams. Pure, except that an invalid record is logged."""

from typing import NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.streaming import sse
from schemas.kafka.source_record import SourceRecord, Unreadable

log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """The place of a transition in its partition: the event's offset, and the row within the event."""

    event: int
    nth: int


class Row(NamedTuple):
    """A record of the topic. The `body` is its event in a stream, empty if streams do not show it."""

    partition: int
    offset: int
    place: Place
    tenant: str
    id_line: bytes
    body: bytes

    @property
    def shown(self) -> bool:
        """Whether streams show it: it is a transition, and can be read. Outcomes and refusals are not shown."""
        return bool(self.body)


class _Head(BaseModel):
    """The validated fields of a record. The other fields are passed on unchanged."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    id: str = Field(pattern=r"^[0-9]{1,9}:[0-9]{1,19}:[0-9]{1,9}$")
    kind: str
    tenant: str


def parse(partition: int, offset: int, value: bytes | None) -> Row:
    """Return a record in the form for streams. An invalid record is logged, and belongs to no stream."""
    try:
        head = _Head.model_validate_json(value or b"")
        named, event, index = map(int, head.id.split(":"))
        if named != partition:
            raise ValueError(f"its id is of partition {named}")  # noqa: TRY301 - both are the same to the log
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return _nobodys(partition, offset, reason)
    body = sse.body("transition", value or b"") if head.kind == "transition" else b""
    return Row(partition, offset, Place(event, index), head.tenant, sse.id_line(f"{offset}/{head.id}"), body)


def row_of(record: SourceRecord) -> Row:
    """Return a record as streams need it, as `parse`; what stands for a batch that cannot be read is nobody's too."""
    if isinstance(record, Unreadable):
        return _nobodys(record.partition, record.offset, record.failure.message)
    return parse(record.partition, record.offset, record.value)


def hidden(partition: int, offset: int, place: Place) -> Row:
    """Return a row that nobody's stream shows, for what is at an offset."""
    return Row(partition, offset, place, "", b"", b"")


def _nobodys(partition: int, offset: int, reason: str) -> Row:
    log.warning("transition_unreadable", partition=partition, offset=offset, error=reason)
    return hidden(partition, offset, Place(-1, -1))
