"""The records of tenants in Redis: fenced load and commit, each one script and one round trip."""

import re
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import chain
from typing import Any, Final, cast

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.errors import describe
from schemas.names import PartitionKeys
from schemas.redis.client import OUTAGE, Primaries, RedisClient, connect, from_the_client
from schemas.redis.command_memory import FIXED_BYTES, field_of
from schemas.redis.progress import Progress, known_layout
from schemas.redis.script import Script
from schemas.redis.shared import SharedRedis
from schemas.settings import Settings
from worker.ports import LOAD_BYTES, Commit, Due, Index, Loaded, OperationKey, PartitionStatus, StoreError

# A command that takes longer has failed: the lane reads progress again, and so learns whether it was carried out.
_TIMEOUT_SECONDS: Final = 5.0
_PAGE: Final = 1_000
# The text that Redis itself accepts as a number.
_COUNT: Final = re.compile(rb"0|-?[1-9][0-9]*")


_SCRIPTS: Final = {
    name: Script(resources.files("worker.adapters.lua").joinpath(f"{name}.lua").read_text("utf-8"))
    for name in ("partition_status", "load", "commit", "due", "clear", "index")
}


class LaneStore:
    """The Redis of one installation.

    Args:
        redis: a client that answers bytes.
        prefix: the first part of each key.
    """

    def __init__(self, redis: RedisClient, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._keys: dict[int, PartitionKeys] = {}

    @classmethod
    def connect(cls, settings: Settings) -> "LaneStore":
        """Return a store on a client of its own; nothing is sent before the first call."""
        # Only the lane retries: after a commit whose answer was lost it must read progress first.
        retry = Retry(NoBackoff(), 0)
        client: RedisClient
        if settings.redis_is_cluster:
            client = connect(settings, seconds=_TIMEOUT_SECONDS, retry=retry)
        else:
            client = SharedRedis.open(settings, seconds=_TIMEOUT_SECONDS, retry=retry, resends=False)
        return cls(client, settings.redis_prefix)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - the script's to say
        with _client_errors():
            return await _SCRIPTS[script].run(self._redis, keys, arguments)

    def keys(self, partition: int) -> PartitionKeys:
        """Return the names of a partition's keys."""
        keys = self._keys.get(partition)
        if keys is None:
            keys = self._keys[partition] = PartitionKeys(self._prefix, partition)
        return keys

    async def ping(self) -> None:
        """Ask whether Redis answers.

        Raises:
            StoreError: if it does not.
        """
        with _client_errors():
            await cast("Awaitable[object]", self._redis.ping())

    def primaries(self, partitions: int) -> Primaries:
        """Return the primaries of that many partitions, to be asked how they are run."""
        return Primaries(self._redis, [self.keys(number).probe for number in range(partitions)])

    async def partition_status(self, partition: int) -> PartitionStatus:
        """Return the status of a partition.

        Raises:
            StoreError: if Redis does not answer.
            ValueError: if the progress has a newer layout, or is unreadable.
        """
        keys = self.keys(partition)
        flat, *numbers = await self._run("partition_status", keys.fixed, [])
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return PartitionStatus(Progress.unpack(fields), bool(fields), *numbers)

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[OperationKey]
    ) -> Loaded | None:
        """Return packed records and operations; None if the progress of the partition is not `position`.

        If the records exceed `LOAD_BYTES`, only the first of them are returned, and all of the operations.
        """
        keys = self.keys(partition)
        answer = await self._run(
            "load",
            [keys.progress, keys.tenants, keys.operations, *(keys.operation(*operation) for operation in operations)],
            [position, LOAD_BYTES, len(tenants), *tenants, *(field_of(*operation) for operation in operations)],
        )
        return None if answer is None else Loaded(*answer)

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a commit and publish its answers, all or nothing; False if progress is not at its position."""
        keys = self.keys(partition)
        names = [*keys.fixed, *(keys.receipt(*command) for command in commit.removed_receipts)]
        names += [keys.operation(*command) for command in commit.operations]
        arguments: list[Any] = [commit.position, commit.forget_to, FIXED_BYTES]
        sections: tuple[tuple[int, Iterable[Any]], ...] = (
            (2, commit.progress.fields().items()),
            (2, commit.records.items()),
            (1, commit.removed_records),
            (2, ((at, tenant) for tenant, at in commit.timers.items())),
            (1, commit.removed_timers),
            (2, commit.count_changes.items()),
            (2, ((tenant, int(open_ended)) for tenant, open_ended in commit.open_ended.items())),
            (2, ((field_of(*command), packed) for command, packed in commit.operations.items())),
            (1, (field_of(*command) for command in commit.ended_operations)),
            (2, commit.answers),
        )
        for width, section in sections:
            items = list(section if width == 1 else chain.from_iterable(section))
            arguments.append(len(items) // width)
            arguments += items
        return bool(await self._run("commit", names, arguments))

    async def due(self, partition: int, after: int, now: int, skip: int, most: int) -> Due:
        """Return a page of the timers that are due at `now` and were not at `after` (ms; -1 for all).

        The page holds at most `most` of them, after the first `skip`.
        """
        keys = self.keys(partition)
        position, flat, later, complete = await self._run("due", [keys.progress, keys.timers], [after, now, skip, most])
        timers = [(flat[index].decode(), int(float(flat[index + 1]))) for index in range(0, len(flat), 2)]
        return Due(int(position), timers, int(float(later)) if later else None, complete=bool(complete))

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Return the next cursor (0 at the end) and about `count` packed records."""
        with _client_errors():
            answer = await cast(
                "Awaitable[tuple[int, dict[bytes, bytes]]]",
                self._redis.hscan(self.keys(partition).tenants, cursor, count=count),
            )
        return int(answer[0]), answer[1]

    async def index(self, partition: int) -> Index:
        """Return what a partition holds besides its records. It is read in pages, so it is no snapshot.

        Raises:
            StoreError: if Redis does not answer.
        """
        keys, redis = self.keys(partition), cast("Any", self._redis)
        timers: dict[str, int] = {}
        open_ended: set[str] = set()
        with _client_errors():
            counts = await redis.hgetall(keys.counts)
            cursor, timed = await redis.zscan(keys.timers, 0, count=_PAGE)
            timers.update((_text(tenant), int(at)) for tenant, at in timed)
            while cursor:
                cursor, timed = await redis.zscan(keys.timers, cursor, count=_PAGE)
                timers.update((_text(tenant), int(at)) for tenant, at in timed)
            cursor, members = await redis.sscan(keys.open, 0, count=_PAGE)
            open_ended.update(map(_text, members))
            while cursor:
                cursor, members = await redis.sscan(keys.open, cursor, count=_PAGE)
                open_ended.update(map(_text, members))
        return Index(timers, {_text(state): _count(number) for state, number in counts.items()}, open_ended)

    async def index_at(self, partition: int, position: int, tenants: Sequence[str]) -> Index | None:
        """Return what a partition holds of some tenants besides their records; None if progress is not at `position`.

        Raises:
            StoreError: if Redis does not answer.
        """
        keys = self.keys(partition)
        names = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
        answer = await self._run("index", names, [position, *tenants])
        if answer is None:
            return None
        times, members, flat = answer
        timed = zip(tenants, times, strict=True)
        return Index(
            timers={tenant: int(float(at)) for tenant, at in timed if at is not None},
            counts={_text(state): _count(number) for state, number in zip(flat[::2], flat[1::2], strict=True)},
            open={tenant for tenant, member in zip(tenants, members, strict=True) if member},
        )

    async def operations(self, partition: int, operations: Sequence[OperationKey]) -> list[bytes | None]:
        """Return packed operations by tenant and id, whatever the progress of the partition.

        Raises:
            StoreError: if Redis does not answer.
        """
        keys = self.keys(partition)
        with _client_errors():
            redis = cast("Any", self._redis)
            # The key of an older layout first: a commit in between deletes it, and has written the hash by then.
            older = await redis.mget([keys.operation(*operation) for operation in operations])
            newer = await redis.hmget(keys.operations, [field_of(*operation) for operation in operations])
        return [packed or before for packed, before in zip(newer, older, strict=True)]

    async def mark(self, partition: int) -> int | None:
        """Return `next` of progress, None if a partition has none; it is negative during a rebuild.

        Raises:
            StoreError: if Redis does not answer.
            NewerReleaseError: if a newer version wrote the progress.
            ValueError: if `next` is not a number.
        """
        with _client_errors():
            following, layout = await cast("Any", self._redis).hmget(self.keys(partition).progress, ["next", "layout"])
        known_layout(layout)
        return None if following is None else int(following)

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """Delete all keys of a partition except receipts, and mark it as being rebuilt.

        Return False if `next` is no longer `expected`.
        """
        keys = self.keys(partition)
        return bool(await self._run("clear", keys.fixed, ["" if expected is None else expected, mark]))


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _count(raw: bytes) -> int:
    """Return a number of tenants, -1 if the value is not a number."""
    return int(raw) if _COUNT.fullmatch(raw) else -1


@contextmanager
def _client_errors() -> Iterator[None]:
    """Raise StoreError for every error of the client, also for those of an outage that are no RedisError."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if not isinstance(error, OUTAGE) and not from_the_client(error):
            raise
        raise StoreError(describe(error)) from error
