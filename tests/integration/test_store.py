"""The store and its scripts on a real Redis, and the same behaviours of the fake that unit tests stand on."""

import asyncio

import pytest
from redis.exceptions import RedisError

from api.adapters.redis_receipts import RedisReceipts
from api.adapters.redis_store import RedisStore, connect
from api.commands.receipt import Receipt
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.redis import command_memory as remembered
from schemas.redis.progress import LAYOUT, ProgressUpdate, pack_rules
from tests.integration.conftest import settings_of
from tests.services import Client, Namespace, Services, listening_client
from tests.support.commits import EMPTY, OP, commit, packed
from tests.support.operations import outcome
from tests.support.times import NOW
from worker import ports
from worker.adapters.redis_store import LaneStore
from worker.ports import Commit, Due, Loaded

pytestmark = pytest.mark.cluster


async def test_a_partition_not_yet_begun_stands_at_zero(store: ports.Store) -> None:
    """And may be read and written from there."""
    standing = await store.partition_status(0)
    assert (standing.progress.next, standing.progress.partitions, standing.records) == (0, None, 0)
    assert await store.load(0, 0, ["acme"], [("acme", "op-1")]) == Loaded([None], [None])
    assert await store.commit(0, EMPTY)


async def test_what_was_committed_is_loaded_in_the_order_asked(store: ports.Store) -> None:
    """None stands where there is nothing."""
    written = commit(0, 3, records={"acme": b"A", "other": b"O"})._replace(
        operations={("acme", "op-1"): b"first", ("acme", "op-2"): b"second"}
    )
    assert await store.commit(0, written)
    loaded = await store.load(0, 3, ["other", "nobody", "acme"], [("acme", "op-2"), ("acme", "op-9"), ("acme", "op-1")])
    assert loaded == Loaded([b"O", None, b"A"], [b"second", None, b"first"])
    standing = await store.partition_status(0)
    assert (standing.progress.next, standing.progress.records, standing.records) == (3, 2, 2)


@pytest.mark.parametrize(("most", "answered"), [(1, 1), (2_000, 1), (2_001, 2), (119_000, 60), (1 << 20, 120)])
async def test_records_that_are_too_large_for_one_answer_come_in_part(
    store: ports.Store, monkeypatch: pytest.MonkeyPatch, most: int, answered: int
) -> None:
    """The first of them, up to that with which they are large enough, and all of the operations."""
    monkeypatch.setattr("worker.ports.LOAD_BYTES", most)
    monkeypatch.setattr("worker.adapters.redis_store.LOAD_BYTES", most)
    names = [f"tenant-{number:03}" for number in range(120)]
    records = {name: name.encode().ljust(2_000) for name in names}
    assert await store.commit(0, commit(0, 1, records=records)._replace(operations={("acme", "op-1"): b"first"}))
    loaded = await store.load(0, 1, names, [("acme", "op-1")])
    assert loaded == Loaded([records[name] for name in names[:answered]], [b"first"])


async def test_tenants_without_a_record_take_nothing_of_an_answer(
    store: ports.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are."""
    monkeypatch.setattr("worker.ports.LOAD_BYTES", 1)
    monkeypatch.setattr("worker.adapters.redis_store.LOAD_BYTES", 1)
    assert await store.commit(0, commit(0, 1, records={"acme": b"A", "other": b"O"}))
    names = [*(f"nobody-{number}" for number in range(200)), "acme", "other"]
    assert await store.load(0, 1, names, []) == Loaded([*[None] * 200, b"A"], [])


async def test_whoever_stands_elsewhere_is_refused_and_changes_nothing(store: ports.Store) -> None:
    """Behind, ahead, or the same batch again."""
    first = commit(0, 3, records={"acme": b"A"}, timers={"acme": 5})
    assert await store.commit(0, first)
    before = await store.partition_status(0), await store.due(0, -1, 10, 0, 10)
    for position in (0, 2, 4, 30):
        assert await store.load(0, position, ["acme"], []) is None
        stale = commit(position, 9, records={"acme": b"B", "new": b"N"}, removed=["acme"], timers={"new": 1})
        assert not await store.commit(0, stale)
    assert (await store.partition_status(0), await store.due(0, -1, 10, 0, 10)) == before
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
    assert await store.due(1, -1, 10, 0, 10) == Due(9, [], None)


async def test_what_is_removed_is_gone(store: ports.Store) -> None:
    """Record, timer, and the number of records."""
    await store.commit(0, commit(0, 1, records={"acme": b"A", "other": b"O"}, timers={"acme": 5, "other": 6}))
    assert await store.commit(0, commit(1, 2, removed=["acme"], untimed=["acme", "nobody"]))
    assert await store.load(0, 2, ["acme", "other"], []) == Loaded([None, b"O"], [])
    assert (await store.partition_status(0)).progress.records == 1
    assert await store.due(0, -1, 10, 0, 10) == Due(2, [("other", 6)], None)


async def test_due_timers_come_by_time_and_page_by_page(store: ports.Store) -> None:
    """With the first that is not yet due."""
    at = {f"tenant-{number}": 1_795_334_837_992 + number // 2 for number in range(10)}
    await store.commit(0, commit(0, 1, timers=at))
    now = 1_795_334_837_995
    pages = [await store.due(0, -1, now, skip, 3) for skip in (0, 3, 6, 9)]
    assert [tenant for page in pages for tenant, _ in page.timers] == [f"tenant-{number}" for number in range(8)]
    assert [len(page.timers) for page in pages] == [3, 3, 2, 0]
    assert {page.later for page in pages} == {now + 1}
    assert {page.position for page in pages} == {1}


async def test_a_timer_that_is_set_again_replaces_the_one_before(store: ports.Store) -> None:
    """A tenant has one."""
    await store.commit(0, commit(0, 1, timers={"acme": 5}))
    await store.commit(0, commit(1, 2, timers={"acme": 50}))
    assert await store.due(0, -1, 10, 0, 10) == Due(2, [], 50)


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
    operations = {(name, "op-1"): b"\2" + number.to_bytes(8, "big") for number, name in enumerate(names)}
    written = commit(
        0, 1, records={name: name.encode() for name in names}, timers={name: n for n, name in enumerate(names)}
    )._replace(
        operations=operations,
        ended_operations=list(operations),
        removed_receipts=list(operations),
        count_changes={"freeze": count},
        open_ended=dict.fromkeys(names, True),
    )
    assert await store.commit(0, written)
    loaded = await store.load(0, 1, names, [(name, "op-1") for name in names])
    assert loaded == Loaded([name.encode() for name in names], list(operations.values()))
    assert len((await store.due(0, -1, count, 0, count)).timers) == count
    assert await store.commit(0, commit(1, 2, removed=names, untimed=names))
    standing = await store.partition_status(0)
    assert (standing.records, standing.operations, standing.ended) == (0, count, count)


async def test_a_number_of_records_that_is_wrong_refuses_everything(real: LaneStore, redis: Client) -> None:
    """A Redis that evicted or lost some is not worked on."""
    await real.commit(0, commit(0, 1, records={"acme": b"A", "other": b"O"}))
    await redis.hdel(real.keys(0).tenants, "acme")
    assert await real.load(0, 1, ["other"], []) is None
    assert not await real.commit(0, commit(1, 2, records={"other": b"X"}))
    standing = await real.partition_status(0)
    assert (standing.progress.records, standing.records) == (2, 1)


async def test_counts_and_open_ended_tenants_are_kept_as_they_move(real: LaneStore, redis: Client) -> None:
    """They have keys of their own, so that nobody has to count."""
    await real.commit(
        0,
        EMPTY._replace(
            count_changes={"freeze": 2, "light": 1}, open_ended={"acme": True, "other": True, "third": False}
        ),
    )
    await real.commit(
        0,
        EMPTY._replace(
            position=1,
            progress=ProgressUpdate(next=2, layout=None),
            count_changes={"freeze": -1, "active": 1},
            open_ended={"acme": False},
        ),
    )
    keys = real.keys(0)
    assert await redis.hgetall(keys.counts) == {b"freeze": b"1", b"light": b"1", b"active": b"1"}
    assert await redis.smembers(keys.open) == {b"other"}


async def test_a_count_that_is_none_is_read_as_one_below_none(real: LaneStore, redis: Client) -> None:
    """So that `verify` names it, as it would another number."""
    await redis.hset(real.keys(0).counts, mapping={"deep": b"2", "light": b"many"})
    expected = {"deep": 2, "light": -1}
    assert (await real.index(0)).counts == expected
    seen = await real.index_at(0, 0, [])
    assert seen is not None
    assert seen.counts == expected


@pytest.mark.parametrize("count", [b"many", b"1.0", b"007", b"-0", b"9" * 16])
async def test_nothing_is_added_to_a_count_that_is_none_and_nothing_else_is_written(
    real: LaneStore, redis: Client, count: bytes
) -> None:
    """A script that failed halfway would leave records which the progress does not know of."""
    acme = commit(0, 1, records={"acme": b"A"})._replace(count_changes={"freeze": 1})
    assert await real.commit(0, acme)
    await redis.hset(real.keys(0).counts, "light", count)
    changed = commit(1, 2, records={"acme": b"B"})._replace(count_changes={"freeze": -1, "light": 1})
    assert not await real.commit(0, changed)
    assert await real.load(0, 1, ["acme"], []) == ports.Loaded([b"A"], [])
    assert await redis.hgetall(real.keys(0).counts) == {b"freeze": b"1", b"light": count}
    assert (await real.partition_status(0)).counted == -1


async def test_a_commit_takes_receipts_and_keys_of_the_layout_before_away(real: LaneStore, redis: Client) -> None:
    """A receipt is only there until the command was applied, which a repeat does not write again."""
    keys = real.keys(0)
    await redis.set(keys.receipt("acme", "op-1"), b"receipt")
    await redis.set(keys.receipt("acme", "op-2"), b"receipt")
    await redis.set(keys.operation("acme", "op-1"), b"older")
    assert await real.load(0, 0, [], [("acme", "op-1")]) == Loaded([], [b"older"])
    await real.commit(0, EMPTY._replace(operations={OP: b"now"}, removed_receipts=[OP, ("acme", "op-2")]))
    assert await redis.exists(keys.receipt("acme", "op-1"), keys.receipt("acme", "op-2"), keys.operation(*OP)) == 0
    assert await real.load(0, 1, [], [("acme", "op-1")]) == Loaded([], [b"now"])


async def test_progress_keeps_what_a_batch_does_not_mention(real: LaneStore) -> None:
    """Rules are written when they change only."""
    rules = pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})])
    await real.commit(0, EMPTY._replace(progress=ProgressUpdate(next=1, rules=rules, states_next=4, layout=None)))
    await real.commit(
        0, EMPTY._replace(position=1, progress=ProgressUpdate(next=2, swept=1, partitions=8, layout=None))
    )
    progress = (await real.partition_status(0)).progress
    assert (progress.next, progress.states_next, progress.swept, progress.partitions) == (2, 4, 1, 8)
    assert [version.retire_after_ms for version in progress.rules] == [86_400_000, 60_000]


async def test_answers_reach_whoever_listens(real: LaneStore, services: Services, namespace: Namespace) -> None:
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


async def test_scripts_that_redis_has_forgotten_are_sent_again(real: LaneStore, redis: Client) -> None:
    """It was restarted."""
    await real.load(0, 0, [], [])
    await redis.script_flush()
    assert await real.load(0, 0, ["acme"], []) == Loaded([None], [])


async def test_a_redis_that_is_gone_is_said_in_seconds_and_found_again(real: LaneStore, services: Services) -> None:
    """Without a new client; what became of a commit is to be looked up."""
    await real.commit(0, commit(0, 1, records={"acme": b"A"}))
    with services.store.paused():
        began = asyncio.get_running_loop().time()
        with pytest.raises(RedisError):
            await real.commit(0, commit(1, 2))
        assert asyncio.get_running_loop().time() - began < 7
    standing = await real.partition_status(0)
    assert standing.records == 1
    assert standing.progress.next in (1, 2)


async def test_some_fields_of_the_progress_are_committed_under_the_same_fence(store: ports.Store) -> None:
    """Nothing else moves, and a commit from another position is refused."""
    assert await store.commit(0, commit(0, 3, records={"acme": b"A"}))
    assert await store.commit(0, Commit(3, ProgressUpdate(states_next=9)))
    assert not await store.commit(0, Commit(2, ProgressUpdate(states_next=7)))
    standing = await store.partition_status(0)
    assert (standing.progress.next, standing.progress.states_next, standing.records) == (3, 9, 1)


async def test_what_is_really_there_is_counted_beside_what_the_last_commit_said(store: ports.Store) -> None:
    """What is lost of either is noticed; a partition that was never used has nothing."""
    assert (await store.partition_status(0))[1:] == (False, 0, 0, 0, 0, 0, 0)
    acme = commit(0, 3, records={"acme": b"A"}, timers={"acme": 9})._replace(
        count_changes={"deep": 1}, open_ended={"acme": True}, operations={OP: packed(1)}, ended_operations=[OP]
    )
    assert await store.commit(0, acme._replace(progress=acme.progress._replace(layout=LAYOUT)))
    standing = await store.partition_status(0)
    assert standing[1:] == (True, 1, 1, 1, 1, 1, 1)
    assert (standing.progress.operations, standing.progress.ended) == (1, 1)
    assert (standing.progress.records, standing.progress.timers, standing.progress.open) == (1, 1, 1)
    assert (await store.due(0, -1, 10, 0, 10)).complete


async def test_redis_tells_how_it_is_run(real: LaneStore) -> None:
    """Without a command that managed services forbid."""
    info_by_node = await real.primaries(1).info()
    assert info_by_node
    for info in info_by_node.values():
        assert {"maxmemory_policy", "aof_enabled", "connected_slaves"} <= info.keys()


async def test_the_api_finds_commands_of_both_layouts_and_receipts(
    real: LaneStore, redis: Client, services: Services, namespace: Namespace
) -> None:
    """In one round trip, and on a cluster from one slot."""
    client = connect(settings_of(services, namespace))
    try:
        reads, keys = RedisStore(client, namespace.redis_prefix, 1), real.keys(0)
        running, ended = outcome(position="0:7"), outcome(position="0:8", cancelled_at=NOW, operation_id="op-2")
        operations = {
            OP: remembered.pack(running, live=True),
            ("acme", "op-2"): remembered.pack(ended, live=False),
        }
        assert await real.commit(0, EMPTY._replace(operations=operations))
        await redis.set(keys.operation("acme", "op-3"), outcome(operation_id="op-3").pack())
        receipt = Receipt("op-4", "acme", "operation", "deep", NOW, "ops@acme", None, None)
        assert await RedisReceipts(client, namespace.redis_prefix, 1).put(receipt)
        assert await reads.operation("acme", "op-1") == running
        assert await reads.operation("acme", "op-2") == ended.without_texts()
        assert await reads.operation("acme", "op-3") == outcome(operation_id="op-3")
        assert await reads.operation("acme", "op-4") == receipt
        assert await reads.operation("acme", "op-5") is None
        listed = await reads.operations("acme", ["op-3", "op-1", "op-5"])
        assert [each.operation_id for each in listed] == ["op-3", "op-1"]
    finally:
        await client.aclose()
