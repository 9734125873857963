"""Fills the lists of all partitions from Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from api.adapters.redis_states import StateRows
from api.adapters.transitions import OffsetRange
from api.states.board import PartitionList
from api.states.rows import row_of_record
from schemas.clock import Clock
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
    for partition, held in bounds.items():
        await require_known(partition)
        lists.append(await _load(rows, partition, partitions, held.start, clock, remembered // partitions, earlier))
    return lists


async def _load(
    rows: StateRows, partition: int, partitions: int, start: int, clock: Clock, remembered: int, earlier: int
) -> PartitionList:
    held, from_here = PartitionList(partition, partitions, remembered), start
    async for piece in rows.slices(partition):
        if piece.first:
            held = PartitionList(partition, partitions, remembered)
            held.begin(piece.next, piece.rules[-1])
            # From there on records may not be applied yet. Where Redis does not know it, the whole topic is read.
            from_here = start if piece.states_next is None else piece.states_next
        now = clock()
        for tenant, record in piece.records.items():
            default = piece.rules[record.rules_number].terms.schedule[SleepState.active]
            rest = rest_of_record(record, piece.rules[record.rules_number].terms_for(record.policy))
            # By the rules that the record was last folded under. A tenant at an older default takes the new one at
            # once, until its own record arrives.
            if listed_until(rest, default) > now:
                held.add(row_of_record(tenant, partition, record, piece.rules, rest))
        await asyncio.sleep(0)  # Requests are served between two slices.
    held.rows_end(piece.next, piece.rules[-1], max(start, from_here - earlier // partitions))
    return held
