"""Redis as the API uses it, and the answers that come over it."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, cast
from unittest.mock import patch

import pytest
import structlog
from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException

from api.operate.dependency import Dependency, UnavailableError
from api.publish.receipt import Receipt
from api.publish.replies import RedisReplies, _listener
from api.read.store import RedisClient, RedisStore, answering, connect
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys
from schemas.operation import OperationRecord
from schemas.partition import partition_of
from schemas.policy import BUILT_IN_RULES, parse_rules
from schemas.progress import pack_rules
from schemas.record import new_record, pack
from schemas.settings import Settings
from tests.unit.api.fakes import DECISION, NOW, outcome

PARTITION = partition_of("acme", 8)
KEYS = PartitionKeys("sleep", PARTITION)
RECEIPT = Receipt("op-1", "acme", "operation", "deep", NOW, "ops@acme", None, None)


class _Redis:
    """Just the commands that are used, over two dicts; counts round trips."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.hashes: dict[tuple[str, str], bytes] = {}
        self.sets: list[tuple[str, dict[str, Any]]] = []
        self.trips = 0
        self.queued: list[str] = []
        self.failure: Exception | None = None
        self._queued: list[Any] = []

    def _trip(self) -> None:
        self.trips += 1
        if self.failure is not None:
            raise self.failure

    def pipeline(self, *, transaction: bool) -> "_Redis":
        assert not transaction
        return self

    def execute_command(self, name: str, *arguments: str) -> object:
        self.queued.append(" ".join((name, *arguments)))
        if name == "HGET":
            self._queued.append(self.hashes.get((arguments[0], arguments[1])))
            return self
        if name == "HMGET":
            self._queued.append([self.hashes.get((arguments[0], field)) for field in arguments[1:]])
            return self
        assert name == "MGET"

        async def found() -> list[bytes | None]:
            self._trip()
            return [self.values.get(key) for key in arguments]

        return found()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._only().__await__()

    async def _only(self) -> object:
        [answer] = await self.execute()
        return answer

    async def execute(self) -> list[Any]:
        self._trip()
        answers, self._queued = self._queued, []
        return answers

    async def set(self, key: str, value: bytes, **options: object) -> bool | None:
        self._trip()
        self.sets.append((key, options))
        if "nx" in options and key in self.values:
            return None
        self.values[key] = value
        return True

    async def delete(self, key: str) -> None:
        self._trip()
        del self.values[key]


def _store(redis: _Redis) -> RedisStore:
    return RedisStore(cast("RedisClient", redis), "sleep", 8)


async def test_a_tenant_and_its_rules_are_read_in_one_round_trip() -> None:
    """The record is unpacked under the rules beside it."""
    redis = _Redis()
    rules = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "deep"}})]
    record = new_record(rules[1], NOW)
    redis.hashes[KEYS.tenants, "acme"] = pack(record, rules[1].terms.schedule)
    redis.hashes[KEYS.progress, "rules"] = pack_rules(rules)
    view = await _store(redis).tenant("acme")
    assert (view.partition, view.record, redis.trips) == (PARTITION, record, 1)
    assert view.rules[-1].policy.document["ceiling"] == "deep"


async def test_whether_a_partition_is_whole_is_read_before_the_record_and_the_rules_after_it() -> None:
    """A commit between two of them must not make a tenant that has just come back look like one that never was."""
    redis = _Redis()
    await _store(redis).tenant("acme")
    assert redis.queued == [
        f"HMGET {KEYS.progress} next refolds_to",
        f"HGET {KEYS.tenants} acme",
        f"HGET {KEYS.progress} rules",
    ]


@pytest.mark.parametrize(
    ("position", "refolds_to", "whole"),
    [
        (None, None, False),
        (b"-5", None, False),
        (b"0", None, True),
        (b"1999", b"2000", False),
        (b"2000", b"2000", True),
        (b"-5", b"2000", False),
    ],
)
async def test_a_partition_is_whole_from_where_it_was_folded_anew(
    position: bytes | None, refolds_to: bytes | None, *, whole: bool
) -> None:
    """Neither while it is rebuilt, nor while what Redis had lost has not all come back."""
    redis = _Redis()
    for field, value in (("next", position), ("refolds_to", refolds_to)):
        if value is not None:
            redis.hashes[KEYS.progress, field] = value
    assert (await _store(redis).tenant("acme")).whole is whole
    assert await _store(redis).whole(PARTITION) is whole


async def test_a_tenant_never_seen_has_no_record() -> None:
    """Under the built-in rules, where there are none."""
    view = await _store(_Redis()).tenant("acme")
    assert (view.record, view.rules) == (None, [BUILT_IN_RULES])


async def test_an_outcome_is_found_before_its_receipt() -> None:
    """In one round trip; then the receipt, then nothing."""
    redis = _Redis()
    store = _store(redis)
    redis.values[KEYS.receipt("acme", "op-1")] = RECEIPT.pack()
    redis.values[KEYS.operation("acme", "op-1")] = outcome().pack()
    assert await store.operation("acme", "op-1") == outcome()
    assert redis.trips == 1
    del redis.values[KEYS.operation("acme", "op-1")]
    assert await store.operation("acme", "op-1") == RECEIPT
    assert await store.operation("acme", "op-2") is None


async def test_only_operations_that_exist_are_listed() -> None:
    """And an empty list asks nothing."""
    redis = _Redis()
    redis.values[KEYS.operation("acme", "op-1")] = outcome().pack()
    assert await _store(redis).operations("acme", ["op-0", "op-1"]) == [outcome()]
    assert await _store(redis).operations("acme", []) == []
    assert redis.trips == 1


async def test_a_receipt_is_kept_for_a_day_and_never_revived() -> None:
    """Its position is written only where it still is, and keeps its expiry."""
    redis = _Redis()
    store = _store(redis)
    assert await store.put_receipt(RECEIPT)
    assert not await store.put_receipt(RECEIPT._replace(reason="again")), "the first of an id stays"
    await store.confirm_receipt(RECEIPT._replace(position="3:7"))
    key = KEYS.receipt("acme", "op-1")
    put = (key, {"px": RECEIPT_KEPT_MS, "nx": True})
    assert redis.sets == [put, put, (key, {"xx": True, "keepttl": True})]
    await store.drop_receipt(RECEIPT)
    assert redis.values == {}


async def test_progress_is_read_for_all_partitions_at_once() -> None:
    """0 where none has begun."""
    redis = _Redis()
    redis.hashes[KEYS.progress, "next"] = b"42"
    expected = dict.fromkeys(range(8), 0) | {PARTITION: 42}
    assert (await _store(redis).progress(), redis.trips) == (expected, 1)


@pytest.mark.parametrize("failure", [RedisConnectionError("refused"), ConnectionResetError(), TimeoutError()])
async def test_redis_away_is_an_outage(failure: Exception) -> None:
    """Whatever the error."""
    redis = _Redis()
    redis.failure = failure
    with pytest.raises(UnavailableError, match="redis"):
        await _store(redis).put_receipt(RECEIPT)


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
    redis = _Redis()
    redis.hashes[KEYS.tenants, "acme"] = packed
    with pytest.raises(UnavailableError, match="cannot be read"):
        await _store(redis).tenant("acme")


def _settings(url: str) -> Settings:
    return Settings(kafka_bootstrap="kafka:9092", redis_url=url)  # type: ignore[arg-type]  # a str becomes a secret


async def test_the_url_says_which_client_connects() -> None:
    """A pool that waits for a free connection, or a cluster."""
    client = connect(_settings("redis://redis:6379/3"))
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, BlockingConnectionPool)
    assert client.connection_pool.connection_kwargs["db"] == 3
    await client.aclose()
    cluster = connect(_settings("redis+cluster://redis:6379"))
    assert isinstance(cluster, RedisCluster)
    assert cluster.nodes_manager.startup_nodes.pop("redis:6379", None) is not None
    assert "redis:6379" in cluster.nodes_manager.startup_nodes, "it would forget each node that was away"
    await cluster.aclose()


class _PubSub:
    """Answers `get_message` from a list; an exception in it is raised, and after it the process is cancelled."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard
        self.channel = ""
        self.pings = 0
        self.closed = False

    async def subscribe(self, channel: str) -> None:
        self.channel = channel

    async def get_message(self, *, timeout: float) -> object:  # noqa: ASYNC109 - redis-py's own name
        assert timeout
        if not self.heard:
            raise asyncio.CancelledError
        message = self.heard.pop(0)
        if callable(message):
            message = message()
        if isinstance(message, Exception):
            raise message
        return message

    async def ping(self) -> None:
        self.pings += 1

    async def aclose(self) -> None:
        self.closed = True


SUBSCRIBED = {"type": "subscribe", "data": 1}
PONG = {"type": "pong", "data": b""}


def _said(data: bytes) -> dict[str, Any]:
    return {"type": "message", "data": data}


class _Client:
    def __init__(self, heard: list[Any]) -> None:
        self.made = _PubSub(heard)
        self.initialized = False
        self.looks = 0

    async def aclose(self) -> None:
        self.initialized = False

    async def initialize(self) -> None:
        """Look which nodes there are, as a cluster's client does where it has not yet."""
        if not self.initialized:
            self.looks += 1
        self.initialized = True

    def pubsub(self) -> _PubSub:
        assert self.initialized, "a cluster's client knows no node before"
        return self.made


async def test_of_a_cluster_any_node_is_listened_to() -> None:
    """Each passes every message on; the client of a cluster itself cannot listen."""
    cluster = connect(_settings("redis+cluster://:secret@redis:6379"))
    assert isinstance(cluster, RedisCluster)
    [node] = cluster.nodes_manager.startup_nodes.values()
    with patch.object(cluster, "get_primaries", lambda: [node]):
        listener = _listener(cluster)
    told = listener.connection_pool.connection_kwargs
    assert (told["host"], told["port"], told["password"], told["socket_timeout"]) == ("redis", 6379, "secret", 1.0)
    await listener.aclose()
    await cluster.aclose()


async def test_each_try_to_listen_looks_anew_which_nodes_there_are() -> None:
    """The one that was asked may have gone for good, and another have taken its place."""
    client = _Client([OSError("closed"), OSError("closed")])
    replies = RedisReplies(cast("RedisClient", client), "sleep", _store(_Redis()).operation, Dependency("redis"))
    for looks in (1, 2):
        with pytest.raises(OSError, match="closed"):
            await replies.run()
        assert client.looks == looks


def _replies(
    heard: list[Any], find: Callable[[str, str], Any] | None = None
) -> tuple[RedisReplies, _PubSub, Dependency]:
    async def nothing(_: str, __: str) -> None:
        return None

    client, dependency = _Client(heard), Dependency("redis")
    replies = RedisReplies(cast("RedisClient", client), "sleep", find or nothing, dependency)
    return replies, client.made, dependency


async def test_an_outcome_reaches_the_caller_that_waits_for_it() -> None:
    """By tenant and id; nobody else hears it, and what nobody waits for is dropped."""
    replies, pubsub, dependency = _replies(
        [SUBSCRIBED, _said(outcome(tenant_id="globex").pack()), _said(outcome().pack()), _said(outcome().pack())]
    )
    with replies.expect("acme", "op-1", DECISION) as one, replies.expect("acme", "op-2", DECISION) as two:
        with pytest.raises(asyncio.CancelledError):
            await replies.run()
        assert await one.outcome(0) == outcome()
        assert one.answered
        assert await two.outcome(0) is None
    assert pubsub.channel == replies.channel
    assert replies.channel.startswith("sleep:reply:")
    assert (dependency.up, pubsub.closed) == (True, True)


async def test_two_callers_may_wait_for_the_same_outcome() -> None:
    """Both hear it, and one that left does not disturb the other."""
    replies, _, _ = _replies([SUBSCRIBED, _said(outcome().pack())])
    with replies.expect("acme", "op-1", DECISION) as stays:
        with replies.expect("acme", "op-1", DECISION) as leaves:
            pass
        with pytest.raises(asyncio.CancelledError):
            await replies.run()
        assert await stays.outcome(0) == outcome()
        assert not leaves.answered


async def test_what_was_missed_is_looked_up_after_a_reconnect() -> None:
    """A message lost while nobody listened is found in the store."""

    async def find(_: str, operation_id: str) -> OperationRecord | None:
        return outcome() if operation_id == "op-1" else None

    replies, _, _ = _replies([SUBSCRIBED], find)
    with replies.expect("acme", "op-1", DECISION) as missed, replies.expect("acme", "op-2", DECISION) as running:
        with pytest.raises(asyncio.CancelledError):
            await replies.run()
        assert (missed.answered, running.answered) == (True, False)


async def test_a_look_up_that_fails_loses_the_connection() -> None:
    """So it is done again after the next one."""

    async def find(_: str, __: str) -> None:
        raise UnavailableError("redis", "refused")

    replies, _, _ = _replies([SUBSCRIBED], find)
    with replies.expect("acme", "op-1", DECISION), pytest.raises(TimeoutError, match="refused"):
        await replies.run()


async def test_a_silent_connection_is_pinged_and_then_given_up() -> None:
    """A pong is enough; none is an outage."""
    replies, pubsub, _ = _replies([SUBSCRIBED, None, PONG, None, None])
    with pytest.raises(TimeoutError, match="silent for 2 s"):
        await replies.run()
    assert (pubsub.pings, pubsub.closed) == (2, True)


async def test_a_subscription_that_nobody_confirms_is_given_up() -> None:
    """It was never up."""
    replies, pubsub, dependency = _replies([None])
    with pytest.raises(TimeoutError):
        await replies.run()
    assert (pubsub.pings, dependency.tried.is_set()) == (0, False)


async def test_a_reply_that_cannot_be_read_disturbs_nobody() -> None:
    """It is logged, the next one counts."""
    replies, _, _ = _replies([SUBSCRIBED, _said(b"x"), _said(b"[1]"), _said(outcome().pack())])
    with replies.expect("acme", "op-1", DECISION) as waiting, structlog.testing.capture_logs() as logs:
        with pytest.raises(asyncio.CancelledError):
            await replies.run()
        assert await waiting.outcome(0) == outcome()
    assert [line["event"] for line in logs].count("reply_unreadable") == 2


async def test_a_stopping_process_ends_all_waits() -> None:
    """Those of callers who still come as well; the first delivery counts."""
    replies, _, _ = _replies([])
    with replies.expect("acme", "op-1", DECISION) as answered, replies.expect("acme", "op-2", DECISION) as waiting:
        answered.deliver(outcome())
        replies.release()
        assert await answered.outcome(60) == outcome()
        assert await waiting.outcome(60) is None
    with replies.expect("acme", "op-3", DECISION) as late:
        assert await late.outcome(60) is None
