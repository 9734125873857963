"""The tenants' records in Redis: fenced load and commit, one script and one round trip each."""

import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib import resources
from typing import Any, Final, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException

from schemas.errors import describe
from schemas.names import PartitionKeys
from schemas.progress import Progress, known_layout
from schemas.redis_client import KeptNodes, from_the_client, info
from schemas.settings import Settings
from worker.ports import Commit, Due, Index, Loaded, Standing, StoreError

# A command that takes longer has failed: the lane reads progress again and finds out what became of it.
_TIMEOUT_SECONDS: Final = 5.0
_PAGE: Final = 1_000
# What Redis itself takes for a number.
_COUNT: Final = re.compile(rb"0|-?[1-9][0-9]*")


class Store:
    """The Redis of one installation.

    Args:
        redis: a client that answers bytes.
        prefix: first part of each key.
    """

    def __init__(self, redis: "Redis | RedisCluster", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._scripts = {name: _Script(redis, name) for name in ("standing", "load", "commit", "due", "clear", "index")}
        self._keys: dict[int, PartitionKeys] = {}

    @classmethod
    def connect(cls, settings: Settings) -> "Store":
        """Return a store on a client of its own; nothing is sent before the first call."""
        options: dict[str, Any] = {
            "socket_timeout": _TIMEOUT_SECONDS,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "protocol": 2,
            # The lane retries, since only it knows that a commit whose answer was lost must be looked up.
            "retry": Retry(NoBackoff(), 0),
        }
        client: Redis | RedisCluster
        if settings.redis_is_cluster:
            client = RedisCluster.from_url(settings.redis_address, **options)
            client.nodes_manager.startup_nodes = KeptNodes(client.nodes_manager.startup_nodes)
        else:
            client = Redis.from_url(settings.redis_address, **options)
        return cls(client, settings.redis_prefix)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

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

    async def info(self) -> dict[str, Mapping[str, Any]]:
        """Return how each primary is run, by its name; a server that is no cluster has none.

        Raises:
            StoreError: if Redis does not answer, or does not tell.
        """
        with _client_errors():
            return await info(self._redis, cluster=isinstance(self._redis, RedisCluster))

    async def standing(self, partition: int) -> Standing:
        """Return where a partition stands.

        Raises:
            StoreError: if Redis does not answer.
            ValueError: if the progress is of a newer layout, or not readable.
        """
        keys = self.keys(partition)
        names = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
        flat, records, timers, counted, open_ended = await self._scripts["standing"](names, [])
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Standing(Progress.unpack(fields), bool(fields), records, timers, counted, open_ended)

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[tuple[str, str]]
    ) -> Loaded | None:
        """Return what a batch needs, operations by tenant and id; None where the partition stands elsewhere."""
        keys = self.keys(partition)
        answer = await self._scripts["load"](
            [keys.progress, keys.tenants, *(keys.operation(*operation) for operation in operations)],
            [position, *tenants],
        )
        return None if answer is None else Loaded(*answer)

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a batch and the new progress together, and answer; False where the partition no longer stands there."""
        keys = self.keys(partition)
        names: list[str] = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
        for tenant, operation_id, _, _ in commit.operations:
            names += (keys.operation(tenant, operation_id), keys.receipt(tenant, operation_id))
        arguments: list[Any] = [commit.position]
        for section in (
            commit.progress.items(),
            commit.records.items(),
            commit.removed,
            ((at, tenant) for tenant, at in commit.timers.items()),
            commit.untimed,
            commit.counts.items(),
            ((tenant, int(open_ended)) for tenant, open_ended in commit.open_ended.items()),
            ((packed, kept_ms) for _, _, packed, kept_ms in commit.operations),
            commit.answers,
        ):
            items = list(section)
            arguments.append(len(items))
            for item in items:
                arguments += (item,) if isinstance(item, str) else item
        return bool(await self._scripts["commit"](names, arguments))

    async def due(self, partition: int, now: int, skip: int, most: int) -> Due:
        """Return a page of the timers due at `now`, in milliseconds, and the partition's position."""
        keys = self.keys(partition)
        position, flat, later, whole = await self._scripts["due"]([keys.progress, keys.timers], [now, skip, most])
        timers = [(flat[index].decode(), int(float(flat[index + 1]))) for index in range(0, len(flat), 2)]
        return Due(int(position), timers, int(float(later)) if later else None, whole=bool(whole))

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Return the next cursor (0 at the end) and about `count` packed records."""
        with _client_errors():
            answer = await cast(
                "Awaitable[tuple[int, dict[bytes, bytes]]]",
                self._redis.hscan(self.keys(partition).tenants, cursor, count=count),
            )
        return int(answer[0]), answer[1]

    async def index(self, partition: int) -> Index:
        """Return what a partition holds beside its records, read in pages, and so not of one moment.

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
        """Return what a partition holds of some tenants beside their records; None where it stands elsewhere.

        Raises:
            StoreError: if Redis does not answer.
        """
        keys = self.keys(partition)
        names = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
        answer = await self._scripts["index"](names, [position, *tenants])
        if answer is None:
            return None
        times, members, flat = answer
        timed = zip(tenants, times, strict=True)
        return Index(
            timers={tenant: int(float(at)) for tenant, at in timed if at is not None},
            counts={_text(state): _count(number) for state, number in zip(flat[::2], flat[1::2], strict=True)},
            open={tenant for tenant, member in zip(tenants, members, strict=True) if member},
        )

    async def operations(self, partition: int, operations: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """Return packed operations by tenant and id, wherever the partition stands.

        Raises:
            StoreError: if Redis does not answer.
        """
        keys = self.keys(partition)
        with _client_errors():
            names = [keys.operation(*operation) for operation in operations]
            found: list[bytes | None] = await cast("Any", self._redis).mget(names)
        return found

    async def mark(self, partition: int) -> int | None:
        """Return `next` as it stands, None where a partition has no progress; negative while it is being rebuilt.

        Raises:
            StoreError: if Redis does not answer.
            NewerLayoutError: if a newer version wrote the progress.
            ValueError: if it is no number.
        """
        with _client_errors():
            found, layout = await cast("Any", self._redis).hmget(self.keys(partition).progress, ["next", "layout"])
        known_layout(layout)
        return None if found is None else int(found)

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """Take away what a partition holds, its operations aside, and mark it as being rebuilt.

        False where `next` is no longer what was expected.
        """
        keys = self.keys(partition)
        names = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
        return bool(await self._scripts["clear"](names, ["" if expected is None else expected, mark]))


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _count(raw: bytes) -> int:
    """Return a number of tenants, -1 where somebody wrote something else."""
    return int(raw) if _COUNT.fullmatch(raw) else -1


@contextmanager
def _client_errors() -> Iterator[None]:
    """Make a StoreError of what comes out of the client and is none: an outage too."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if not isinstance(error, RedisClusterException) and not from_the_client(error):
            raise
        raise StoreError(describe(error)) from error


class _Script:
    """A script of the package, sent by its digest and loaded where the server does not know it."""

    def __init__(self, redis: "Redis | RedisCluster", name: str) -> None:
        self._redis: Any = redis  # redis-py types a script's answer as text, awaitable or not.
        self._text = resources.files("worker.lua").joinpath(f"{name}.lua").read_text("utf-8")
        self._digest: str | None = None

    async def __call__(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - the script's to say
        with _client_errors():
            return await self._run(keys, arguments)

    async def _run(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - as above
        if self._digest is not None:
            try:
                return await self._redis.evalsha(self._digest, len(keys), *keys, *arguments)
            except NoScriptError:
                pass  # Redis was restarted or failed over: the text below is remembered again.
        answer = await self._redis.eval(self._text, len(keys), *keys, *arguments)
        self._digest = sha1(self._text.encode(), usedforsecurity=False).hexdigest()
        return answer
