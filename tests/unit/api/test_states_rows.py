"""The rows for the list of states, by what the script answers; `tests/integration` has it on a real Redis."""

from typing import Any, cast

import pytest

from api.adapters import redis_states
from api.adapters.dependency import UnavailableError
from api.adapters.redis_states import RedisStates, Slice
from api.adapters.redis_turns import RedisTurns
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import pack
from schemas.redis.client import RedisClient
from schemas.redis.progress import pack_rules
from tests.support.claims import breaker, folded
from tests.unit.api.redis_client import FakeRedis

RECORD = folded([breaker("a@1", "open")]).record
PACKED = pack(RECORD, BUILT_IN_RULES.terms.schedule)
RULES = [BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})]


class Script:
    """Answers one thing after another, and remembers what it was asked."""

    def __init__(self, *answers: list[Any]) -> None:
        self.asked: list[Any] = []
        self._answers = iter(answers)

    async def run(self, _redis: object, _keys: object, arguments: list[Any]) -> list[Any]:
        self.asked.append(arguments)
        return next(self._answers)


def answer(cursor: int, *tenants: str, process: bytes = b"a", rules: bytes | None = None, size: int = 0) -> list[Any]:
    """What the script answers of a partition with two records that is at offset 7."""
    flat = [part for tenant in tenants for part in (tenant.encode(), PACKED)]
    return [process, b"7", None, b"12", b"2", 2, size, rules, b"%d" % cursor, flat]


async def _slices(monkeypatch: pytest.MonkeyPatch, *answers: list[Any]) -> tuple[Script, list[Slice]]:
    script = Script(*answers)
    monkeypatch.setattr(redis_states, "_SCRIPT", script)
    rows = RedisStates(cast("RedisClient", FakeRedis()), "sleep", 2, RedisTurns())
    return script, [piece async for piece in rows.slices(1)]


async def test_a_scan_goes_on_where_it_was_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slice is marked."""
    script, pieces = await _slices(monkeypatch, answer(5, "acme"), answer(0, "globex"))
    assert [arguments[0] for arguments in script.asked] == [0, 5]
    assert pieces == [
        Slice(7, 12, [BUILT_IN_RULES], {"acme": RECORD}, first=True),
        Slice(7, 12, [BUILT_IN_RULES], {"globex": RECORD}, first=False),
    ]


async def test_the_rules_are_sent_only_where_they_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is told how long those are that are known."""
    packed = pack_rules(RULES)
    changed = answer(0, rules=packed, size=len(packed))
    script, pieces = await _slices(monkeypatch, answer(5), answer(6), changed)
    assert [arguments[2] for arguments in script.asked] == [-1, 0, 0]
    assert [len(piece.rules) for piece in pieces] == [1, 1, 2]


async def test_another_process_begins_the_scan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slices are a scan of their own."""
    answers = [answer(5, "acme"), answer(9, process=b"b"), answer(0, "globex", process=b"b")]
    script, pieces = await _slices(monkeypatch, *answers)
    assert [arguments[0] for arguments in script.asked] == [0, 5, 0]
    assert [(list(piece.records), piece.first) for piece in pieces] == [(["acme"], True), (["globex"], True)]


async def test_a_redis_that_is_replaced_again_and_again_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three times."""
    answers = [answer(5, process=b"%d" % number) for number in range(6)]
    with pytest.raises(UnavailableError, match="another server answered 3 times"):
        await _slices(monkeypatch, *answers)


async def test_a_partition_with_fewer_records_than_it_should_have_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is known of the others."""
    lost = answer(0)
    lost[5] = 1
    with pytest.raises(UnavailableError, match="Redis has 1 of the 2 records of partition 1"):
        await _slices(monkeypatch, lost)


async def test_doubted_tenants_and_lacking_partitions_take_one_round_trip_each() -> None:
    """The position is read before the records, and the rules after them."""
    redis = FakeRedis()
    redis.hashes["{sleep:1}:progress", "next"] = b"7"
    redis.hashes["{sleep:1}:tenants", "acme"] = PACKED
    rows = RedisStates(cast("RedisClient", redis), "sleep", 2, RedisTurns())
    doubted = await rows.doubted(1, ["acme", "globex"])
    assert (doubted.next, doubted.records) == (7, {"acme": RECORD, "globex": None})
    assert [command.split(":")[2].split()[0] for command in redis.queued] == ["progress", "tenants", "progress"]
    assert await rows.incomplete([1]) == ""
    assert await rows.incomplete([1, 0]) == "Redis has no data of partition 0"
    assert redis.trips == 3
