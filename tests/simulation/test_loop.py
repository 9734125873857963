"""The loop that simulations run on: its time, its order, and machines that stop between two steps."""

import asyncio
import random

import pytest

from tests.simulation.loop import Loop, Machine


def test_time_passes_only_while_nobody_has_anything_to_do() -> None:
    """A minute of sleep takes no time, and everybody wakes at his own."""
    loop = Loop(random.Random(1))
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, loop.time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 60), sleeper("early", 0.5))

    loop.run_until_complete(main())
    assert woken == [("early", 0.5), ("late", 60)]


def test_the_seed_says_who_goes_first() -> None:
    """The same seed always the same; other seeds otherwise."""

    def order(seed: int) -> str:
        steps: list[str] = []

        async def worker(name: str) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                steps.append(name)

        async def main() -> None:
            await asyncio.gather(*(worker(name) for name in "abc"))

        Loop(random.Random(seed)).run_until_complete(main())
        return "".join(steps)

    assert order(1) == order(1)
    assert len({order(seed) for seed in range(10)}) > 5


def test_a_frozen_machine_runs_nothing_and_goes_on_where_it_stopped() -> None:
    """Also what its tasks have started; the others go on meanwhile."""
    loop = Loop(random.Random(1))
    machine = Machine("w1")
    steps: list[float] = []

    async def child() -> None:
        while True:
            await asyncio.sleep(1)
            steps.append(loop.time())

    async def parent() -> None:
        await asyncio.create_task(child())

    async def main() -> None:
        task = machine.context.run(asyncio.ensure_future, parent())
        await asyncio.sleep(2.5)
        machine.frozen = True
        await asyncio.sleep(10)
        assert steps == [1, 2]
        loop.thaw(machine)
        await asyncio.sleep(2)
        assert not task.done()

    loop.run_until_complete(main())
    assert steps == [1, 2, 12.5, 13.5]


def test_a_run_that_waits_for_nothing_is_a_failure() -> None:
    """It would never end."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="nothing will ever happen"):
        Loop(random.Random(1)).run_until_complete(main())
