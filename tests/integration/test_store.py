"""The store and its scripts on a real Redis, and the same behaviours of the fake that unit tests stand on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError

from schemas.policy import BUILT_IN_RULES, parse_rules
from schemas.progress import LAYOUT, pack_rules
from schemas.settings import Settings
from tests.fakes import FakeStore
from tests.services import Client, Namespace, Services, listening_client, redis_client
from worker import ports
from worker.ports import Commit, Due, Loaded
from worker.store import Store

pytestmark = pytest.mark.cluster

EMPTY = Commit(0, {"next": 1}, {}, [], {}, [], {}, {}, [])


def commit(
    position: int,
    next_: int,
    *,
    records: dict[str, bytes] | None = None,
    removed: list[str] | None = None,
    timers: dict[str, int] | None = None,
    untimed: list[str] | None = None,
) -> Commit:
    """Return a commit of these records and timers."""
    return Commit(position, {"next": next_}, records or {}, removed or [], timers or {}, untimed or [], {}, {}, [])


@pytest.fixture
async def real(services: Services, namespace: Namespace) -> AsyncIterator[Store]:
    """A store on the real Redis, under a prefix of its own."""
    settings = Settings.model_validate(
        {"kafka_bootstrap": services.kafka, "redis_url": services.redis, "redis_prefix": namespace.redis_prefix}
    )
    store = Store.connect(settings)
    yield store
    await store.close()


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[Client]:
    """A client of its own, to look behind the store."""
    client = redis_client(services.redis)
    yield client
    await client.aclose()


@pytest.fixture(params=["fake", "redis"])
def store(request: pytest.FixtureRequest) -> ports.Store:
    """Each store in turn."""
    if request.param == "fake":
        return FakeStore()
    found: ports.Store = request.getfixturevalue("real")
    return found


async def test_a_partition_not_yet_begun_stands_at_zero(store: ports.Store) -> None:
    """And may be read and written from there."""
    standing = await store.standing(0)
    assert (standing.progress.next, standing.progress.partitions, standing.records) == (0, None, 0)
    assert await store.load(0, 0, ["acme"], [("acme", "op-1")]) == Loaded([None], [None])
    assert await store.commit(0, EMPTY)


async def test_what_was_committed_is_loaded_in_the_order_asked(store: ports.Store) -> None:
    """None stands where there is nothing."""
    written = commit(0, 3, records={"acme": b"A", "other": b"O"})._replace(
        operations=[("acme", "op-1", b"first", 60_000), ("acme", "op-2", b"second", 60_000)]
    )
    assert await store.commit(0, written)
    loaded = await store.load(0, 3, ["other", "nobody", "acme"], [("acme", "op-2"), ("acme", "op-9"), ("acme", "op-1")])
    assert loaded == Loaded([b"O", None, b"A"], [b"second", None, b"first"])
    standing = await store.standing(0)
    assert (standing.progress.next, standing.progress.records, standing.records) == (3, 2, 2)


async def test_whoever_stands_elsewhere_is_refused_and_changes_nothing(store: ports.Store) -> None:
    """Behind, ahead, or the same batch again."""
    first = commit(0, 3, records={"acme": b"A"}, timers={"acme": 5})
    assert await store.commit(0, first)
    before = await store.standing(0), await store.due(0, 10, 0, 10)
    for position in (0, 2, 4, 30):
        assert await store.load(0, position, ["acme"], []) is None
        stale = commit(position, 9, records={"acme": b"B", "new": b"N"}, removed=["acme"], timers={"new": 1})
        assert not await store.commit(0, stale)
    assert (await store.standing(0), await store.due(0, 10, 0, 10)) == before
    assert await store.load(0, 3, ["acme", "new"], []) == Loaded([b"A", None], [])


async def test_of_two_owners_exactly_one_commits(store: ports.Store) -> None:
    """They are at the same position at the same moment."""
    done = await asyncio.gather(*(store.commit(0, commit(0, 1, records={"acme": bytes([n])})) for n in range(20)))
    assert sorted(done) == [False] * 19 + [True]


async def test_partitions_do_not_touch_each_other(store: ports.Store) -> None:
    """Each has its own position, records and timers."""
    assert await store.commit(0, commit(0, 7, records={"acme": b"A"}, timers={"acme": 5}))
    assert await store.commit(1, commit(0, 9, records={"acme": b"B"}))
    assert await store.load(0, 7, ["acme"], []) == Loaded([b"A"], [])
    assert await store.load(1, 9, ["acme"], []) == Loaded([b"B"], [])
    assert await store.due(1, 10, 0, 10) == Due(9, [], None)


async def test_what_is_removed_is_gone(store: ports.Store) -> None:
    """Record, timer, and the number of records."""
    await store.commit(0, commit(0, 1, records={"acme": b"A", "other": b"O"}, timers={"acme": 5, "other": 6}))
    assert await store.commit(0, commit(1, 2, removed=["acme"], untimed=["acme", "nobody"]))
    assert await store.load(0, 2, ["acme", "other"], []) == Loaded([None, b"O"], [])
    assert (await store.standing(0)).progress.records == 1
    assert await store.due(0, 10, 0, 10) == Due(2, [("other", 6)], None)


async def test_due_timers_come_by_time_and_page_by_page(store: ports.Store) -> None:
    """With the first that is not yet due."""
    at = {f"tenant-{number}": 1_795_334_837_992 + number // 2 for number in range(10)}
    await store.commit(0, commit(0, 1, timers=at))
    now = 1_795_334_837_995
    pages = [await store.due(0, now, skip, 3) for skip in (0, 3, 6, 9)]
    assert [tenant for page in pages for tenant, _ in page.timers] == [f"tenant-{number}" for number in range(8)]
    assert [len(page.timers) for page in pages] == [3, 3, 2, 0]
    assert {page.later for page in pages} == {now + 1}
    assert {page.position for page in pages} == {1}


async def test_a_timer_that_is_set_again_replaces_the_one_before(store: ports.Store) -> None:
    """A tenant has one."""
    await store.commit(0, commit(0, 1, timers={"acme": 5}))
    await store.commit(0, commit(1, 2, timers={"acme": 50}))
    assert await store.due(0, 10, 0, 10) == Due(2, [], 50)


async def test_a_scan_sees_every_tenant(store: ports.Store) -> None:
    """In pages, until the cursor is 0 again."""
    records = {f"tenant-{number}": str(number).encode() for number in range(2_500)}
    await store.commit(0, commit(0, 1, records=records))
    seen: dict[bytes, bytes] = {}
    cursor, pages = 0, 0
    while True:
        cursor, page = await store.scan(0, cursor, 500)
        seen |= page
        pages += 1
        if not cursor:
            break
    assert seen == {tenant.encode(): packed for tenant, packed in records.items()}
    assert pages > 1


async def test_more_than_fits_the_stack_of_a_script_is_read_and_written_whole(store: ports.Store) -> None:
    """Lua unpacks some thousands of values at the most, so the scripts go in slices."""
    count = 9_001
    names = [f"tenant-{number}" for number in range(count)]
    operations = [(name, "op-1", b"operation " + name.encode(), 60_000) for name in names]
    written = commit(
        0, 1, records={name: name.encode() for name in names}, timers={name: n for n, name in enumerate(names)}
    )._replace(
        operations=operations,
        counts={"freeze": count},
        open_ended=dict.fromkeys(names, True),
    )
    assert await store.commit(0, written)
    loaded = await store.load(0, 1, names, [(name, "op-1") for name in names])
    assert loaded == Loaded([name.encode() for name in names], [packed for _, _, packed, _ in operations])
    assert len((await store.due(0, count, 0, count)).timers) == count
    assert await store.commit(0, commit(1, 2, removed=names, untimed=names))
    assert (await store.standing(0)).records == 0


async def test_a_number_of_records_that_is_wrong_refuses_everything(real: Store, redis: Client) -> None:
    """A Redis that evicted or lost some is not worked on."""
    await real.commit(0, commit(0, 1, records={"acme": b"A", "other": b"O"}))
    await redis.hdel(real.keys(0).tenants, "acme")
    assert await real.load(0, 1, ["other"], []) is None
    assert not await real.commit(0, commit(1, 2, records={"other": b"X"}))
    standing = await real.standing(0)
    assert (standing.progress.records, standing.records) == (2, 1)


async def test_counts_and_open_ended_tenants_are_kept_as_they_move(real: Store, redis: Client) -> None:
    """They have keys of their own, so that nobody has to count."""
    await real.commit(
        0, EMPTY._replace(counts={"freeze": 2, "light": 1}, open_ended={"acme": True, "other": True, "third": False})
    )
    await real.commit(
        0,
        EMPTY._replace(
            position=1, progress={"next": 2}, counts={"freeze": -1, "active": 1}, open_ended={"acme": False}
        ),
    )
    keys = real.keys(0)
    assert await redis.hgetall(keys.counts) == {b"freeze": b"1", b"light": b"1", b"active": b"1"}
    assert await redis.smembers(keys.open) == {b"other"}


async def test_a_count_that_is_none_is_read_as_one_below_none(real: Store, redis: Client) -> None:
    """So that `verify` names it, as it would another number."""
    await redis.hset(real.keys(0).counts, mapping={"deep": b"2", "light": b"many"})
    expected = {"deep": 2, "light": -1}
    assert (await real.index(0)).counts == expected
    found = await real.index_at(0, 0, [])
    assert found is not None
    assert found.counts == expected


@pytest.mark.parametrize("count", [b"many", b"1.0", b"007", b"-0", b"9" * 16])
async def test_nothing_is_added_to_a_count_that_is_none_and_nothing_else_is_written(
    real: Store, redis: Client, count: bytes
) -> None:
    """A script that failed halfway would leave records which the progress does not know of."""
    acme = commit(0, 1, records={"acme": b"A"})._replace(counts={"freeze": 1})
    assert await real.commit(0, acme)
    await redis.hset(real.keys(0).counts, "light", count)
    changed = commit(1, 2, records={"acme": b"B"})._replace(counts={"freeze": -1, "light": 1})
    assert not await real.commit(0, changed)
    assert await real.load(0, 1, ["acme"], []) == ports.Loaded([b"A"], [])
    assert await redis.hgetall(real.keys(0).counts) == {b"freeze": b"1", b"light": count}
    assert (await real.standing(0)).counted == -1


async def test_an_operation_ends_by_itself_and_takes_its_receipt_with_it(real: Store, redis: Client) -> None:
    """The receipt was only there until the command was applied."""
    keys = real.keys(0)
    await redis.set(keys.receipt("acme", "op-1"), b"receipt")
    await real.commit(0, EMPTY._replace(operations=[("acme", "op-1", b"operation", 60_000)]))
    assert await redis.exists(keys.receipt("acme", "op-1")) == 0
    assert 59_000 < await redis.pttl(keys.operation("acme", "op-1")) <= 60_000


async def test_progress_keeps_what_a_batch_does_not_mention(real: Store) -> None:
    """Rules are written when they change only."""
    rules = pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})])
    await real.commit(0, EMPTY._replace(progress={"next": 1, "rules": rules, "states_next": 4}))
    await real.commit(0, EMPTY._replace(position=1, progress={"next": 2, "swept": 1, "partitions": 8}))
    progress = (await real.standing(0)).progress
    assert (progress.next, progress.states_next, progress.swept, progress.partitions) == (2, 4, 1, 8)
    assert [version.retire_after_ms for version in progress.rules] == [86_400_000, 60_000]


async def test_answers_reach_whoever_listens(real: Store, services: Services, namespace: Namespace) -> None:
    """And nobody minds where no one does; a commit that is refused answers nobody."""
    channel = f"{namespace.redis_prefix}:reply:1"
    async with listening_client(services.redis) as redis, redis.pubsub() as listener:
        await listener.subscribe(channel)
        await listener.get_message(timeout=5)
        answers = [(channel, b"outcome"), (f"{channel}-nobody", b"lost")]
        assert await real.commit(0, EMPTY._replace(answers=answers))
        message = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
        assert not await real.commit(0, EMPTY._replace(answers=answers))
        assert await listener.get_message(ignore_subscribe_messages=True, timeout=0.2) is None
    assert message is not None
    assert message["data"] == b"outcome"


async def test_scripts_that_redis_has_forgotten_are_sent_again(real: Store, redis: Client) -> None:
    """It was restarted."""
    await real.load(0, 0, [], [])
    await redis.script_flush()
    assert await real.load(0, 0, ["acme"], []) == Loaded([None], [])


async def test_a_redis_that_is_gone_is_said_in_seconds_and_found_again(real: Store, services: Services) -> None:
    """Without a new client; what became of a commit is to be looked up."""
    await real.commit(0, commit(0, 1, records={"acme": b"A"}))
    with services.store.paused():
        began = asyncio.get_running_loop().time()
        with pytest.raises(RedisError):
            await real.commit(0, commit(1, 2))
        assert asyncio.get_running_loop().time() - began < 7
    standing = await real.standing(0)
    assert standing.records == 1
    assert standing.progress.next in (1, 2)


async def test_some_fields_of_the_progress_are_committed_under_the_same_fence(store: ports.Store) -> None:
    """Nothing else moves, and whoever stands elsewhere is refused."""
    assert await store.commit(0, commit(0, 3, records={"acme": b"A"}))
    assert await store.commit(0, Commit.of_progress(3, {"states_next": 9}))
    assert not await store.commit(0, Commit.of_progress(2, {"states_next": 7}))
    standing = await store.standing(0)
    assert (standing.progress.next, standing.progress.states_next, standing.records) == (3, 9, 1)


async def test_what_is_really_there_is_counted_beside_what_the_last_commit_said(store: ports.Store) -> None:
    """What is lost of either is noticed; a partition that was never used has nothing."""
    assert (await store.standing(0))[1:] == (False, 0, 0, 0, 0)
    acme = commit(0, 3, records={"acme": b"A"}, timers={"acme": 9})._replace(
        counts={"deep": 1}, open_ended={"acme": True}
    )
    assert await store.commit(0, acme._replace(progress=acme.progress | {"layout": LAYOUT}))
    standing = await store.standing(0)
    assert standing[1:] == (True, 1, 1, 1, 1)
    assert (standing.progress.records, standing.progress.timers, standing.progress.open) == (1, 1, 1)
    assert (await store.due(0, 10, 0, 10)).whole


async def test_redis_tells_how_it_is_run(real: Store) -> None:
    """Without a command that managed services forbid."""
    found = await real.info()
    assert found
    for info in found.values():
        assert {"maxmemory_policy", "aof_enabled", "connected_slaves"} <= info.keys()
