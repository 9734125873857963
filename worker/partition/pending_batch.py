"""A batch that is taken in pieces, so that memory is bounded however large the records of tenants are.

Each piece is published, committed and answered before the next one is folded. The records and commands that its commit
leaves in the lane's memory count as loaded for the next piece. All others are loaded again.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from schemas.domain.policy import Rules
from worker.fold.dead_letter import Ceiling
from worker.fold.decoding import Decoded, operations_of, tenants_of
from worker.fold.piece import Piece
from worker.partition.record_cache import RecordCache
from worker.partition.stored_records import LaneStoppedError
from worker.ports import OperationKey, Store

# A state record is below 256 KiB, so a piece is at most a little larger than this.
PIECE_BYTES: Final = 8 << 20
# After folding for so long, a lane lets the other lanes run. Costly events of a tenant delay its own partition only.
_TURN_SECONDS: Final = 0.01


class PendingBatch:
    """The events of a batch that are not folded yet, and what is loaded for them.

    Args:
        partition: the partition's number.
        decoded: the batch, not empty.
        cache: the records that the lane knows.
    """

    def __init__(self, partition: int, decoded: Iterable[Decoded], cache: RecordCache) -> None:
        self._partition = partition
        self._remaining = deque(decoded)
        self._cache = cache
        self._packed: dict[str, bytes | None] = {}
        self._operations: dict[OperationKey, bytes | None] = {}
        self._operations_loaded = False

    def __bool__(self) -> bool:
        """Whether any event is left."""
        return bool(self._remaining)

    async def load(self, store: Store, position: int) -> bool:
        """Load the records and commands that the next piece needs; False if Redis is not at `position`.

        Raises:
            StoreError: if the store does not answer.
        """
        operations: list[OperationKey] = []
        if not self._operations_loaded:
            operations = operations_of(self._remaining)
        elif self._is_loaded(self._remaining[0]):
            return True
        tenants = [tenant for tenant in tenants_of(self._remaining) if not self._has(tenant)]
        if tenants or operations:
            loaded = await store.load(self._partition, position, tenants, operations)
            if loaded is None:
                return False
            # The store answers with as many records as fit into one answer.
            self._packed.update(zip(tenants, loaded.records, strict=False))
            self._operations.update(zip(operations, loaded.operations, strict=True))
        self._operations_loaded = True
        return True

    def begin_piece(self, rules: list[Rules], highest: int) -> Piece:
        """Return the next piece, in which nothing is folded yet."""
        return Piece(self._partition, rules, self._cache, self._packed, self._operations, highest)

    async def fold(self, piece: Piece, ceiling: Ceiling) -> list[Decoded]:
        """Fold events into a piece until it is full or something must be loaded; return them.

        Raises:
            LaneStoppedError: if our own code fails on most events, or a record in the store cannot be read.
        """
        folded: list[Decoded] = []
        loop = asyncio.get_running_loop()
        turn = loop.time()
        remaining = self._remaining
        while remaining and piece.bytes < PIECE_BYTES and self._is_loaded(remaining[0]):
            if loop.time() - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()
            item = remaining.popleft()
            piece.fold(item)
            folded.append(item)
            failed = piece.failures[-1]
            ceiling.count(failed=failed)
            if failed and ceiling.reached:
                raise LaneStoppedError(
                    f"our own code failed on most of the last records up to {self._partition}:{item.record.offset}: a "
                    "bad deploy, not bad data; roll back, or set SLEEP_DEADLETTER_MAX_RATIO=1 to go on"
                )
        return folded

    def committed(self, piece: Piece) -> None:
        """Note that a piece is committed: the store no longer holds what was loaded of its tenants."""
        for tenant in piece.records:
            self._packed.pop(tenant, None)
        self._operations.update(piece.packed_operations())

    def _is_loaded(self, item: Decoded) -> bool:
        tenant = item.tenant
        return tenant is None or tenant in self._packed or tenant in self._cache

    def _has(self, tenant: str) -> bool:
        return tenant in self._cache or tenant in self._packed
