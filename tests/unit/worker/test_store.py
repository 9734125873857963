"""What the store sends to Redis and makes of the answers; the scripts themselves are tested on a real Redis."""

from hashlib import sha1
from importlib import resources

import pytest
from redis.exceptions import NoScriptError

from schemas.domain.sealing import NewerLayoutError
from schemas.redis.command_memory import FIXED_BYTES, field_of
from schemas.redis.progress import LAYOUT, ProgressUpdate
from tests.unit.worker.redis_client import FakeRedis, store_of
from worker.ports import Commit, Due, Index, Loaded

FIXED = ("progress", "tenants", "timers", "counts", "open", "operations", "ended")


def text_of(name: str) -> str:
    """Return a script of the package."""
    return resources.files("worker.adapters.lua").joinpath(f"{name}.lua").read_text("utf-8")


def digest_of(name: str) -> str:
    """Return the name of a script in Redis."""
    return sha1(text_of(name).encode(), usedforsecurity=False).hexdigest()


async def test_a_load_sends_the_position_and_what_to_read() -> None:
    """Every key is passed as a key, with one hash tag."""
    redis = FakeRedis([[b"a", None], [b"o"]])
    loaded = await store_of(redis).load(3, 17, ["acme", "other"], [("acme", "op-1")])
    assert redis.sent == [
        (
            "evalsha",
            digest_of("load"),
            4,
            "{sleep:3}:progress",
            "{sleep:3}:tenants",
            "{sleep:3}:operations",
            "{sleep:3}:operation:acme/op-1",
            17,
            8 << 20,
            2,
            "acme",
            "other",
            field_of("acme", "op-1"),
        )
    ]
    assert loaded == Loaded([b"a", None], [b"o"])


async def test_a_load_that_the_fence_refuses_is_none() -> None:
    """The script answers false."""
    assert await store_of(FakeRedis(None)).load(3, 17, ["acme"], []) is None


async def test_what_stands_beside_records_is_read_page_by_page() -> None:
    """Timers and the open set may be long."""
    pages = [(7, [(b"acme", 12.0)]), (0, [(b"bolt", 13.0)]), (9, [b"acme"]), (0, [b"corp"])]
    redis = FakeRedis({b"freeze": b"2"}, *pages)
    index = await store_of(redis).index(3)
    assert index == Index({"acme": 12, "bolt": 13}, {"freeze": 2}, {"acme", "corp"})
    assert [(name, key, cursor) for name, key, cursor, *_ in redis.sent[1:]] == [
        ("zscan", "{sleep:3}:timers", 0),
        ("zscan", "{sleep:3}:timers", 7),
        ("sscan", "{sleep:3}:open", 0),
        ("sscan", "{sleep:3}:open", 9),
    ]


async def test_what_stands_beside_some_records_is_read_at_one_place() -> None:
    """None where the partition stands elsewhere."""
    redis = FakeRedis([[b"12", None], [0, 1], [b"freeze", b"2"]], None)
    store = store_of(redis)
    assert await store.index_at(3, 17, ["acme", "bolt"]) == Index({"acme": 12}, {"freeze": 2}, {"bolt"})
    assert redis.sent[0][:3] == ("evalsha", digest_of("index"), 5)
    assert redis.sent[0][8:] == (17, "acme", "bolt")
    assert await store.index_at(3, 18, []) is None


async def test_commands_are_read_wherever_the_partition_stands() -> None:
    """In the order asked; under the key of the layout before, which is read first, where they still are."""
    redis = FakeRedis([b"before", b"older", None], [b"now", None, None])
    commands = [("acme", "op-1"), ("bolt", "op-2"), ("bolt", "op-3")]
    assert await store_of(redis).operations(3, commands) == [b"now", b"older", None]
    assert redis.sent == [
        ("mget", [f"{{sleep:3}}:operation:{tenant}/{operation_id}" for tenant, operation_id in commands]),
        ("hmget", "{sleep:3}:operations", [field_of(*command) for command in commands]),
    ]


@pytest.mark.parametrize(("answer", "expected"), [(1, True), (0, False)])
async def test_a_commit_tells_whether_the_fence_let_it_pass(answer: int, *, expected: bool) -> None:
    """The script answers 1 or 0."""
    commit = Commit(5, ProgressUpdate(next=6))
    assert await store_of(FakeRedis(answer)).commit(0, commit) is expected


async def test_a_commit_sends_its_sections_each_led_by_its_number_of_items() -> None:
    """In the order in which the script reads them."""
    redis = FakeRedis(1)
    commit = Commit(
        position=17,
        progress=ProgressUpdate(next=19, rules=b"[]"),
        records={"acme": b"record"},
        removed_records=["gone", "too"],
        timers={"acme": 1_000},
        removed_timers=["gone"],
        count_changes={"freeze": 1, "active": -1},
        open_ended={"acme": True, "gone": False},
        operations={("acme", "op-1"): b"operation"},
        ended_operations=[("acme", "op-1"), ("acme", "op-2")],
        removed_receipts=[("acme", "op-3")],
        forget_to=1_000_000,
        answers=[("sleep:reply:a", b"operation"), ("sleep:reply:b", b"operation")],
    )
    await store_of(redis).commit(3, commit)
    [(command, text, count, *rest)] = redis.sent
    assert (command, text, count) == ("evalsha", digest_of("commit"), 9)
    assert rest[:9] == [
        "{sleep:3}:progress",
        "{sleep:3}:tenants",
        "{sleep:3}:timers",
        "{sleep:3}:counts",
        "{sleep:3}:open",
        "{sleep:3}:operations",
        "{sleep:3}:ended",
        "{sleep:3}:receipt:acme/op-3",
        "{sleep:3}:operation:acme/op-1",
    ]
    assert rest[9:] == [
        17,
        1_000_000,
        FIXED_BYTES,
        *(3, "next", 19, "rules", b"[]", "layout", LAYOUT),
        *(1, "acme", b"record"),
        *(2, "gone", "too"),
        *(1, 1_000, "acme"),
        *(1, "gone"),
        *(2, "freeze", 1, "active", -1),
        *(2, "acme", 1, "gone", 0),
        *(1, field_of("acme", "op-1"), b"operation"),
        *(2, field_of("acme", "op-1"), field_of("acme", "op-2")),
        *(2, "sleep:reply:a", b"operation", "sleep:reply:b", b"operation"),
    ]


async def test_a_commit_of_nothing_but_progress_sends_empty_sections() -> None:
    """A batch may change no tenant."""
    redis = FakeRedis(1)
    await store_of(redis).commit(0, Commit(0, ProgressUpdate(next=1, layout=None)))
    assert redis.sent[0][10:] == (0, -1, FIXED_BYTES, 1, "next", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_whoever_writes_progress_writes_its_layout() -> None:
    """The script counts timers and open-ended tenants; a version that does not must not go on from there."""
    assert ProgressUpdate(swept=1).fields() == {"layout": LAYOUT, "swept": 1}


async def test_a_page_of_due_timers_is_read_with_the_position() -> None:
    """Redis answers scores as text."""
    redis = FakeRedis([b"17", [b"acme", b"1795334837992", b"other", b"1795334837993"], b"1.795334838e+12", 0])
    due = await store_of(redis).due(3, 1_795_334_000_000, 1_795_334_837_994, 2_000, 500)
    assert redis.sent == [
        (
            *("evalsha", digest_of("due"), 2, "{sleep:3}:progress", "{sleep:3}:timers"),
            *(1_795_334_000_000, 1_795_334_837_994, 2_000, 500),
        )
    ]
    assert due == Due(
        17, [("acme", 1_795_334_837_992), ("other", 1_795_334_837_993)], 1_795_334_838_000, complete=False
    )


async def test_no_timer_at_all_is_an_empty_page() -> None:
    """The script answers an empty string for none that comes later."""
    assert await store_of(FakeRedis([b"0", [], b"", 1])).due(0, -1, 5, 0, 10) == Due(0, [], None)


async def test_a_script_is_sent_by_its_digest() -> None:
    """Kilobytes on every batch would be a waste."""
    redis = FakeRedis(None, None)
    store = store_of(redis)
    for _ in range(2):
        await store.load(0, 0, [], [])
    assert [sent[:2] for sent in redis.sent] == [("evalsha", digest_of("load"))] * 2


async def test_a_script_that_redis_does_not_know_is_sent_whole() -> None:
    """It is new, was restarted, or a replica took over."""
    redis = FakeRedis(NoScriptError("NOSCRIPT"), [[], []])
    assert await store_of(redis).load(0, 0, [], []) == Loaded([], [])
    assert [sent[:2] for sent in redis.sent] == [("evalsha", digest_of("load")), ("eval", text_of("load"))]
    assert redis.sent[1][2:] == redis.sent[0][2:]


async def test_where_a_partition_stands_is_read_in_one_step() -> None:
    """A commit between the two reads would look like a Redis that has lost records."""
    redis = FakeRedis([[b"next", b"17", b"records", b"2"], 2, 3, 4, 5, 6, 7])
    standing = await store_of(redis).partition_status(3)
    keys = [f"{{sleep:3}}:{name}" for name in FIXED]
    assert redis.sent == [("evalsha", digest_of("partition_status"), 7, *keys)]
    assert (standing.progress.next, standing.progress.records, standing.records) == (17, 2, 2)
    assert standing[1:] == (True, 2, 3, 4, 5, 6, 7)


async def test_a_partition_without_progress_has_not_begun() -> None:
    """Or it has lost it."""
    assert not (await store_of(FakeRedis([[], 0, 0, 0, 0, 0, 0])).partition_status(3)).begun


async def test_a_progress_of_a_newer_layout_is_refused() -> None:
    """Rather than damaged."""
    with pytest.raises(ValueError, match="layout 9 is newer than 3"):
        await store_of(FakeRedis([[b"layout", b"9"], 0, 0, 0, 0, 0, 0])).partition_status(0)


async def test_a_scan_goes_on_from_its_cursor() -> None:
    """Pages of the tenants' hash."""
    redis = FakeRedis((b"42", {b"acme": b"record"}))
    assert await store_of(redis).scan(3, 7, 500) == (42, {b"acme": b"record"})
    assert redis.sent == [("hscan", "{sleep:3}:tenants", 7, ("count", 500))]


async def test_where_a_partition_stands_is_read_for_a_rebuild_whatever_else_is_wrong() -> None:
    """Its progress may be damaged, and that is why it is rebuilt."""
    assert await store_of(FakeRedis([None, None])).mark(3) is None
    redis = FakeRedis([b"-7", b"2"])
    assert await store_of(redis).mark(3) == -7
    assert redis.sent == [("hmget", "{sleep:3}:progress", ["next", "layout"])]
    with pytest.raises(NewerLayoutError):
        await store_of(FakeRedis([b"-7", b"9"])).mark(3)


@pytest.mark.parametrize(("expected", "sent"), [(None, ""), (17, 17)])
async def test_a_partition_is_cleared_and_marked_only_where_it_stands_as_expected(
    expected: int | None, sent: object
) -> None:
    """Somebody may have moved it since."""
    redis = FakeRedis(1, 0)
    assert await store_of(redis).clear(3, expected, -7)
    assert not await store_of(redis).clear(3, expected, -7)
    keys = [f"{{sleep:3}}:{name}" for name in FIXED]
    assert redis.sent[0] == ("evalsha", digest_of("clear"), 7, *keys, sent, -7)
