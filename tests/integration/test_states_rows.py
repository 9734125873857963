"""The rows for the list of states, on a real Redis: slices of what a lane committed, each with the progress."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from api.adapters.dependency import UnavailableError
from api.adapters.redis_states import RedisStates, Slice
from api.adapters.redis_store import connect
from api.adapters.redis_turns import RedisTurns
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import pack
from schemas.redis.progress import ProgressUpdate, pack_rules
from tests.integration.conftest import settings_of
from tests.services import Client, Namespace, Services
from tests.support.claims import breaker, folded
from tests.support.commits import commit
from worker.adapters.redis_store import LaneStore

pytestmark = pytest.mark.cluster

RECORD = folded([breaker("a@1", "open")]).record
PACKED = pack(RECORD, BUILT_IN_RULES.terms.schedule)
# More than a hash keeps in one piece, and no multiple of a slice.
NAMES = [f"tenant-{number}" for number in range(1_234)]


@pytest.fixture
async def rows(services: Services, namespace: Namespace) -> AsyncIterator[RedisStates]:
    """The rows of two partitions."""
    client = connect(settings_of(services, namespace), shared=True)
    yield RedisStates(client, namespace.redis_prefix, 2, RedisTurns())
    await client.aclose()


async def _slices(rows: RedisStates, partition: int = 0) -> list[Slice]:
    return [piece async for piece in rows.slices(partition)]


async def test_all_records_come_with_the_progress(rows: RedisStates, real: LaneStore) -> None:
    """In slices, of which the first says so; the rules are read where they have changed."""
    written = commit(0, 3, records=dict.fromkeys(NAMES, PACKED))
    rules = [BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})]
    update = ProgressUpdate(next=3, states_next=17, rules=pack_rules(rules))
    assert await real.commit(0, written._replace(progress=update))
    pieces = await _slices(rows)
    assert {tenant for piece in pieces for tenant in piece.records} == set(NAMES)
    assert [piece.first for piece in pieces] == [True, *[False] * (len(pieces) - 1)]
    assert len(pieces) > 2
    for piece in pieces:
        assert (piece.next, piece.states_next) == (3, 17)
        assert [each.digest for each in piece.rules] == [each.digest for each in rules]
    assert all(record == RECORD for piece in pieces for record in piece.records.values())


async def test_a_partition_that_was_never_used_has_no_progress(rows: RedisStates) -> None:
    """And no rows; the rules are the built-in ones."""
    assert await _slices(rows) == [Slice(None, None, [BUILT_IN_RULES], {}, first=True)]


async def test_each_slice_has_the_progress_of_its_own_moment(rows: RedisStates, real: LaneStore) -> None:
    """New rules too: a record may be of these."""
    assert await real.commit(0, commit(0, 1, records=dict.fromkeys(NAMES, PACKED)))
    rules = [BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})]
    newer = pack(replace(RECORD, rules_number=1), rules[1].terms.schedule)
    seen: list[Slice] = []
    async for piece in rows.slices(0):
        if not seen:
            update = ProgressUpdate(next=2, rules=pack_rules(rules))
            assert await real.commit(0, commit(1, 2, records=dict.fromkeys(NAMES, newer))._replace(progress=update))
        seen.append(piece)
    assert [piece.next for piece in seen] == [1, *[2] * (len(seen) - 1)]
    assert {record.rules_number for piece in seen[1:] for record in piece.records.values()} == {1}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("next", "-5", "is being rebuilt"),
        ("refolds_to", "9", "is being replayed: 3 of 9 records"),
        ("records", "7", "Redis has 2 of the 7 records of partition 0"),
    ],
)
async def test_a_partition_that_is_not_whole_is_unavailable(
    rows: RedisStates, real: LaneStore, redis: Client, field: str, value: str, reason: str
) -> None:
    """With the reason. Each slice is checked."""
    assert await real.commit(0, commit(0, 3, records={"acme": PACKED, "globex": PACKED}))
    await redis.hset(real.keys(0).progress, field, value)
    with pytest.raises(UnavailableError, match=reason):
        await _slices(rows)


async def test_a_record_that_cannot_be_read_is_unavailable(rows: RedisStates, real: LaneStore) -> None:
    """Never left out."""
    assert await real.commit(0, commit(0, 3, records={"acme": b"x"}))
    with pytest.raises(UnavailableError, match="cannot be read"):
        await _slices(rows)


async def test_the_record_of_a_doubted_tenant_comes_with_the_position(rows: RedisStates, real: LaneStore) -> None:
    """None without a record."""
    assert await real.commit(0, commit(0, 3, records={"acme": PACKED}))
    doubted = await rows.doubted(0, ["acme", "globex"])
    assert (doubted.next, doubted.records) == (3, {"acme": RECORD, "globex": None})


async def test_the_partitions_that_lack_data_are_named(rows: RedisStates, real: LaneStore, redis: Client) -> None:
    """The first of those that were asked for."""
    assert await real.commit(0, commit(0, 3, records={"acme": PACKED}))
    assert await rows.incomplete([0]) == ""
    assert await rows.incomplete([0, 1]) == "Redis has no data of partition 1"
    await redis.hset(real.keys(0).progress, "next", "-1")
    assert await rows.incomplete([0]) == "partition 0 is being rebuilt"
