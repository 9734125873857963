"""What must hold after a run: see `tests.support.oracle`; and what an owner must say whose store was emptied."""

from typing import Final

from tests.simulation.servers import WOBBLE_MS
from tests.simulation.workers import Surroundings
from tests.support.invariants import assert_fold
from tests.support.oracle import PartitionOutcome, check_partition, documents_of
from tests.support.redis_contents import StoredPartition
from tests.support.reference import Reference

# A timer that is due is folded within this time, once all faults are over.
_SLACK_MS: Final = 2_000


def check(world: Surroundings) -> None:
    """Hold everything that a run left behind against the reference.

    Raises:
        AssertionError: if anything differs.
    """
    for partition in range(world.partitions):
        log = world.broker.history(world.topics.events, partition)
        reference = Reference(partition)
        for record in log:
            reference.read(record, world.partitions)
        outcome = PartitionOutcome(
            partition=partition,
            partitions=world.partitions,
            log=log,
            states=world.broker.history(world.topics.states, partition),
            transitions=world.broker.history(world.topics.transitions, partition),
            stored=world.database.partitions[partition],
            now=world.clock.now(),
            slack_ms=_SLACK_MS,
            forgets=world.memory_ms is not None,
            isolated=world.memory_ms is None or world.memory_ms > WOBBLE_MS,
        )
        check_partition(outcome, reference, world.random)


def check_refusal(world: Surroundings, partition: int, lost: StoredPartition) -> bool:
    """After the store was emptied: tell whether a partition's owner refuses to go on.

    It must, and change nothing, where the log no longer holds what is missing; where the log still holds all of it,
    it may fold it anew instead.

    Raises:
        AssertionError: if it guesses, or does not say which command helps.
    """
    start = world.broker.log(world.topics.events, partition).start
    owner = world.group.owners[partition]
    lane = None if owner is None else owner.lanes.get(partition)
    assert lane is not None, f"nobody owns {partition}"
    if not lane.stopped:
        assert lost.next == 0 or start == 0, f"the owner of {partition} goes on without its records"
        return False
    assert "sleepctl rebuild" in (lane.problem or ""), f"it does not say what helps: {lane.problem}"
    _check_nothing_guessed(world, partition)
    return True


def _check_nothing_guessed(world: Surroundings, partition: int) -> None:
    """A first commit, from 0 on, of a worker that is dead or thrown out may still find the position that it wants.

    What it writes is the whole of the log up to there, and nothing but that.
    """
    stored, reference = world.database.partitions[partition], Reference(partition)
    for record in world.broker.history(world.topics.events, partition):
        if record.offset < stored.next:
            reference.read(record, world.partitions)
    assert_fold(documents_of(stored, partition), {tenant: reference.document(tenant) for tenant in reference.tenants})
