"""Outcomes for waiting callers: one pub/sub channel per process, matched by tenant and operation id."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, NoReturn, Protocol
from uuid import uuid4

import structlog
from redis.asyncio import ConnectionPool, Redis, RedisCluster

from api.adapters.dependency import Dependency, UnavailableError
from schemas.names import reply_channel
from schemas.redis.client import OUTAGE, RedisClient
from schemas.tasks import await_done
from schemas.wire.operation import OperationRecord

IDLE_SECONDS: Final = 2.0
"""After this long without a message a ping is sent. Its answer must come within the same time."""

log = structlog.get_logger(__name__)
Find = Callable[[str, str], Awaitable[object]]


class Waiting:
    """One caller's wait for the outcome of one command. An outcome of another decision with the same id is ignored."""

    def __init__(self, decision: str) -> None:
        self._decision = decision
        self._answer: asyncio.Future[OperationRecord | None] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether the wait has ended."""
        return self._answer.done()

    def deliver(self, record: OperationRecord | None) -> None:
        """End the wait with the outcome, or without one. Only the first delivery counts."""
        if not self._answer.done() and (record is None or record.decision == self._decision):
            self._answer.set_result(record)

    async def outcome(self, seconds: float) -> OperationRecord | None:
        """Return the outcome, or None if it did not come in time."""
        return self._answer.result() if await await_done(self._answer, seconds) else None


class Replies(Protocol):
    """Receives the outcomes of this process's commands."""

    channel: str

    def expect(self, tenant: str, operation_id: str, decision: str) -> AbstractContextManager[Waiting]:
        """Listen for a command's outcome; enter this before the command is published."""
        ...


class RedisReplies:
    """Outcomes over Redis pub/sub.

    Args:
        client: a client that does not retry, so that a broken connection is noticed.
        prefix: first part of the channel's name.
        find: looks up a command in the store; called for each waiting caller after the connection was lost.
        dependency: is marked up or down as the channel works. Every command needs Redis, so it stands for Redis.
    """

    lost = OUTAGE

    def __init__(self, client: RedisClient, prefix: str, find: Find, dependency: Dependency) -> None:
        self.channel = reply_channel(prefix, str(uuid4()))
        self._client = client
        self._find = find
        self._dependency = dependency
        self._waiting: defaultdict[tuple[str, str], set[Waiting]] = defaultdict(set)
        self._released = False

    @contextmanager
    def expect(self, tenant: str, operation_id: str, decision: str) -> Iterator[Waiting]:
        """Listen for a command's outcome within the block."""
        waiting = Waiting(decision)
        if self._released:
            waiting.deliver(None)
        waiters = self._waiting[tenant, operation_id]
        waiters.add(waiting)
        try:
            yield waiting
        finally:
            waiters.discard(waiting)
            if not waiters:
                self._waiting.pop((tenant, operation_id), None)

    def release(self) -> None:
        """End all waits, also later ones: the process is stopping, and callers look up their outcomes."""
        self._released = True
        for waiters in self._waiting.values():
            for waiting in waiters:
                waiting.deliver(None)

    async def run(self) -> NoReturn:
        """Subscribe, look up missed outcomes, and deliver each message; for `dependency.keep`."""
        # A cluster's client may know nodes that are gone, so it discovers them again.
        await self._client.aclose()
        await self._client.initialize()
        listener = _listener(self._client)
        pubsub = listener.pubsub()
        try:
            await pubsub.subscribe(self.channel)
            pinged = False
            while True:
                message = await pubsub.get_message(timeout=IDLE_SECONDS)
                if message is None:
                    if pinged or not self._dependency.up:
                        msg = f"silent for {IDLE_SECONDS:g} s"
                        raise TimeoutError(msg)
                    await pubsub.ping()
                pinged = message is None
                if message is not None:
                    await self._hear(message["type"], message["data"])
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py left it without types
            if listener is not self._client:
                await listener.aclose()

    async def _hear(self, kind: str, data: object) -> None:
        if kind == "subscribe":
            self._dependency.mark_up()
            await self._look_up()
        elif kind == "message" and isinstance(data, bytes):
            try:
                record = OperationRecord.unpack(data)
            except (ValueError, TypeError) as error:
                log.warning("reply_unreadable", error=str(error))
                return
            self._deliver(record)

    def _deliver(self, record: OperationRecord) -> None:
        for waiting in self._waiting.get((record.tenant_id, record.operation_id), ()):
            waiting.deliver(record)

    async def _look_up(self) -> None:
        """Look up the outcomes that were published while the connection was down."""
        for tenant, operation_id in list(self._waiting):
            try:
                record = await self._find(tenant, operation_id)
            except UnavailableError as error:
                raise TimeoutError(str(error)) from error
            if isinstance(record, OperationRecord):
                self._deliver(record)


def _listener(client: RedisClient) -> Redis:
    """Return a client for pub/sub: in a cluster a client of any one node, since nodes forward all messages."""
    if not isinstance(client, RedisCluster):
        return client
    node = random.choice(client.get_primaries())  # noqa: S311 - any will do
    return Redis.from_pool(ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs))
