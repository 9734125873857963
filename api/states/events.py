"""The events of the stream of states, and its ids. Pure.

An id is the next offset of each partition of the states topic, in order, with commas between.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

from pydantic_core import to_json

from api.errors.base import ApiError
from api.streaming import sse
from schemas.domain.schedule import ParameterSet

Reason = Literal["malformed", "too_old", "beyond_end"]
DETAILS: Final[dict[Reason, str]] = {
    "malformed": "Last-Event-ID is not an id of this stream",
    "too_old": "too many states have changed since",
    "beyond_end": "the states end before that id",
}
_OFFSET: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class ResetError(ApiError):
    """A client cannot continue from its id, and gets a snapshot."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(DETAILS[reason])
        self.reason = reason


def parse_id(text: str, partitions: int) -> list[int]:
    """Return the next offset of each partition in an id.

    Raises:
        ResetError: if it is not an id for this number of partitions.
    """
    # At most one split too many, so that a long header is not split completely.
    parts = text.split(",", partitions)
    if len(parts) != partitions or not all(map(_OFFSET.fullmatch, parts)):
        raise ResetError("malformed")
    return [int(part) for part in parts]


def id_line(offsets: Sequence[int]) -> bytes:
    """Return the `id` line of an event, which goes before the event's body."""
    return sse.id_line(",".join(map(str, offsets)))


def position(partition: int, offset: int) -> str | None:
    """Return a position of the events topic, None before its first record."""
    return f"{partition}:{offset}" if offset >= 0 else None


def state(value: bytes) -> bytes:
    """Return the event of a listed tenant; its data are the record of the states topic, byte for byte."""
    return sse.body("state", value)


def gone(tenant: str, partition: int, offset: int) -> bytes:
    """Return the event of a tenant that is no longer listed, as of a position."""
    return sse.body("gone", to_json({"tenant": tenant, "position": position(partition, offset)}))


def rules(partition: int, partitions: int, number: int, offset: int, active: ParameterSet) -> bytes:
    """Return the event with the rules of a partition, and the position up to which the stream has its states."""
    document = {
        "partition": partition,
        "partitions": partitions,
        "number": number,
        "position": position(partition, offset),
        "active": active.as_json(),
    }
    return sse.body("rules", to_json(document))


def ready(now: int) -> bytes:
    """Return the event after a snapshot, or after what a client missed, with the log's time in milliseconds."""
    return sse.body("ready", to_json({"now": now}))


def time(now: int) -> bytes:
    """Return the event with the log's time in milliseconds."""
    return sse.body("time", to_json({"now": now}))


def reset(error: ResetError) -> bytes:
    """Return the event that comes before a snapshot instead of what a client missed."""
    return sse.FORGET_ID + sse.body("reset", to_json({"reason": error.reason, "detail": DETAILS[error.reason]}))
