"""What stands behind the lane's own last append to the states topic is found out, and repaired under the fence."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.domain.record import unpack
from schemas.redis.progress import Progress
from schemas.wire.tenant_view import state_record
from tests.support.invariants import assert_once
from tests.support.outputs import breaker, operation, rules
from tests.support.world import World
from worker.ports import Output


def stale(tenant: str, position: str = "0:0") -> Output:
    """Return what a stale owner appends late."""
    return Output(tenant.encode(), json.dumps({"tenant": tenant, "position": position, "state": "light"}).encode())


def compacted(world: World) -> dict[bytes | None, Any]:
    """Return what a reader of the compacted topic ends up with."""
    return {record.key: record.value and json.loads(record.value) for record in world.states().records}


def present(world: World) -> dict[bytes | None, Any]:
    """Return what the store says that the tenants' state records are."""
    progress = Progress.unpack(world.stored().progress)
    seen: dict[bytes | None, Any] = {}
    for tenant, packed in world.stored().tenants.items():
        record = unpack(packed, progress.rules)
        terms = progress.rules[record.rules_number].terms_for(record.policy)
        seen[tenant.encode()] = json.loads(json.dumps(state_record(tenant, 0, record, terms)))
    return seen


def shown(documents: dict[bytes | None, Any]) -> dict[bytes | None, Any]:
    """Return the tenants' records without what may change unpublished; tombstones and rules left out."""
    unpublished = {"clock", "rules_number"}
    return {
        key: {name: value for name, value in document.items() if name not in unpublished}
        for key, document in documents.items()
        if document is not None and "tenant" in document
    }


def assert_repaired(world: World) -> None:
    """Assert that readers see the present of every tenant, and that progress stands at the topic's end."""
    assert shown(compacted(world)) == shown(present(world))
    assert world.stored().progress[b"states_next"] == str(world.states().end).encode()


def events_of(logs: list[Any]) -> list[str]:
    """Return what was logged of the states."""
    return [line["event"] for line in logs if line["event"].startswith("states_")]


async def test_the_first_owner_takes_the_partition_s_end_as_it_is(world: World) -> None:
    """Whatever an earlier installation left there is not repaired."""
    world.states().append([stale("other")])
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    assert [record.key for record in world.states().records] == [b"other", b"acme"]
    assert world.stored().progress[b"states_next"] == b"2"


async def test_nothing_is_appended_where_nobody_else_was(world: World) -> None:
    """The next owner finds the end where the last one left it."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    await world.end()
    world.assign()
    with capture_logs() as logs:
        await world.advance(20)
    assert events_of(logs) == []
    assert world.states().end == 1


async def test_a_late_append_is_repaired_on_assignment(world: World) -> None:
    """By the present record, or a tombstone with its position where there is none."""
    world.assign()
    world.log(breaker("acme", "open"), breaker("acme", "half_open"))
    await world.run()
    await world.end()
    world.states().append([stale("acme"), stale("nobody"), stale("acme")])
    world.assign()
    with capture_logs() as logs:
        await world.run()
    assert [(record.key, record.value is None, record.headers) for record in world.states().records[-2:]] == [
        (b"acme", False, ()),
        (b"nobody", True, (("sleep.position", b"0:1"),)),
    ]
    assert_repaired(world)
    lines = [line for line in logs if line["event"].startswith("states_")]
    assert [(line["event"], line.get("expected"), line.get("actual")) for line in lines] == [
        ("states_repair", 1, 4),
        ("states_repaired", None, None),
    ]


async def test_a_late_append_is_noticed_within_five_seconds_on_an_idle_partition(world: World) -> None:
    """And repaired at once, since no commit may come."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.states().append([stale("acme")])
    await world.advance(5)
    assert_repaired(world)
    assert world.states().end == 3
    assert (lane.position, lane.problem) == (1, None)
    await world.advance(30)
    assert world.states().end == 3


async def test_an_append_that_does_not_follow_the_last_is_committed_after_a_repair(world: World) -> None:
    """The batch is folded once more behind it."""
    lane = world.assign()
    world.log(breaker("acme", "open"), breaker("other", "open"))
    await world.run()
    world.states().append([stale("acme"), stale("other")])
    world.log(breaker("acme", "closed"))
    with capture_logs() as logs:
        await world.advance(1)
    assert events_of(logs) == ["states_overtaken", "states_repair", "states_repaired"]
    assert lane.position == 3
    assert_repaired(world)
    assert_once([json.loads(record.value or b"") for record in world.kafka.records(world.topics.transitions)])


async def test_outputs_of_our_own_that_were_never_committed_are_no_foreign_range(world: World) -> None:
    """They are sent again, the same, when the batch is folded again."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.store.faults.down.add("commit")
    world.log(breaker("acme", "closed"))
    with capture_logs() as logs:
        await world.advance(3)
        world.store.faults.heal()
        await world.advance(6)
    assert events_of(logs) == []
    first, *others = [record.value for record in world.states().records]
    assert len(others) > 1
    assert len({first, *others}) == 2
    assert_repaired(world)


async def test_after_a_rollback_of_the_store_the_states_follow_it_and_then_the_log(world: World) -> None:
    """What was published and is no longer committed stands there until it is folded again."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(breaker("acme", "closed"), rules({}), breaker("new", "open"))
    await world.run()
    world.store.restore(snapshot)
    await world.advance(10)
    assert compacted(world)[b"*rules:1"]["number"] == 1
    assert_repaired(world)


async def test_gaps_in_the_foreign_range_and_a_range_without_records_are_no_matter(world: World) -> None:
    """Compaction and the markers of transactions use up offsets."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.states().skip(3)
    await world.advance(5)
    assert world.stored().progress[b"states_next"] == b"4"
    world.states().skip(2)
    world.states().append([stale("acme")])
    world.states().skip(2)
    await world.advance(5)
    assert_repaired(world)


async def test_a_range_of_many_keys_is_repaired_page_by_page(world: World) -> None:
    """So that its size costs time and no memory."""
    world.log(*[breaker(f"tenant-{number}", "open") for number in range(1_200)])
    world.assign()
    await world.run()
    sizes: list[int] = []
    send = world.outputs.send

    async def watched(topic: str, partition: int, outputs: list[Output]) -> int | None:
        if topic == world.topics.states:
            sizes.append(len(outputs))
        return await send(topic, partition, outputs)

    world.outputs.send = watched  # type: ignore[method-assign,assignment]
    world.states().append([stale(f"tenant-{number}") for number in range(1_200)])
    await world.advance(5)
    assert sizes == [500, 500, 200]
    assert_repaired(world)


@pytest.mark.parametrize("method", ["load", "commit"])
async def test_a_repair_that_is_interrupted_is_begun_anew(world: World, method: str) -> None:
    """The end moves only with a commit."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.states().append([stale("acme"), stale("nobody")])
    world.store.faults.down.add(method)
    await world.advance(10)
    assert world.stored().progress[b"states_next"] == b"1"
    await world.end()
    world.store.faults.heal()
    world.store.faults.down.clear()
    world.assign()
    await world.advance(5)
    assert_repaired(world)


async def test_an_append_in_the_middle_of_a_repair_makes_it_begin_anew(world: World) -> None:
    """The stale owner may still be at it."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.states().append([stale("acme")])
    loading = world.store.faults.hold("load")
    await world.advance(5)
    world.states().append([stale("nobody")])
    loading.set()
    await world.advance(5)
    assert_repaired(world)


async def test_a_stale_owner_repairs_nothing(world: World) -> None:
    """Its view is not the present; it reads where Redis stands and takes the end from there."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    other = world.join()
    other.lanes.assign([0])
    await world.advance(60)
    end = world.states().end
    world.states().append([stale("acme")])
    await world.advance(60)
    assert_repaired(world)
    # One of the two repaired it, and the other found that done.
    assert world.states().end <= end + 3
    end = world.states().end
    await world.advance(60)
    assert world.states().end == end


async def test_where_the_topic_was_cut_everything_is_published_again(world: World) -> None:
    """Nobody knows what it held; tenants that are gone get their tombstone again."""
    world.assign()
    world.log(*[breaker(f"tenant-{number}", "open") for number in range(700)])
    await world.run()
    world.states().cut(300)
    world.states().append([stale("gone")])
    await world.advance(5)
    assert_repaired(world)


async def test_rules_on_the_topic_stay_only_where_they_are_those_of_the_log(world: World) -> None:
    """A rebuild says which are missing; it could not know which are wrong."""
    world.assign()
    world.log(rules({"retire_after_seconds": 60}), rules({}))
    await world.run()
    ours, _ = world.states().records
    wrong = json.dumps({**json.loads(ours.value or b""), "rules": {"retire_after_seconds": 61}}).encode()
    world.states().append(
        [Output(b"*rules:1", ours.value), Output(b"*rules:2", wrong), Output(b"*rules:9", wrong), Output(b"*", b"{")]
    )
    await world.advance(5)
    values = {record.key: record.value for record in world.states().records}
    assert values == {b"*rules:1": ours.value, b"*rules:2": None, b"*rules:9": None, b"*": None}


async def test_rules_that_progress_does_not_know_yet_are_not_taken_away(world: World) -> None:
    """The store lost their batch, which is folded again; no later repair could bring back what an earlier one took."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(rules({"retire_after_seconds": 60}))
    await world.run()
    for _ in range(2):
        world.store.restore(snapshot)
        await world.advance(6)
        snapshot = world.store.snapshot()
    assert [record.value for record in world.states().records if record.key == b"*rules:1"].count(None) == 0
    assert compacted(world)[b"*rules:1"]["number"] == 1


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"{"])
async def test_rules_that_are_no_rules_go(world: World, value: bytes | None) -> None:
    """As do keys that no tenant can have."""
    world.assign()
    world.log(rules({}))
    await world.run()
    world.states().append([Output(b"*rules:1", value), Output(b"\xff", b"x"), Output(None, b"x")])
    await world.advance(5)
    assert [(record.key, record.value) for record in world.states().records[-2:]] == [
        (b"*rules:1", None),
        (b"\xff", None),
    ]


async def test_a_record_that_cannot_be_read_stops_the_repair_and_names_the_tenant(world: World) -> None:
    """It is not published as anything else."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    packed = world.stored().tenants["acme"]
    world.stored().tenants["acme"] = packed[:-1] + bytes([packed[-1] ^ 1])
    world.states().append([stale("acme")])
    await world.advance(5)
    assert lane.stopped
    assert lane.problem == (
        "the record of tenant acme cannot be read: damaged: its checksum is wrong; run "
        "`sleepctl rebuild --partition 0 --force`"
    )


async def test_a_broker_that_does_not_tell_the_end_is_said_once(world: World) -> None:
    """The lane goes on meanwhile."""
    lane = world.assign()
    await world.run()
    world.reader.faults.down.add("end")
    with capture_logs() as logs:
        await world.advance(30)
        world.log(operation("acme", "op-1"))
        await world.run()
    assert lane.position == 1
    assert events_of(logs) == ["states_check_failed"]
    world.reader.faults.heal()
    world.states().append([stale("acme")])
    await world.advance(5)
    assert_repaired(world)


async def test_an_append_of_our_own_that_is_on_its_way_is_no_reason_to_look_again(world: World) -> None:
    """A busy lane is not disturbed every 5 seconds."""
    world.assign()
    await world.run()
    looks = world.store.faults.calls["partition_status"]
    ending = world.reader.faults.hold("end")
    await world.advance(5)
    world.log(breaker("acme", "open"))
    await world.run()
    ending.set()
    await world.run()
    send, acknowledged = world.outputs.send, asyncio.Event()

    async def late(topic: str, partition: int, outputs: list[Output]) -> int | None:
        end = await send(topic, partition, outputs)
        await acknowledged.wait()
        return end

    world.outputs.send = late  # type: ignore[method-assign,assignment]
    world.log(breaker("acme", "closed"))
    await world.advance(10)
    acknowledged.set()
    await world.advance(10)
    assert world.store.faults.calls["partition_status"] == looks
    assert_repaired(world)
