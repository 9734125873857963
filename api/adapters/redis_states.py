"""The rows of a partition for the list of tenants' states: in slices, each with the progress of the partition."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Final, NamedTuple, Protocol

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import REDIS, asking, incompleteness, rules_in
from api.adapters.redis_turns import RedisTurns
from schemas.domain.policy import Rules
from schemas.domain.record import Record, unpack
from schemas.names import PartitionKeys
from schemas.redis.client import RedisClient
from schemas.redis.script import Script

SLICE: Final = 100
"""How many records one round trip asks for. They take some milliseconds, and requests are served in between."""
_ATTEMPTS: Final = 3
_SCRIPT: Final = Script(resources.files("api.adapters.lua").joinpath("states.lua").read_text("utf-8"))


class Slice(NamedTuple):
    """Some records of a partition.

    Attributes:
        next: the first offset of the events topic that is not applied, None if the partition has no progress.
        states_next: the offset in the states topic from which on there may be records that are not applied, None if
            that is unknown.
        rules: all rules of the partition, by number.
        records: the records, by tenant.
        first: whether this begins a scan. Slices before it are to be dropped.
    """

    next: int | None
    states_next: int | None
    rules: list[Rules]
    records: dict[str, Record]
    first: bool


class Doubted(NamedTuple):
    """What Redis has of some tenants: `next`, read before their records, and all rules, read after them."""

    next: int
    rules: list[Rules]
    records: dict[str, Record | None]


class StateRows(Protocol):
    """The rows of partitions. Every method raises UnavailableError if Redis does not answer."""

    def slices(self, partition: int) -> AsyncIterator[Slice]:
        """Yield all records of a partition; each that lives throughout the scan comes at least once."""
        ...

    async def doubted(self, partition: int, tenants: Sequence[str]) -> Doubted:
        """Return the records of some tenants."""
        ...

    async def incomplete(self, partitions: Iterable[int]) -> str:
        """Return which of these partitions Redis does not have all data of, and why; empty if there is none."""
        ...


class RedisStates:
    """The rows of one installation; see `StateRows`.

    Args:
        client: a client that answers bytes.
        prefix: the first part of each key.
        partitions: how many partitions there are.
        turns: the places for concurrent calls.
    """

    def __init__(self, client: RedisClient, prefix: str, partitions: int, turns: RedisTurns) -> None:
        self._client = client
        self._turns = turns
        self._keys = [PartitionKeys(prefix, number) for number in range(partitions)]

    async def slices(self, partition: int) -> AsyncIterator[Slice]:
        """Yield all records of a partition, again from the start if another process of Redis answers meanwhile.

        Raises:
            UnavailableError: if Redis does not answer, lacks data of the partition, or is replaced again and again.
        """
        for _ in range(_ATTEMPTS):
            scan = _Scan()
            while await self._step(partition, scan):
                yield Slice(scan.next, scan.states_next, scan.rules, scan.records, scan.steps == 1)
                if scan.cursor == 0:
                    return
        finding = f"another server answered {_ATTEMPTS} times while partition {partition} was read"
        raise UnavailableError(REDIS, finding, finding)

    async def _step(self, partition: int, scan: "_Scan") -> bool:
        """Read the next slice; False if another process than that of the scan answered."""
        keys = self._keys[partition]
        async with asking(self._client, self._turns):
            answer = await _SCRIPT.run(self._client, [keys.progress, keys.tenants], [scan.cursor, SLICE, scan.size])
            process, following, refolds_to, states_next, number, counted, size, packed_rules, cursor, flat = answer
            if scan.steps and process != scan.process:
                return False
            if following is not None:
                _require(partition, following, refolds_to, int(number or 0), counted)
            if size != scan.size:
                scan.rules, scan.size = rules_in(packed_rules), size
            scan.process, scan.cursor = process, int(cursor)
            scan.next = None if following is None else int(following)
            scan.states_next = None if states_next is None else int(states_next)
            names = zip(flat[::2], flat[1::2], strict=True)
            scan.records = {tenant.decode(): unpack(packed, scan.rules) for tenant, packed in names}
            scan.steps += 1
            return True

    async def doubted(self, partition: int, tenants: Sequence[str]) -> Doubted:
        """Return the records of some tenants, in one round trip."""
        keys = self._keys[partition]
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            # A commit may come in between. See `Doubted` for the order.
            pipeline.execute_command("HGET", keys.progress, "next")
            pipeline.execute_command("HMGET", keys.tenants, *tenants)
            pipeline.execute_command("HGET", keys.progress, "rules")
            following, packed, packed_rules = await pipeline.execute()
            rules = rules_in(packed_rules)
            records = (None if item is None else unpack(item, rules) for item in packed)
            return Doubted(int(following or 0), rules, dict(zip(tenants, records, strict=True)))

    async def incomplete(self, partitions: Iterable[int]) -> str:
        """Return why one of these partitions is incomplete, in one round trip; see `StateRows`."""
        asked = list(partitions)
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            for partition in asked:
                pipeline.execute_command("HMGET", self._keys[partition].progress, "next", "refolds_to")
            answers = await pipeline.execute()
            reasons = (incompleteness(number, *answer) for number, answer in zip(asked, answers, strict=True))
            return next(filter(None, reasons), "")


@dataclass(slots=True)
class _Scan:
    """How far a scan has come, and its last slice. The attributes are as in `Slice`; `size` is that of the rules."""

    steps: int = 0
    process: bytes = b""
    cursor: int = 0
    size: int = -1
    next: int | None = None
    states_next: int | None = None
    rules: list[Rules] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)


def _require(partition: int, following: bytes, refolds_to: bytes | None, number: int, counted: int) -> None:
    """Require that Redis has all data of a partition with progress.

    Raises:
        UnavailableError: if not.
    """
    reason = incompleteness(partition, following, refolds_to)
    if not reason and number != counted:
        reason = f"Redis has {counted} of the {number} records of partition {partition}"
    if reason:
        raise UnavailableError(REDIS, reason, f"{reason}, so nothing is known of its tenants")
