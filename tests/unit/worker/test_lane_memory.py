"""What a lane has the store remember of commands: counted, forgotten in time, and taken over from the layout before."""

from pydantic_core import from_json

from schemas.redis.command_memory import FIXED_BYTES
from schemas.redis.command_memory import unpack as unpack_operation
from tests.support.outputs import breaker, event, operation
from tests.support.world import World
from worker.ports import Output

HOUR_MS = 3_600_000
OP = ("acme", "op-1")


def codes(world: World) -> list[tuple[str, str | None]]:
    """Return kind and code of the rows of commands."""
    rows = [from_json(record.value or b"") for record in world.kafka.records(world.topics.transitions)]
    return [(row["kind"], row["code"]) for row in rows if row["operation_id"] and row["kind"] != "transition"]


async def later(world: World, hours: float) -> None:
    """Let hours pass at once. Each sleeper wakes a second later."""
    world.clock.jump(hours * 3_600)
    await world.advance(1)


def to_layout_2(world: World) -> None:
    """Turn what the store holds into what a worker of layout 2 would have left: a key for each command."""
    stored = world.stored()
    actual = {key: unpack_operation(packed, 0, *key) for key, packed in stored.operations.items()}
    stored.older = {key: command._replace(actor="ops", reason="before").pack() for key, command in actual.items()}
    stored.operations, stored.ended = {}, []
    for name in (b"highest", b"operations", b"ended"):
        del stored.progress[name]
    stored.progress[b"layout"] = b"2"


async def upgraded(world: World, *commands: Output) -> None:
    """Fold these, and hand the partition from a worker of layout 2 to one of the present."""
    world.log(*commands)
    world.assign()
    await world.run()
    await world.end()
    to_layout_2(world)
    world.assign()


async def test_what_ended_two_hours_ago_is_gone_and_what_lives_is_not(world: World) -> None:
    """By the log, and with the next commit of any tenant."""
    world.log(operation("acme", "op-1", ttl_ms=HOUR_MS), operation("acme", "op-2", ttl_ms=0))
    lane = world.assign()
    await world.run()
    assert (set(world.stored().operations), len(world.stored().ended)) == ({OP, ("acme", "op-2")}, 1)
    assert len(world.stored().operations[OP]) > FIXED_BYTES
    await later(world, 2)
    assert (set(world.stored().operations), len(world.stored().ended)) == ({OP}, 1)
    assert len(world.stored().operations[OP]) == FIXED_BYTES
    await later(world, 1)
    world.log(breaker("other", "open"))
    await world.run()
    assert (world.stored().operations, world.stored().ended, lane.problem) == ({}, [], None)


async def test_a_lane_goes_on_with_the_highest_timestamp_of_the_one_before(world: World) -> None:
    """A broker's clock that went back is no reason to know a command again."""
    world.log(operation("acme", "op-1", ttl_ms=0))
    world.assign()
    await world.run()
    await world.end()
    highest = str(world.events().records[0].timestamp + 2 * HOUR_MS).encode()
    world.stored().progress[b"highest"] = highest
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=0))
    await world.run()
    assert codes(world) == [("refusal", "ttl_out_of_range")] * 2
    assert world.stored().progress[b"highest"] == highest


async def test_a_repeat_of_what_the_layout_before_remembers_is_one(world: World) -> None:
    """Of what lives and of what has ended."""
    await upgraded(world, operation("acme", "op-1", ttl_ms=60_000), operation("acme", "op-2", ttl_ms=0))
    world.log(operation("acme", "op-1", ttl_ms=60_000), operation("acme", "op-2", ttl_ms=0))
    await world.run()
    assert codes(world)[2:] == [("refusal", "duplicate_operation")] * 2
    stored = world.stored()
    assert stored.older.keys() == {OP, ("acme", "op-2")}, "they go by themselves"
    assert (stored.operations, stored.ended) == ({}, [])
    assert (stored.progress[b"layout"], stored.progress[b"operations"]) == (b"3", b"0")


async def test_an_operation_of_the_layout_before_is_cancelled_in_the_present_one(world: World) -> None:
    """Its own key goes, which would tell that it ran when the other is forgotten."""
    await upgraded(world, operation("acme", "op-1", ttl_ms=60_000))
    world.log(event("sleep.cancel.v1", "acme", operation_id="c-1", cancels="op-1", actor="ops"))
    await world.run()
    stored = world.stored()
    assert stored.older == {}
    assert unpack_operation(stored.operations[OP], 0, *OP).cancelled_at == world.events().records[-1].timestamp
    assert [command for _, command in stored.ended] == [OP, ("acme", "c-1")]
    world.log(operation("acme", "op-1", ttl_ms=60_000))
    await world.run()
    assert codes(world)[-1] == ("refusal", "duplicate_operation")


async def test_an_operation_of_the_layout_before_that_ends_by_itself_leaves_its_key(world: World) -> None:
    """Nothing is written of it; a repeat is judged by that key for as long as by any other."""
    await upgraded(world, operation("acme", "op-1", ttl_ms=60_000))
    await world.advance(61)
    assert (world.stored().operations, world.stored().ended) == ({}, [])
    world.log(operation("acme", "op-1", ttl_ms=60_000))
    await world.run()
    await later(world, 1)
    world.log(operation("acme", "op-1", ttl_ms=60_000))
    await world.run()
    assert codes(world) == [("outcome", None), ("refusal", "duplicate_operation"), ("outcome", None)]
    assert world.stored().older == {}, "the id came again, and has a place in the present layout"
    assert len(world.stored().operations[OP]) > FIXED_BYTES


async def test_receipts_go_with_every_command(world: World) -> None:
    """Also that of a repeat, whose caller wrote one too."""
    world.stored().receipts |= {OP, ("acme", "op-2")}
    world.log(operation("acme", "op-1"), operation("acme", "op-1"))
    world.assign()
    await world.run()
    world.stored().receipts.add(OP)
    world.log(operation("acme", "op-1"))
    await world.run()
    assert world.stored().receipts == {("acme", "op-2")}
