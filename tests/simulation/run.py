"""One run: a seed makes a world of workers, a load and faults; in the end everybody is left in peace and checked."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import structlog

from schemas.names import Topics
from tests.simulation.chances import Chances
from tests.simulation.check import check, check_refusal
from tests.simulation.group import Group
from tests.simulation.loop import Loop
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.servers import Broker, Database, TrueClock
from tests.simulation.sizes import Sizes
from tests.simulation.workers import VirtualWorker
from tests.simulation.write import write

# Longer than a timer takes to be sent again, than the lane lets its partitions' ends go unlooked at, and than a
# rollback goes unnoticed where a look is still under way: 5 seconds until that has failed, and 3 for two more.
_PEACE_SECONDS: Final = 9.0
_PATIENCE_SECONDS: Final = 120.0
# The share of runs in which the store loses everything, and the time in which every lane has noticed.
_EMPTIED: Final = 0.1
_NOTICED_SECONDS: Final = 20.0
# How long commands are known after their end; None for the hour that it really is.
_MEMORIES_MS: Final = (None, None, None, 100, 500, 1_500)
RESTLESS: Final = "the workers never come to rest"


class Outcome(NamedTuple):
    """What a run led to.

    Attributes:
        seed: the number that makes the same run again.
        failure: what did not hold, None where all did.
        hits: how many faults hit a batch in flight.
        nontrivial: whether events were applied after such a hit.
        events: how many records the log has.
        refused: whether a lane refused to go on with an emptied store.
        trace: what happened, if it was asked for.
    """

    seed: int
    failure: str | None
    hits: int
    nontrivial: bool
    events: int
    refused: bool
    trace: list[str]


class World:
    """Everything of one run; see `Surroundings`."""

    def __init__(self, seed: int, *, verbose: bool) -> None:
        self.random = random.Random(seed)
        self.loop = Loop(random.Random(~seed))
        self.chances = Chances.draw(self.random)
        self.clock = TrueClock(self.loop)
        self.topics = Topics.of("sleep")
        self.partitions = self.random.choice((2, 2, 3, 4))
        # An hour of log time does not pass here, so in some runs commands are forgotten sooner.
        self.memory_ms = random.Random(f"memory {seed}").choice(_MEMORIES_MS)
        self.sizes = Sizes.draw(random.Random(f"sizes {seed}"))
        self.broker = Broker(self.clock, self.random)
        self.database = Database(self.loop)
        self.network = Network(self.loop, self.random, self.chances, self.database, self.trace)
        self.group = Group(self)
        self.emptied = False
        self.refused = False
        self.errors: list[str] = []
        self.lines: list[str] = []
        self._verbose = verbose
        self._seed = seed
        self._started = 0

    def trace(self, *words: object) -> None:
        """Note a line of the trace."""
        if self._verbose:
            self.lines.append(f"{self.loop.time():9.4f}  {' '.join(map(str, words))}")

    def log(self, _: object, level: str, entry: Any) -> Any:  # noqa: ANN401 - structlog's
        """Take a line of the worker's own log."""
        wrong = level == "error" and not (self.emptied and entry["event"] == "lane_stopped")
        if self._verbose or wrong:
            fields = " ".join(f"{name}={value}" for name, value in entry.items() if name != "exc_info")
            self.trace("   ", fields)
            if wrong:
                self.errors.append(f"{fields} {entry.get('exc_info', '')}")
        raise structlog.DropEvent

    async def live(self) -> None:
        """Let faults and load have their way, then leave everybody in peace."""
        chance = self.random
        for _ in range(chance.randint(2, 4)):
            await self.start()
        nemesis = Nemesis(self, self.group, self.start)
        faults = self.loop.create_task(nemesis.run())
        await write(self)
        await asyncio.sleep(chance.choice((0.0, 0.5, 3.0)))
        faults.cancel()
        await asyncio.wait([faults])
        if chance.random() < _EMPTIED:
            await self._lose_the_store(nemesis)
        self.trace("peace")
        await nemesis.stop()
        await self._settle()

    async def start(self) -> None:
        """Start a worker, which joins the group."""
        self._started += 1
        await self.group.join(VirtualWorker(self, f"w{self._started}"))

    async def _lose_the_store(self, nemesis: Nemesis) -> None:
        """Empty the store, see that nobody guesses, bring back what a rebuild would, and start anew."""
        if self.random.random() < 0.5:
            nemesis.retain(0.0)
        lost = self.database.lose()
        self.emptied = True
        self.trace("the store is empty")
        self.network.hit()
        await nemesis.stop()
        await asyncio.sleep(_NOTICED_SECONDS)
        while None in self.group.owners.values():
            await asyncio.sleep(1)
        for partition, stored in lost.items():
            if check_refusal(self, partition, stored):
                self.refused = True
                self.database.partitions[partition] = stored
        self.trace("the store is rebuilt")
        await self.group.end()
        for _ in range(2):
            await self.start()

    async def _settle(self) -> None:
        """Wait until nothing has been written for a while."""
        before, since, end = (-1, -1, -1), self.loop.time(), self.loop.time() + _PATIENCE_SECONDS
        while self.loop.time() - since < _PEACE_SECONDS:
            # What a lane has said is why, and a lane that failed is a defect of what runs, not of what it rests on.
            assert self.loop.time() < end, self.errors[0] if self.errors else RESTLESS
            await asyncio.sleep(0.5)
            logs = [self.broker.log(topic, p) for topic in self.topics for p in range(self.partitions)]
            now = (sum(log.end for log in logs), self.database.commits, len(self.group.alive))
            if now != before or not self.group.settled:
                before, since = now, self.loop.time()

    def check(self) -> None:
        """Check what is left."""
        assert not self.errors, self.errors[0]
        assert not self.loop.errors, repr(self.loop.errors[0])
        for worker in self.group.workers:
            for task in worker.tasks:
                assert task.cancelled(), f"{worker.name} has lost a task: {task}"
            assert not worker.log.early, f"timers were early: {worker.log.early}"
        check(self)

    @property
    def outcome(self) -> Outcome:
        """What the run led to, but for a failure."""
        events = sum(len(self.broker.history(self.topics.events, partition)) for partition in range(self.partitions))
        return Outcome(self._seed, None, self.network.hits, self.nontrivial, events, self.refused, self.lines)

    @property
    def nontrivial(self) -> bool:
        """Whether a fault hit a batch in flight, and events were applied after it."""
        before = self.network.applied_at_hit
        return before is not None and self.database.applied > before


def simulate(seed: int, *, verbose: bool = False) -> Outcome:
    """Run one seed and return what it led to."""
    world = World(seed, verbose=verbose)
    with _logging_to(world), _remembering(world.memory_ms), world.sizes.in_force():
        try:
            world.loop.run_until_complete(world.live())
            world.check()
        except AssertionError as error:
            return world.outcome._replace(failure=str(error))
        except Exception as error:  # noqa: BLE001 - what cannot even be read is a failure of this seed, not of the others
            return world.outcome._replace(failure=f"{type(error).__name__}: {error}")
    return world.outcome


@contextmanager
def _remembering(memory_ms: int | None) -> Iterator[None]:
    """Have workers and reference remember commands for so long."""
    if memory_ms is None:
        yield
        return
    with (
        patch("schemas.wire.operation.REMEMBERED_MS", memory_ms),
        patch("schemas.wire.operation.FORGOTTEN_MS", 2 * memory_ms),
        patch("tests.support.reference_decision.REMEMBERED_MS", memory_ms),
    ):
        yield


@contextmanager
def _logging_to(world: World) -> Iterator[None]:
    """Take what the worker logs; its loggers keep the very list of processors, so that is what changes."""
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [world.log]
    try:
        yield
    finally:
        processors[:] = before
