"""The answers that come over Redis: who hears them, and what is lost on the way."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import patch

import pytest
import structlog
from redis.asyncio import RedisCluster

from api.adapters.dependency import Dependency, UnavailableError
from api.adapters.redis_store import connect
from api.commands.replies import RedisReplies, _listener
from schemas.redis.client import RedisClient
from schemas.wire.operation import OperationRecord
from tests.support.operations import DECISION, outcome
from tests.support.settings import settings_of
from tests.unit.api.redis_client import FakeRedis, store_of


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
    cluster = connect(settings_of(redis_url="redis+cluster://:secret@redis:6379"))
    assert isinstance(cluster, RedisCluster)
    [node] = cluster.nodes_manager.startup_nodes.values()
    with patch.object(cluster, "get_primaries", lambda: [node]):
        listener = _listener(cluster)
    options = listener.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["password"], options["socket_timeout"]) == (
        "redis",
        6379,
        "secret",
        1.0,
    )
    await listener.aclose()
    await cluster.aclose()


async def test_each_try_to_listen_looks_anew_which_nodes_there_are() -> None:
    """The one that was asked may have gone for good, and another have taken its place."""
    client = _Client([OSError("closed"), OSError("closed")])
    replies = RedisReplies(cast("RedisClient", client), "sleep", store_of(FakeRedis()).operation, Dependency("redis"))
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
