"""What a lane does with a batch: outputs first, then the commit with the answers; and what it remembers."""

from zlib import crc32

import pytest
from pydantic_core import from_json

from schemas.domain.sealing import unseal
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.wire.operation import OperationRecord
from tests.support.outputs import breaker, event, operation, rules, timer
from tests.support.world import REPLY_TO, World
from worker.partition.record_cache import RecordCache


async def test_a_commit_carries_everything_that_a_batch_led_to(world: World) -> None:
    """Records, timers, counts, open-ended tenants, operations and the progress, in one step."""
    world.assign()
    world.log(
        breaker("acme", "open"),
        breaker("other", "forced_open"),
        operation("acme", "op-1"),
        event("sleep.unknown.v1", "acme"),
        operation("acme", "op-2", ttl_ms=0),
    )
    await world.run()
    stored = world.stored()
    last = world.events().records[-1]
    assert stored.progress == {
        b"next": b"5",
        b"timestamp": str(last.timestamp).encode(),
        b"crc": str(crc32(last.value or b"", crc32(b"acme"))).encode(),
        b"states_next": str(world.kafka.log(world.topics.states).end).encode(),
        b"records": b"2",
        b"swept": b"0",
        b"partitions": b"1",
        b"timers": b"1",
        b"open": b"1",
        b"highest": str(last.timestamp).encode(),
        b"operations": b"2",
        b"ended": b"1",
        b"layout": b"3",
    }
    assert set(stored.tenants) == {"acme", "other"}
    assert stored.timers == {"acme": last.timestamp + 60_000}
    assert stored.counts == {"freeze": 2}
    assert stored.open == {"other"}
    assert {key: unpack_operation(packed, 0, *key).code for key, packed in stored.operations.items()} == {
        ("acme", "op-1"): None,
        ("acme", "op-2"): "ttl_out_of_range",
    }
    assert stored.ended == [(last.timestamp, ("acme", "op-2"))]
    assert len(world.kafka.records(world.topics.deadletter)) == 1


async def test_a_tenant_that_retires_leaves_nothing_but_a_tombstone(world: World) -> None:
    """Its record, its timer and its count go."""
    world.assign()
    world.log(rules({"retire_after_seconds": 60}), breaker("acme", "closed"))
    await world.advance(61)
    stored = world.stored()
    assert (stored.tenants, stored.timers, stored.counts) == ({}, {}, {"active": 0})
    assert stored.progress[b"records"] == b"0"
    tombstone = world.kafka.records(world.topics.states)[-1]
    assert (tombstone.key, tombstone.value) == (b"acme", None)


async def test_a_batch_without_output_keeps_the_end_of_the_states_partition(world: World) -> None:
    """Only the lane's own appends move it."""
    world.states().skip(7)
    world.assign()
    world.log(timer("nobody", 0))
    await world.run()
    assert world.stored().next == 1
    assert world.stored().progress[b"states_next"] == b"7"
    assert world.outputs.faults.calls["send"] == 0


async def test_new_rules_are_kept_numbered_and_published(world: World) -> None:
    """Every version stays, since records name theirs."""
    world.assign()
    world.log(rules({"policy": {"ceiling": "deep"}}), rules({"retire_after_seconds": 60}))
    await world.run()
    remaining = from_json(unseal(world.stored().progress[b"rules"]))
    assert [document["retire_after_seconds"] for document in remaining] == [86_400, 60]
    published = world.kafka.records(world.topics.states)
    assert [record.key for record in published] == [b"*rules:1", b"*rules:2"]
    world.log(breaker("acme", "open"))
    await world.run()
    assert world.stored().counts["freeze"] == 1
    assert len(from_json(unseal(world.stored().progress[b"rules"]))) == 2


async def test_callers_are_answered_with_the_commit(world: World) -> None:
    """An answer is a promise that the command has been applied, and no crash comes between the two."""
    world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(operation("acme", "op-1", reply_to=REPLY_TO))
    await world.run()
    assert world.kafka.records(world.topics.transitions)
    assert world.store.answers == []
    committing.set()
    await world.run()
    [(channel, packed)] = world.store.answers
    assert channel == REPLY_TO
    answer = OperationRecord.unpack(packed)
    assert (answer.operation_id, answer.refused, answer.position) == ("op-1", False, "0:0")


async def test_a_batch_that_is_refused_answers_nobody(world: World) -> None:
    """Whoever applied it has."""
    world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(operation("acme", "op-1", reply_to=REPLY_TO))
    await world.run()
    world.stored().progress[b"next"] = b"1"
    committing.set()
    await world.run()
    assert world.store.answers == []


@pytest.mark.parametrize(
    "channel",
    [
        "sleep:reply:",
        "sleep:reply:018f3a52",
        "other:reply:018f3a52-7c1d-7b52-9a64-3f1f9d3c2a10",
        "sleep:reply:018f3a52-7c1d-7b52-9a64-3f1f9d3c2a10:more",
        "sleep-reply:018f3a52-7c1d-7b52-9a64-3f1f9d3c2a10",
        "__keyspace@0__:{sleep:0}:progress",
    ],
)
async def test_nothing_is_published_to_a_channel_that_is_no_reply_channel(world: World, channel: str) -> None:
    """Whoever writes to the log must not be able to speak on any channel of Redis."""
    world.assign()
    world.log(operation("acme", "op-1", reply_to=channel))
    await world.run()
    assert world.stored().next == 1
    assert world.store.answers == []


async def test_what_a_lane_wrote_itself_is_not_read_again(world: World) -> None:
    """Its last commit counts as loaded."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    loads = world.store.faults.calls["load"]
    world.log(breaker("acme", "half_open"), breaker("acme", "closed"))
    await world.run()
    assert world.store.faults.calls["load"] == loads
    assert world.stored().counts["active"] == 1


async def test_a_lane_remembers_a_bounded_number_of_tenants(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those seen last; the others are read again."""
    monkeypatch.setattr("worker.partition.piece_processor.RecordCache", lambda: RecordCache(most_tenants=3))
    world.assign()
    for name in ("a", "b", "c", "a", "d"):
        world.log(breaker(name, "open"))
        await world.run()
    loads = world.store.faults.calls["load"]
    world.log(breaker("a", "closed"), breaker("c", "closed"), breaker("d", "closed"))
    await world.run()
    assert world.store.faults.calls["load"] == loads
    world.log(breaker("b", "closed"))
    await world.run()
    assert world.store.faults.calls["load"] == loads + 1
    assert world.stored().counts["active"] == 4


async def test_batches_are_acknowledged_when_they_are_applied(world: World) -> None:
    """And not before."""
    world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    assert world.worker.consumer.acknowledged == 0
    committing.set()
    await world.run()
    assert world.worker.consumer.acknowledged == 1


async def test_what_arrives_while_a_batch_is_in_hand_is_folded_as_one(world: World) -> None:
    """A lane that is behind makes bigger batches, not more."""
    world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("first", "open"))
    await world.run()
    for number in range(20):
        world.log(breaker(f"tenant-{number}", "open"))
        await world.run()
    committing.set()
    await world.run()
    assert world.stored().next == 21
    assert world.store.faults.calls["commit"] == 2


async def test_a_lane_whose_queue_is_full_wants_no_more_until_it_has_caught_up(world: World) -> None:
    """A slow store makes the worker slower, not bigger."""
    lane = world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(*[breaker("acme", "open")] * 12_000)
    await world.run()
    meanwhile = lane.open
    assert not meanwhile
    assert world.worker.consumer.poll() == 0
    committing.set()
    await world.run()
    assert lane.open
    assert world.stored().next == 12_000
