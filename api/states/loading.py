"""Fills the lists of all partitions from Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from api.adapters.redis_states import StateRows
from api.adapters.transitions import OffsetRange
from api.states.board import PartitionList
from api.states.rows import row_of_record
from schemas.clock import Clock
from schemas.domain.policy import Rules
from schemas.domain.record import Record
from schemas.domain.schedule import ParameterSet
from schemas.domain.state import SleepState
from schemas.wire.listing import listed_until, rest_of_record


async def load(
    rows: StateRows,
    require_known: Callable[[int], Awaitable[None]],
    bounds: Mapping[int, OffsetRange],
    clock: Clock,
    remembered: int,
    earlier: int,
) -> list[PartitionList]:
    """Return the lists, each with the offset of the states topic from which it is to be moved.

    Args:
        rows: the records in Redis.
        require_known: raises UnavailableError for a partition that is incomplete, and was used.
        bounds: the first offset and the end of each partition of the states topic.
        clock: the time in milliseconds.
        remembered: of how many tenants the latest change is kept, over all partitions.
        earlier: how many records are read although Redis has them, over all partitions.

    Raises:
        UnavailableError: if Redis does not answer, or lacks data.
    """
    partitions = len(bounds)
    lists = []
    for partition, offsets in bounds.items():
        await require_known(partition)
        lists.append(await _load(rows, partition, partitions, offsets.start, clock, remembered // partitions, earlier))
    return lists


async def _load(
    rows: StateRows, partition: int, partitions: int, start: int, clock: Clock, remembered: int, earlier: int
) -> PartitionList:
    listed, from_here = PartitionList(partition, partitions, remembered), start
    async for piece in rows.slices(partition):
        if piece.first:
            listed = PartitionList(partition, partitions, remembered)
            listed.begin(piece.next, piece.rules[-1])
            # From there on records may not be applied yet. Where Redis does not know it, the whole topic is read.
            from_here = start if piece.states_next is None else piece.states_next
        now = clock()
        for tenant, record in piece.records.items():
            # By the rules that the record was last folded under. A tenant at an older default takes the new one at
            # once, until its own record arrives.
            rules = piece.rules[record.rules_number]
            default = rules.terms.schedule[SleepState.active]
            if record.decided is SleepState.active and _is_at_rest(record, rules, default, now):
                continue
            row = row_of_record(tenant, partition, record, piece.rules)
            if listed_until(row.rest, default) > now:
                listed.add(row)
        await asyncio.sleep(0)  # Requests are served between two slices.
    listed.rows_end(piece.next, piece.rules[-1], max(start, from_here - earlier // partitions))
    return listed


def _is_at_rest(record: Record, rules: Rules, default: ParameterSet, now: int) -> bool:
    """Tell whether a tenant is not listed, without making its public record. Of an awake tenant that takes little."""
    return listed_until(rest_of_record(record, rules.terms_for(record.policy)), default) <= now
