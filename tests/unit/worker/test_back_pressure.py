"""A slow store makes the worker slower, not bigger."""

import pytest

from tests.support.outputs import breaker
from tests.support.world import World

PADDING = "x" * 200


@pytest.mark.parametrize("fetched", [100, 2_000])
async def test_what_is_fetched_and_not_folded_is_bounded_however_slow_the_store_is(world: World, fetched: int) -> None:
    """Two batches, and what one fetch may bring on top; the rest stays in the log until there is room."""
    world.worker.consumer.most = fetched
    world.store.faults.latency = lambda: world.clock.sleep(0.5)
    world.log(*[breaker(f"tenant-{number % 40}", "open", cause=PADDING) for number in range(30_000)])
    lane = world.assign()
    most = 0
    seconds = 0
    while world.stored().next < 30_000:
        await world.advance(1)
        seconds += 1
        most = max(most, len(lane.fetch_buffer._queue))  # noqa: SLF001 - what it holds is what is looked at
        assert lane.problem in (None, "starting")
    assert 2_000 < most < 4_000 + fetched
    # As many batches as there are of 2,000 records or 1 MiB, each with the answers of a slow load and commit.
    assert seconds > 15
