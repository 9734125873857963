"""Redis as the API uses it: what is read and written, and what is an outage."""

from typing import Any, cast

import pytest
from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import answering, connect
from api.commands.receipt import Receipt
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import new_record, pack
from schemas.domain.sealing import seal
from schemas.kafka.partitioner import partition_of
from schemas.names import PartitionKeys
from schemas.redis import command_memory as remembered
from schemas.redis.command_memory import field_of
from schemas.redis.progress import pack_rules
from tests.support.operations import outcome
from tests.support.settings import settings_of
from tests.support.times import NOW
from tests.unit.api.redis_client import FakeRedis, store_of

PARTITION = partition_of("acme", 8)
KEYS = PartitionKeys("sleep", PARTITION)
RECEIPT = Receipt("op-1", "acme", "operation", "deep", NOW, "ops@acme", None, None)


async def test_a_tenant_and_its_rules_are_read_in_one_round_trip() -> None:
    """The record is unpacked under the rules beside it."""
    redis = FakeRedis()
    rules = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "deep"}})]
    record = new_record(rules[1], NOW)
    redis.hashes[KEYS.tenants, "acme"] = pack(record, rules[1].terms.schedule)
    redis.hashes[KEYS.progress, "rules"] = pack_rules(rules)
    view = await store_of(redis).tenant("acme")
    assert (view.partition, view.record, redis.trips) == (PARTITION, record, 1)
    assert view.rules[-1].policy.document["ceiling"] == "deep"


async def test_completeness_is_read_before_the_record_and_rules_after_it() -> None:
    """A commit between two of them must not make a tenant that has just come back look like one that never was."""
    redis = FakeRedis()
    await store_of(redis).tenant("acme")
    assert redis.queued == [
        f"HMGET {KEYS.progress} next refolds_to",
        f"HGET {KEYS.tenants} acme",
        f"HGET {KEYS.progress} rules",
    ]


@pytest.mark.parametrize(
    ("position", "refolds_to", "lack"),
    [
        (None, None, f"Redis has no data of partition {PARTITION}"),
        (b"-5", None, f"partition {PARTITION} is being rebuilt"),
        (b"0", None, ""),
        (b"1999", b"2000", f"the log of partition {PARTITION} is being replayed: 1999 of 2000 records"),
        (b"2000", b"2000", ""),
        (b"-5", b"2000", f"partition {PARTITION} is being rebuilt"),
    ],
)
async def test_a_partition_is_whole_from_where_it_was_folded_anew(
    position: bytes | None, refolds_to: bytes | None, lack: str
) -> None:
    """Neither while it is rebuilt, nor while what Redis had lost has not all come back."""
    redis = FakeRedis()
    for field, value in (("next", position), ("refolds_to", refolds_to)):
        if value is not None:
            redis.hashes[KEYS.progress, field] = value
    assert (await store_of(redis).tenant("acme")).complete is not bool(lack)
    assert await store_of(redis).is_complete(PARTITION) is not bool(lack)
    assert await store_of(redis).why_incomplete(PARTITION) == lack


async def test_a_tenant_never_seen_has_no_record() -> None:
    """Under the built-in rules, where there are none."""
    view = await store_of(FakeRedis()).tenant("acme")
    assert (view.record, view.rules) == (None, [BUILT_IN_RULES])


async def test_an_outcome_is_found_before_its_receipt() -> None:
    """In one round trip; then the receipt, then nothing."""
    redis = FakeRedis()
    store = store_of(redis)
    operation = outcome(position=f"{PARTITION}:7")
    redis.values[KEYS.receipt("acme", "op-1")] = RECEIPT.pack()
    redis.hashes[KEYS.operations, field_of("acme", "op-1")] = remembered.pack(operation, live=True)
    assert await store.operation("acme", "op-1") == operation
    assert redis.trips == 1
    redis.hashes[KEYS.operations, field_of("acme", "op-1")] = remembered.pack(operation, live=False)
    assert await store.operation("acme", "op-1") == operation.without_texts()
    redis.hashes.clear()
    assert await store.operation("acme", "op-1") == RECEIPT
    assert await store.operation("acme", "op-2") is None


async def test_an_outcome_is_read_after_its_receipt() -> None:
    """A commit in between takes the receipt away, and has written the outcome by then: never neither."""
    redis = FakeRedis()
    await store_of(redis).operation("acme", "op-1")
    assert redis.queued == [
        f"MGET {KEYS.operation('acme', 'op-1')} {KEYS.receipt('acme', 'op-1')}",
        f"HMGET {KEYS.operations} {field_of('acme', 'op-1')!r}",
    ]


async def test_an_outcome_of_the_layout_before_is_found_until_its_key_expires() -> None:
    """With its texts; what a newer worker has written counts before it."""
    redis = FakeRedis()
    redis.values[KEYS.operation("acme", "op-1")] = outcome(reason="older").pack()
    assert await store_of(redis).operation("acme", "op-1") == outcome(reason="older")
    assert await store_of(redis).operations("acme", ["op-1"]) == [outcome(reason="older")]
    cancelled = outcome(position=f"{PARTITION}:7", cancelled_at=NOW)
    redis.hashes[KEYS.operations, field_of("acme", "op-1")] = remembered.pack(cancelled, live=False)
    assert await store_of(redis).operation("acme", "op-1") == cancelled.without_texts()
    assert await store_of(redis).operations("acme", ["op-1"]) == [cancelled.without_texts()]


async def test_only_operations_that_exist_are_listed() -> None:
    """And an empty list asks nothing."""
    redis = FakeRedis()
    operation = outcome(position=f"{PARTITION}:7")
    redis.hashes[KEYS.operations, field_of("acme", "op-1")] = remembered.pack(operation, live=True)
    assert await store_of(redis).operations("acme", ["op-0", "op-1"]) == [operation]
    assert await store_of(redis).operations("acme", []) == []
    assert redis.trips == 1


async def test_progress_is_read_for_all_partitions_at_once() -> None:
    """0 where none has begun."""
    redis = FakeRedis()
    redis.hashes[KEYS.progress, "next"] = b"42"
    expected = dict.fromkeys(range(8), 0) | {PARTITION: 42}
    assert (await store_of(redis).progress(), redis.trips) == (expected, 1)


@pytest.mark.parametrize("failure", [RedisConnectionError("refused"), ConnectionResetError(), TimeoutError()])
async def test_redis_away_is_an_outage(failure: Exception) -> None:
    """Whatever the error."""
    redis = FakeRedis()
    redis.failure = failure
    with pytest.raises(UnavailableError, match="redis"):
        await store_of(redis).operation("acme", "op-1")


async def test_a_connection_that_was_closed_under_a_call_is_an_outage() -> None:
    """What comes out of the client then is no error of Redis; nor is what a cluster's raises where no node answers."""
    closed = Connection()
    with pytest.raises(UnavailableError, match="AttributeError"), answering():
        await closed._send_packed_command([b"PING"])  # noqa: SLF001 - what it comes to without a socket
    with pytest.raises(UnavailableError, match="no node"), answering():
        raise RedisClusterException("no node")


async def test_a_defect_of_ours_is_no_outage() -> None:
    """It is answered as what it is."""
    with pytest.raises(AttributeError), answering():
        _ = cast("Any", None).tenant


@pytest.mark.parametrize("packed", [b"[99]", b"{}", b"x"])
async def test_what_a_newer_version_wrote_is_an_outage_here(packed: bytes) -> None:
    """During a rolling deploy an older process does not guess."""
    redis = FakeRedis()
    redis.hashes[KEYS.tenants, "acme"] = packed
    with pytest.raises(UnavailableError, match="cannot be read"):
        await store_of(redis).tenant("acme")


async def test_a_code_of_a_newer_release_asks_for_an_upgrade() -> None:
    """Nothing is damaged, and callers are not told so either."""
    redis = FakeRedis()
    redis.hashes[KEYS.tenants, "acme"] = seal(b"[1,0,0,1,[99,null],[],[0,0,1,1],null,0,null,1,1,1,1,0]")
    with pytest.raises(
        UnavailableError, match="a newer release wrote what it holds; upgrade the API: cause 99"
    ) as told:
        await store_of(redis).tenant("acme")
    assert told.value.detail == "Redis holds data of a newer release, to which this API must be upgraded"


async def test_the_url_says_which_client_connects() -> None:
    """A pool that waits for a free connection, or a cluster."""
    client = connect(settings_of(redis_url="redis://redis:6379/3"))
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, BlockingConnectionPool)
    assert client.connection_pool.connection_kwargs["db"] == 3
    await client.aclose()
    cluster = connect(settings_of(redis_url="redis+cluster://redis:6379"))
    assert isinstance(cluster, RedisCluster)
    assert cluster.nodes_manager.startup_nodes.pop("redis:6379", None) is not None
    assert "redis:6379" in cluster.nodes_manager.startup_nodes, "it would forget each node that was away"
    await cluster.aclose()
