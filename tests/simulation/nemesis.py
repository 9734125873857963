"""Whoever makes the faults: draws one after another, until it is told to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.simulation.chances import Chances
from tests.simulation.group import Group
from tests.simulation.ports import LOG, STORE
from tests.simulation.workers import Surroundings, VirtualWorker

_ENDED: Final = 1e9
# More than the minute by which a record may be ahead of a worker's clock.
_WRONG_MS: Final = (-90_000, -5_000, -300, 200, 3_000, 70_000)
# Longer than a lane takes from the store's answer to the log's, as slow as they may be.
_RETAINED_SECONDS: Final = 12.0


class Nemesis:
    """The faults that are not of a single call."""

    def __init__(self, world: Surroundings, group: Group, replace: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._world = world
        self._group = group
        self._replace = replace
        self._stopped = False
        self._after: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Make faults, as often as the chances say."""
        actions: dict[str, Callable[[], None]] = {
            "crash": self.crash, "pause": self.pause, "rebalance": self.rebalance, "rollback": self.roll_back,
            "store_away": lambda: self.away(STORE), "log_away": lambda: self.away(LOG),
            "store_slow": lambda: self.slow(STORE), "log_slow": lambda: self.slow(LOG),
            "clock": self.set_clock, "retention": self.retain, "look": self.look,
        }  # fmt: skip
        chances: Chances = self._world.chances
        rates = {name: getattr(chances, name) for name in actions}
        total = sum(rates.values())
        chance = self._world.random
        while total:
            await asyncio.sleep(chance.expovariate(total))
            if self._stopped:
                return
            actions[chance.choices(list(rates), list(rates.values()))[0]]()

    async def stop(self) -> None:
        """Make no more faults, and undo what has been done."""
        self._stopped = True
        self._world.network.heal()
        for worker in self._group.workers:
            worker.clock.ahead_ms = 0
            worker.clock.late = 0.0
        if self._after:
            await asyncio.wait(self._after)

    def crash(self) -> None:
        """End a worker where it stands; another starts a little later."""
        for worker in self._one():
            self._note(worker, "crash")
            worker.dead = worker.machine.frozen = True
            self._then(self._buried(worker))

    async def _buried(self, worker: VirtualWorker) -> None:
        await asyncio.sleep(self._world.random.choice((0.0, 0.5, 3.0)))
        await self._group.throw_out(worker)
        await self._replace()

    def pause(self) -> None:
        """Stop a worker for a while, often so long that its partitions are given to others."""
        for worker in self._one():
            if not worker.member:
                return
            self._note(worker, "pause")
            worker.machine.frozen = True
            self._then(self._paused(worker))

    async def _paused(self, worker: VirtualWorker) -> None:
        chance, loop = self._world.random, self._world.loop
        seconds, session = chance.choice((0.05, 0.5, 2.0, 6.0)), chance.choice((0.02, 0.3, 3.0))
        await asyncio.sleep(min(seconds, session))
        if seconds > session:
            ousting = loop.create_task(self._group.throw_out(worker))
            await asyncio.sleep(seconds - session)
            loop.thaw(worker.machine)
            self._world.trace(f"{worker.name} goes on")
            await ousting
            await asyncio.sleep(chance.choice((0.0, 0.1, 1.0, 3.0)))
            if not worker.dead:
                await self._group.come_back(worker)
        else:
            loop.thaw(worker.machine)

    def rebalance(self) -> None:
        """Move partitions, with whatever is in hand."""
        self._then(self._group.rebalance(everything=self._world.random.random() < 0.5))

    def roll_back(self) -> None:
        """Have the store lose up to its last second."""
        seconds = self._world.random.random()
        self._world.trace(f"the store loses {seconds:.3f} s")
        self._world.network.hit()
        self._world.database.roll_back(seconds)

    def away(self, server: str) -> None:
        """Let nothing through to a server for a while, from one worker or from all."""
        self._until(server, "away_until", (0.1, 1.0, 4.0))

    def slow(self, server: str) -> None:
        """Make a server slow for a while, for one worker or for all."""
        self._until(server, "slow_until", (0.3, 2.0, 8.0))

    def _until(self, server: str, name: str, lengths: tuple[float, ...]) -> None:
        chance, world = self._world.random, self._world
        workers = self._one() if chance.random() < 0.5 else self._group.alive
        end = world.loop.time() + chance.choice(lengths)
        world.trace(f"{server} {name} {end:.3f} for {[worker.name for worker in workers]}")
        for worker in workers:
            world.network.hit(worker.machine)
            setattr(world.network.link(worker.machine, server), name, end)

    def set_clock(self) -> None:
        """Set a worker's clock wrong, or right again."""
        for worker in self._one():
            worker.clock.ahead_ms = self._world.random.choice((0, *_WRONG_MS))
            self._note(worker, f"clock {worker.clock.ahead_ms:+} ms")

    def retain(self, seconds: float = _RETAINED_SECONDS) -> None:
        """Have the log forget what was applied so long ago, in seconds."""
        world = self._world
        for partition in range(world.partitions):
            log = world.broker.log(world.topics.events, partition)
            start = world.random.randint(log.start, max(world.database.least_next(partition, seconds), log.start))
            world.broker.trim(log, start)
            world.trace(f"the log of {partition} begins at {start}")

    def look(self) -> None:
        """Make lanes look where they stand."""
        for worker in self._one():
            self._note(worker, "looks again")
            for lane in worker.lanes:
                lane.reread_position()

    def _one(self) -> list[VirtualWorker]:
        alive = self._group.alive
        return [self._world.random.choice(alive)] if alive else []

    def _note(self, worker: VirtualWorker, what: str) -> None:
        self._world.trace(f"{worker.name} {what}")
        self._world.network.hit(worker.machine)

    def _then(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._after.append(self._world.loop.create_task(coroutine))
