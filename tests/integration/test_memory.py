"""What Redis holds of a tenant that sends 600 commands a minute for ever: over two hours of it, folded and committed.

Log time is that of the records, so the hours pass as fast as Redis takes the commits. The figures are those of Redis
itself, with all that it adds: `MEMORY USAGE` of every key.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from api.adapters.redis_store import RedisStore, connect
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import Record
from schemas.redis.progress import ProgressUpdate
from schemas.settings import Settings
from schemas.wire.operation import OperationRecord
from tests.services import Client, Namespace, Services, redis_client
from tests.support.events import cancel, mode, policy, sleep, timer
from tests.support.records import Source, source
from tests.support.times import HOUR, MINUTE, SECOND, T
from worker.adapters.redis_store import LaneStore
from worker.fold.decoding import Decoder, operations_of, tenants_of
from worker.fold.piece import Piece
from worker.fold.written import count_changes
from worker.ports import Commit

pytestmark = pytest.mark.once

TENANT: Final = "t" * 128
MOST_BYTES: Final = 20_000_000
_A_MINUTE: Final = 600
_STEP_MS: Final = MINUTE // _A_MINUTE
# What ended two hours ago is forgotten, so that a third brings nothing new.
_COMMANDS: Final = 130 * _A_MINUTE
_BATCH: Final = 200
_WIDE: Final = "\N{BRAIN}" * 256
_TEXTS: Final[dict[str, Any]] = {"tenant": TENANT, "actor": _WIDE, "reason": _WIDE, "trace_id": "i" * 128}


def _id(number: int) -> str:
    return f"{number:0128}"


def _mixed(number: int) -> dict[str, Any]:
    """A command of each type in turn: done, ended by a cancel or by time, repeated or refused."""
    kinds: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: sleep(_id(number), "deep", 1, **_TEXTS),
        lambda: sleep(_id(number), "light", 20 * MINUTE, **_TEXTS),
        lambda: cancel(_id(number), _id(number - 1), **_TEXTS),
        lambda: mode(_id(number), "light", **_TEXTS),
        lambda: policy(_id(number), {"floor": "light", "colour": number}, **_TEXTS),
        lambda: policy(_id(number), {"max_ttl_seconds": 3600 + number % 7}, **_TEXTS),
        lambda: mode(_id(number - 3), "light", **_TEXTS),
        lambda: sleep(_id(number), "deep", 0, **_TEXTS),
        lambda: sleep(_id(number), "deep", HOUR, **_TEXTS),
        lambda: cancel(_id(number), "none", **_TEXTS),
    )
    return kinds[number % len(kinds)]()


def _refused(number: int) -> dict[str, Any]:
    return cancel(_id(number), f"{number}" * 9, **_TEXTS)


def _log(command: Callable[[int], dict[str, Any]]) -> Iterator[list[Source]]:
    """Yield the commands in batches, each with the timer that the owner sends behind it."""
    offset = 0
    for first in range(0, _COMMANDS, _BATCH):
        records = []
        for number in range(first, first + _BATCH):
            records.append(source(offset, T + number * _STEP_MS, command(number)))
            offset += 1
        records.append(source(offset, records[-1].timestamp + 1, timer(tenant=TENANT)))
        offset += 1
        yield records


class Lane:
    """Folds batches into a real store, as the production lane does, and lets Kafka be."""

    def __init__(self, store: LaneStore) -> None:
        self.store = store
        self.position = 0
        self.highest = 0
        self._memory: dict[str, Record | None] = {}
        self._decoder = Decoder(0, 1)

    async def apply(self, records: list[Source]) -> None:
        """Load, fold and commit a batch."""
        decoded = [self._decoder.decode(record) for record in records]
        keys = operations_of(decoded)
        unseen = [tenant for tenant in tenants_of(decoded) if tenant not in self._memory]
        loaded = await self.store.load(0, self.position, unseen, keys)
        assert loaded is not None
        batch = Piece(
            0, [BUILT_IN_RULES], self._memory, dict.fromkeys(unseen), dict(zip(keys, loaded.operations, strict=True)),
            self.highest,
        )  # fmt: skip
        for item in decoded:
            batch.fold(item)
        assert not any(batch.failures)
        written = batch.written()
        done = await self.store.commit(
            0,
            Commit(
                position=self.position,
                progress=ProgressUpdate(next=records[-1].offset + 1, highest=batch.highest),
                records={tenant: item.packed for tenant, item in written.items() if item.packed is not None},
                timers={tenant: item.due for tenant, item in written.items() if item.due is not None},
                count_changes=count_changes(batch.before, batch.records),
                operations=batch.packed_operations(),
                ended_operations=batch.ended(),
                removed_receipts=list(batch.receipts),
                forget_to=batch.forget_to,
            ),
        )
        assert done
        self._memory |= batch.records
        self.position, self.highest = records[-1].offset + 1, batch.highest


async def _bytes_of(redis: Client, prefix: str) -> dict[str, int]:
    """Return how much Redis holds under each key of a prefix, what it adds included."""
    return {
        key.decode().rpartition(":")[2]: await redis.memory_usage(key, samples=0) or 0
        async for key in redis.scan_iter(f"{{{prefix}*", count=1_000)
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [_mixed, _refused])
async def test_a_tenant_that_sends_600_commands_a_minute_holds_less_than_20_mb(
    services: Services, namespace: Namespace, command: Callable[[int], dict[str, Any]]
) -> None:
    """With ids of 128 characters and texts of 1 KiB each, and what ended within the last hour is found."""
    settings = Settings.model_validate(
        {"kafka_bootstrap": services.kafka, "redis_url": services.redis, "redis_prefix": namespace.redis_prefix}
    )
    store, client, redis = LaneStore.connect(settings), connect(settings), redis_client(services.redis)
    reads, stored = RedisStore(client, namespace.redis_prefix, 1), {}
    try:
        lane = Lane(store)
        for number, records in enumerate(_log(command)):
            await lane.apply(records)
            if number % 30 == 29:
                stored = await _bytes_of(redis, namespace.redis_prefix)
                assert sum(stored.values()) <= MOST_BYTES, stored
        standing = await store.partition_status(0)
        print(
            f"\n{command.__name__}: {sum(stored.values()) / 1e6:.1f} MB with {standing.operations} commands: {stored}"
        )
        # Two hours of log time are held, and a cancel notes two ends.
        assert standing.operations <= 120 * _A_MINUTE + 32
        assert standing.ended <= 120 * _A_MINUTE + 32
        last = _COMMANDS - 1
        for ago in (1, 59 * 60):
            operation = await reads.operation(TENANT, _id(last - ago * SECOND // _STEP_MS))
            assert isinstance(operation, OperationRecord)
            assert operation.status(lane.highest) in ("completed", "refused", "cancelled")
            assert (operation.actor, operation.reason, operation.trace_id) == (None, None, None)
    finally:
        await store.close()
        await client.aclose()
        await redis.aclose()
