"""A batch is taken in pieces: each is published, committed and answered before the next."""

from functools import partial

import pytest
from pydantic_core import from_json

from tests.support.outputs import breaker, event, operation, rules, tenants_on
from tests.support.reference import Reference
from tests.support.world import REPLY_TO, World
from worker import ports
from worker.partition.record_cache import RecordCache
from worker.ports import Commit


@pytest.fixture
def commits(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, int]]:
    """Where each commit began and ended, the end of the states that it committed, and how many answers it gave."""
    seen: list[tuple[int, int, int, int]] = []
    commit_of = world.store.commit

    async def commit(partition: int, commit: Commit) -> bool:
        done = await commit_of(partition, commit)
        progress = commit.progress
        if progress.next is not None and progress.states_next is not None:
            seen.append((commit.position, progress.next, progress.states_next, len(commit.answers)))
        return done

    monkeypatch.setattr(world.store, "commit", commit)
    return seen


def assert_fold(world: World) -> None:
    """The states topic ends with what the reference publishes last of each key."""
    reference = Reference()
    for record in world.events().records:
        reference.read(record, 1)
    last = {record.key: record.value and from_json(record.value) for record in world.states().records}
    assert last == {key.encode(): value for key, value in reference.states}


async def test_each_piece_is_published_committed_and_answered_before_the_next(
    world: World, commits: list[tuple[int, int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own end of the states topic; an event's outputs are never parted."""
    monkeypatch.setattr("worker.partition.pending_batch.PIECE_BYTES", 1)
    world.assign()
    world.log(
        operation("a", "op-1", reply_to=REPLY_TO), operation("b", "op-2", reply_to=REPLY_TO), breaker("a", "open")
    )
    await world.run()
    assert commits == [(0, 1, 1, 1), (1, 2, 2, 1), (2, 3, 3, 0)]
    assert_fold(world)


async def test_a_batch_that_fits_is_one_piece(world: World, commits: list[tuple[int, int, int, int]]) -> None:
    """As nearly all are."""
    world.assign()
    world.log(
        operation("a", "op-1", reply_to=REPLY_TO), operation("b", "op-2", reply_to=REPLY_TO), breaker("a", "open")
    )
    await world.run()
    assert commits == [(0, 3, 2, 2)]


async def test_a_piece_ends_with_the_event_that_makes_it_large_enough(
    world: World, commits: list[tuple[int, int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tenants with large records a batch has; each gets its state."""
    monkeypatch.setattr("worker.partition.pending_batch.PIECE_BYTES", 40_000)
    world.assign()
    tenants = tenants_on(0, 1, 20)
    for tenant in tenants:
        world.log(*(breaker(tenant, "open", name=f"{number:03}{'x' * 180}") for number in range(20)))
    await world.run()
    commits.clear()
    before = world.states().end
    world.log(*(breaker(tenant, "half_open", name=f"{0:03}{'x' * 180}") for tenant in tenants))
    await world.run()
    sizes = [len(record.value or b"") for record in world.states().records[before:]]
    assert len(sizes) == len(tenants)
    pieces = [sum(sizes[begin - before : end - before]) for begin, end in _spans(before, commits)]
    assert len(pieces) > 2
    assert all(40_000 - 100 * len(sizes) < size < 40_000 + max(sizes) for size in pieces[:-1])


def _spans(first: int, commits: list[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    ends = [end for _, _, end, _ in commits]
    return list(zip([first, *ends], ends, strict=False))


async def test_a_command_of_an_earlier_piece_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its repeat is judged by it, and a cancel finds it."""
    monkeypatch.setattr("worker.partition.pending_batch.PIECE_BYTES", 1)
    world.assign()
    cancel = event("sleep.cancel.v1", "a", operation_id="c-1", cancels="op-1", actor="ops")
    world.log(operation("a", "op-1"), operation("a", "op-1"), cancel, rules({}), operation("a", "op-1"))
    await world.run()
    rows = [from_json(record.value or b"") for record in world.kafka.records(world.topics.transitions)]
    codes = [row["code"] for row in rows if row["kind"] != "transition"]
    assert codes == [None, "duplicate_operation", None, "duplicate_operation"]
    assert_fold(world)


async def test_a_crash_between_two_pieces_loses_and_repeats_nothing(
    world: World, commits: list[tuple[int, int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner repairs what the second piece had published, and goes on behind the first."""
    monkeypatch.setattr("worker.partition.pending_batch.PIECE_BYTES", 1)
    world.assign()
    world.log(breaker("a", "open"), operation("b", "op-1", reply_to=REPLY_TO), breaker("a", "closed"))
    await world.run()
    commits.clear()
    commit_of = world.store.commit

    async def commit(partition: int, commit: Commit) -> bool:
        done = await commit_of(partition, commit)
        world.store.faults.down.add("commit")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "commit", commit)
        world.log(breaker("a", "open"), operation("c", "op-1", reply_to=REPLY_TO), breaker("a", "half_open"))
        await world.run()
    assert [each[:2] for each in commits] == [(3, 4)]
    assert world.states().end > int(world.stored().progress[b"states_next"]), (
        "nothing of the second piece was published"
    )
    await world.end()
    world.store.faults.heal()
    world.assign()
    await world.advance(20)
    assert world.stored().next == 6
    assert len(world.store.answers) == 2
    assert_fold(world)


async def test_what_the_store_cannot_answer_at_once_is_loaded_piece_by_piece(
    world: World, commits: list[tuple[int, int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer ends behind the record with which it is large enough; the next piece asks for the rest."""
    world.assign()
    tenants = tenants_on(0, 1, 4)
    world.log(*(breaker(tenant, "open") for tenant in tenants))
    await world.run()
    await world.end()
    commits.clear()
    monkeypatch.setattr(ports, "LOAD_BYTES", 1)
    loads = world.store.faults.calls["load"]
    world.assign()
    world.log(*(breaker(tenant, "half_open") for tenant in tenants))
    world.log(breaker(tenants[0], "closed"))
    await world.run()
    assert [commit[:2] for commit in commits] == [(4, 5), (5, 6), (6, 7), (7, 9)]
    assert world.store.faults.calls["load"] == loads + 4
    assert_fold(world)


async def test_what_a_lane_has_forgotten_between_two_pieces_is_loaded_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands behind the earlier piece, not as it was loaded for the batch."""
    monkeypatch.setattr("worker.partition.pending_batch.PIECE_BYTES", 1)
    monkeypatch.setattr("worker.partition.piece_processor.RecordCache", partial(RecordCache, most_tenants=1))
    world.assign()
    world.log(breaker("a", "open"), breaker("b", "open"))
    await world.run()
    world.log(breaker("a", "half_open"), breaker("b", "half_open"), breaker("a", "open", name="other"))
    await world.run()
    state = from_json(world.states().records[-1].value or b"")
    assert [claim["breaker_state"] for claim in state["claims"]] == ["open", "half_open"]
    assert_fold(world)


async def test_a_repair_publishes_no_more_than_a_piece_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And reads no more than the store answers with."""
    world.assign()
    tenants = tenants_on(0, 1, 5)
    world.log(*(breaker(tenant, "open") for tenant in tenants))
    await world.run()
    await world.end()
    world.states().append([ports.Output(tenant.encode(), b"{}") for tenant in tenants])
    monkeypatch.setattr("worker.partition.states_repair.PIECE_BYTES", 1)
    monkeypatch.setattr(ports, "LOAD_BYTES", 1)
    sends = world.outputs.faults.calls[f"send:{world.topics.states}"]
    world.assign()
    await world.run()
    assert world.outputs.faults.calls[f"send:{world.topics.states}"] == sends + 5
    assert world.stored().progress[b"states_next"] == b"15"
    assert_fold(world)
