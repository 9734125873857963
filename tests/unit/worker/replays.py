"""A log that a lane has folded and published, and a range of it replayed from its topics."""

from collections.abc import Collection, Sequence
from typing import Any

from schemas.wire.events import EVENTS
from tests.support.batches import Lane
from tests.support.events import breaker, mode, rules, sleep
from tests.support.records import Source, source
from tests.support.times import MINUTE, SECOND, T
from tests.unit.worker.rebuilds import set_aside, topic
from worker.recovery.states_history import StatesHistory
from worker.recovery.what_if.bounds import COMMIT_OFFSETS, WARM_UP_MS, Range
from worker.recovery.what_if.partition import PartitionReplay
from worker.recovery.what_if.scenario import Alternative
from worker.recovery.what_if.starts import Starts

_PAGE = 7
LIGHT_AT_MOST = {"policy": {"ceiling": "light"}}
EACH_STEP = [
    source(0, T, breaker("open")),
    source(1, T + SECOND, mode("m-1", "deep")),
    source(2, T + 10 * SECOND, rules(LIGHT_AT_MOST)),
    source(3, T + 1_000 * SECOND, sleep("op-1", "freeze", MINUTE)),
]
"""At the last event the breaker's lease has ended, there are newer rules, and these cut what the event asks for."""


def folded(log: Sequence[Source], batch: int = 5) -> Lane:
    """Return the lane that has folded a log in batches."""
    lane = Lane(remembers=True)
    for begin in range(0, len(log), batch):
        lane.apply(log[begin : begin + batch])
    return lane


def range_of(log: Sequence[Source], first: int, next_: int | None = None, to_at: int | None = None) -> Range:
    """Return the range from the record at an index up to another one, by default to the end of the log.

    It ends at the time of the first record behind it; at the end of the log, with its last record or at a given time.
    """
    from_at = log[first].timestamp
    behind = log[next_] if next_ is not None and next_ < len(log) else None
    warm_up = next(record.offset for record in log if record.timestamp >= from_at - WARM_UP_MS)
    end = log[-1].offset + 1 if behind is None else behind.offset
    last = log[-1].timestamp if behind is None else behind.timestamp
    start, warm_up = log[0].offset, min(warm_up, log[first].offset)
    read_from, to_at = max(start, warm_up - COMMIT_OFFSETS), last if to_at is None else to_at
    return Range(0, start, read_from, warm_up, log[first].offset, end, from_at, to_at)


def replayed(
    log: Sequence[Source],
    range_: Range,
    lane: Lane,
    *,
    states: Sequence[Source] | None = None,
    alternative: Alternative = Alternative(),  # noqa: B008 - immutable
    tenants: Collection[str] | None = None,
) -> PartitionReplay:
    """Return the finished replay of a range, with what a lane published as the topics."""
    replay = begun(range_, lane, states=states, alternative=alternative, tenants=tenants)
    rows = iter(topic(lane.transitions))
    read = [record for record in log if range_.read_from <= record.offset < range_.next]
    for begin in range(0, len(read), _PAGE):
        page = read[begin : begin + _PAGE]
        while replay.audit.read_to <= page[-1].offset and (row := next(rows, None)) is not None:
            replay.audit.read(row)
        replay.read(page)
    for row in rows:
        replay.audit.read(row)
    replay.finish()
    return replay


def begun(
    range_: Range,
    lane: Lane,
    *,
    states: Sequence[Source] | None = None,
    alternative: Alternative = Alternative(),  # noqa: B008 - immutable
    tenants: Collection[str] | None = None,
    audited: bool = True,
) -> PartitionReplay:
    """Return a replay that has read no event yet; unless it is audited, no row is compared."""
    skipped = set_aside(lane.dead_letters)
    history = StatesHistory(0, 1, settled=range_.warm_up, skipped=skipped)
    for record in topic(lane.states) if states is None else states:
        history.read(record)
    starts = Starts(history, range_)
    return PartitionReplay(
        range_, 1, starts, skipped, alternative=alternative, tenants=tenants, audited_to=range_.next if audited else 0
    )


def explained(log: list[Source], alternative: Alternative = Alternative()) -> dict[str, Any]:  # noqa: B008 - immutable
    """Return the explanation of the last event of a log, which a lane has folded."""
    last = log[-1]
    replay = begun(range_of(log, len(log) - 1), folded(log, 1), alternative=alternative, tenants={"acme"})
    replay.read(log[:-1])
    document = replay.explain(last, EVENTS.validate_json(last.value or b""))  # type: ignore[arg-type]  # of a tenant
    assert document is not None
    return document
