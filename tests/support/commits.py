"""Builders of commits: what a lane writes to Redis in one step."""

from schemas.redis.command_memory import FIXED_BYTES
from schemas.redis.progress import ProgressUpdate
from worker.ports import Commit

OP = ("acme", "op-1")
EMPTY = Commit(0, ProgressUpdate(next=1, layout=None))


def commit(
    position: int,
    next_: int,
    *,
    records: dict[str, bytes] | None = None,
    removed: list[str] | None = None,
    timers: dict[str, int] | None = None,
    untimed: list[str] | None = None,
) -> Commit:
    """Return a commit of these records and timers."""
    progress = ProgressUpdate(next=next_, layout=None)
    return Commit(position, progress, records or {}, removed or [], timers or {}, untimed or [])


def packed(end: int, texts: bytes = b"") -> bytes:
    """Return what is held of a command with this end: the scripts look at the end and at the length."""
    return b"\2" + end.to_bytes(8, "big") + bytes(FIXED_BYTES - 9) + texts
