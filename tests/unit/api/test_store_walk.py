"""Walks through a partition's tenants, and the numbers beside them, as they are asked of Redis."""

from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import RedisStore, Totals
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import new_record, pack
from schemas.names import PartitionKeys
from schemas.redis.client import RedisClient
from schemas.redis.progress import pack_rules
from tests.support.times import NOW

KEYS = PartitionKeys("sleep", 1)
RULES = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "deep"}})]
RECORD = new_record(RULES[1], NOW)
PACKED = pack(RECORD, RULES[1].terms.schedule)


class _Redis:
    """Gives an answer to each command and remembers what was asked, by round trip."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.trips: list[list[tuple[Any, ...]]] = []
        self.failure: Exception | None = None

    def pipeline(self, *, transaction: bool) -> "_Pipeline":
        assert not transaction
        return _Pipeline(self)

    async def execute_command(self, *command: object) -> object:
        return self.trip([command])[0]

    def trip(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        if self.failure is not None:
            raise self.failure
        self.trips.append(commands)
        return [self.answers[command[0]] for command in commands]


class _Pipeline:
    def __init__(self, redis: _Redis) -> None:
        self._redis = redis
        self._queued: list[tuple[Any, ...]] = []

    def execute_command(self, *command: object) -> None:
        self._queued.append(command)

    async def execute(self) -> list[Any]:
        return self._redis.trip(self._queued)


def _store(redis: _Redis) -> RedisStore:
    return RedisStore(cast("RedisClient", redis), "sleep", 2)


async def test_a_step_reads_records_and_then_the_rules_that_they_name() -> None:
    """In one round trip; rules that were read before could be too few."""
    redis = _Redis({"HSCAN": (7, {b"acme": PACKED}), "HGET": pack_rules(RULES)})
    step = await _store(redis).scan(1, 5, 100, open_ended=False)
    assert (step.cursor, step.records, [rules.number for rules in step.rules]) == (7, {"acme": RECORD}, [0, 1])
    assert redis.trips == [[("HSCAN", KEYS.tenants, 5, "COUNT", 100), ("HGET", KEYS.progress, "rules")]]


async def test_the_open_ended_are_found_by_their_own_key() -> None:
    """Their records are read beside it; one that went meanwhile is left out."""
    redis = _Redis({"SSCAN": (0, [b"gone", b"acme"]), "HMGET": [None, PACKED], "HGET": pack_rules(RULES)})
    step = await _store(redis).scan(1, 0, 100, open_ended=True)
    assert (step.cursor, step.records) == (0, {"acme": RECORD})
    assert redis.trips == [
        [("SSCAN", KEYS.open, 0, "COUNT", 100)],
        [("HMGET", KEYS.tenants, b"gone", b"acme"), ("HGET", KEYS.progress, "rules")],
    ]


async def test_where_nobody_is_open_ended_no_record_is_read() -> None:
    """An empty step may still have a next one."""
    redis = _Redis({"SSCAN": (3, [])})
    step = await _store(redis).scan(1, 0, 100, open_ended=True)
    assert (step.cursor, step.records, len(redis.trips)) == (3, {}, 1)


async def test_totals_are_the_sum_over_all_partitions() -> None:
    """In one round trip, from the counts that commits keep; a state that nobody was ever in counts 0."""
    redis = _Redis({"HGETALL": {b"active": b"40", b"freeze": b"2"}, "SCARD": 1})
    totals = await _store(redis).totals()
    assert totals == Totals({"active": 80, "light": 0, "deep": 0, "freeze": 4}, 2)
    assert len(redis.trips) == 1


async def test_a_walk_without_redis_is_no_empty_walk() -> None:
    """Nor is one over what cannot be read."""
    redis = _Redis({"HSCAN": (0, {b"acme": b"{}"}), "HGET": None})
    with pytest.raises(UnavailableError, match="cannot be read"):
        await _store(redis).scan(0, 0, 100, open_ended=False)
    redis = _Redis({"HGETALL": {b"active": b"many"}, "SCARD": 1})
    with pytest.raises(UnavailableError, match="cannot be read"):
        await _store(redis).totals()
    redis.failure = RedisConnectionError("refused")
    for asked in (_store(redis).scan(0, 0, 100, open_ended=True), _store(redis).totals()):
        with pytest.raises(UnavailableError, match="redis"):
            await asked
