"""Whatever goes wrong and in whatever order: in the end the store holds the plain fold of the log."""

import asyncio
import random
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from tests.support.outputs import breaker, event, operation, rules, timer
from tests.support.world import World
from tests.unit.worker.applied_once import assert_applied_once

_METHODS = ("partition_status", "load", "commit", "due", "scan", "send", "dead_letters", "offset_range")
_TENANTS = ("acme", "other", "third")


class _Chaos:
    """Does one thing after another, drawn from a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self._snapshot = world.store.snapshot()
        self._operations = 0
        self._actions: list[tuple[int, Callable[[], object]]] = [
            (30, self.log_events),
            (8, self.take_away),
            (8, self.give_back),
            (6, self.lose_an_answer),
            (2, self.remember),
            (1, self.fall_back),
            (3, self.reread_position),
            (3, lambda: world.events().skip(self.random.randint(1, 3))),
            (1, self.set_rules),
        ]
        for faults in (world.store.faults, world.outputs.faults, world.broker):
            faults.latency = self.wait

    async def wait(self) -> None:
        """Take a while, so that the two owners meet everywhere."""
        for _ in range(self.random.randint(1, 4)):
            await asyncio.sleep(0)

    def log_events(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            tenant = self.random.choice(_TENANTS)
            self._operations += 1
            self.world.log(
                self.random.choice(
                    [
                        breaker(tenant, self.random.choice(["open", "half_open", "closed", "forced_open"])),
                        operation(tenant, f"op-{self._operations}", ttl_ms=self.random.randint(0, 3_000)),
                        operation(tenant, f"op-{self.random.randint(1, self._operations)}", ttl_ms=2_000),
                        timer(tenant, 0),
                        event("sleep.unknown.v1", tenant),
                    ]
                )
            )

    def set_rules(self) -> None:
        ceiling = self.random.choice(["light", "deep", "freeze"])
        self.world.log(rules({"policy": {"ceiling": ceiling}, "retire_after_seconds": 60}))

    def take_away(self) -> None:
        for faults in (self.world.store.faults, self.world.outputs.faults, self.world.broker):
            faults.down.add(self.random.choice(_METHODS))

    def give_back(self) -> None:
        for faults in (self.world.store.faults, self.world.outputs.faults, self.world.broker):
            faults.heal()

    def lose_an_answer(self) -> None:
        self.world.store.faults.lost.append(self.random.choice(_METHODS))
        self.world.outputs.faults.lost.append("send")

    def remember(self) -> None:
        self._snapshot = self.world.store.snapshot()

    def fall_back(self) -> None:
        self.world.store.restore(self._snapshot)

    def reread_position(self) -> None:
        for worker in self.world.workers:
            for lane in worker.lanes:
                lane.reread_position()

    async def go_on(self, steps: int) -> None:
        """Do so many things, with a little time between."""
        weights, actions = zip(*self._actions, strict=True)
        for _ in range(steps):
            self.random.choices(actions, weights)[0]()
            await self.world.advance(self.random.choice([0, 0, 0.05, 0.3, 1.5]))


@pytest.mark.parametrize("seed", range(25))
async def test_two_owners_in_a_world_where_everything_fails_apply_each_record_once(seed: int) -> None:
    """Outages, lost answers, rollbacks, holes, new rules: nothing is lost and nothing counts twice."""
    async with World(seed=seed) as world:
        chaos = _Chaos(world, seed)
        world.join()
        with capture_logs():
            for worker in world.workers:
                worker.lanes.assign([0])
            await chaos.go_on(60)
            chaos.give_back()
            await world.advance(30)
        for worker in world.workers:
            for lane in worker.lanes:
                assert lane.problem is None
                assert lane.position == world.stored().next
        assert world.stored().next >= world.events().records[-1].offset + 1
        assert_applied_once(world)
