"""A run: everything fails by the schedule while everybody writes; then peace, and a verdict."""

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic_core import from_json

from tests.faults.callers import Callers
from tests.faults.emitters import Emitters
from tests.faults.fleet import Fleet
from tests.faults.gate import Gate
from tests.faults.past import Past
from tests.faults.peace import Peace
from tests.faults.schedule import Kind, Step
from tests.faults.summary import Summary
from tests.faults.verdict import Evidence, judge, now_ms
from tests.services import Namespace, Services, redis_client
from tests.services.append_only import append_only_file
from tests.support.installation import Installation

PARTITIONS: Final = 6
RATE: Final = 150.0
# Longer than a lane lets the end of its states partition go unlooked at.
_PEACE_SECONDS: Final = 7.0
_LEAVING_SECONDS: Final = 60.0
_LOST_SECONDS: Final = 1.0

Say = Callable[[str], None]


class Chaos:
    """One run on services of its own, which it may kill and empty."""

    def __init__(self, services: Services, installation: Installation, steps: Iterable[Step], seed: int) -> None:
        self._services = services
        self._installation = installation
        self._steps = tuple(steps)
        self._random = random.Random(~seed)
        self._gate = Gate()
        self._fleet = Fleet(installation)
        self._peace = Peace(installation, self._fleet)
        self._emitters = Emitters(installation, self._gate, seed, RATE)
        self._callers = Callers(self._fleet, self._gate, seed + 1)
        self._pasts = [Past(installation, partition) for partition in range(PARTITIONS)]
        self._file = append_only_file(services.store)
        self._faults: Counter[Kind] = Counter()
        self._lost_bytes = self._rebuilt = self._refolded = 0

    async def run(self, say: Say) -> Summary:
        """Run it all.

        Raises:
            AssertionError: if anything does not hold.
        """
        began = time.monotonic()
        await self._fleet.start()
        await self._peace.works()
        say("three workers and two APIs work")
        load = [asyncio.create_task(self._emitters.run()), asyncio.create_task(self._callers.run())]
        try:
            await self._hurt(say, load)
            say("peace")
            async with self._gate.shut():
                await _cancel(load)
        finally:
            await _cancel(load)
        await self._peace.rest(_PEACE_SECONDS)
        self._fleet.check()
        stopped = {number: lane for number, lane in (await self._fleet.lanes()).items() if lane["finding"]}
        assert not stopped, f"lanes are not well: {stopped}"
        await self._fleet.end()
        ended_at = now_ms()
        await asyncio.gather(*(past.read_on() for past in self._pasts))
        say(f"everybody has ended; {sum(len(past.records) for past in self._pasts):,} events are held against Redis")
        evidence = Evidence(self._pasts, self._callers.commands, self._callers.emitted, ended_at)
        await judge(self._installation, evidence, self._random)
        return self._summary(time.monotonic() - began)

    async def _hurt(self, say: Say, load: list[asyncio.Task[None]]) -> None:
        """Go through the schedule; faults that last do so beside the next ones."""
        began = time.monotonic()
        lasting: list[asyncio.Task[None]] = []
        try:
            for step in self._steps:
                await asyncio.sleep(max(began + step.at - time.monotonic(), 0))
                for task in [*load, *lasting]:
                    if task.done():
                        task.result()
                self._fleet.check()
                if step.kind in _ALONE:
                    await asyncio.gather(*lasting)
                say(f"{time.monotonic() - began:6.1f} s  {step.kind}")
                self._faults[step.kind] += 1
                fault = asyncio.create_task(self._fault(step, say))
                if step.kind in _ALONE:
                    alone = time.monotonic()
                    await fault
                    # What comes next is not to come all at once.
                    began += time.monotonic() - alone
                else:
                    lasting.append(fault)
            await asyncio.gather(*lasting)
        finally:
            await _cancel(lasting)

    async def _fault(self, step: Step, say: Say) -> None:
        fleet = self._fleet
        match step.kind:
            case Kind.WORKER_KILLED | Kind.WORKER_STOPPED | Kind.API_KILLED | Kind.API_STOPPED:
                await fleet.kill(step.kind, step.target, step.seconds)
            case Kind.WORKER_FROZEN:
                await fleet.freeze(step.target, step.seconds)
            case Kind.WORKER_ADDED:
                fleet.add_workers(1)
            case Kind.WORKER_REMOVED:
                await fleet.remove_worker(step.target)
            case Kind.REDIS_ROLLED_BACK:
                await self._roll_back(step.seconds, say)
            case Kind.REDIS_EMPTIED:
                await self._empty(say)
            case Kind.BROKER_KILLED:
                await asyncio.to_thread(self._services.broker.kill)
                await asyncio.sleep(step.seconds)
                await asyncio.to_thread(self._services.broker.start)

    async def _roll_back(self, seconds: float, say: Say) -> None:
        """Kill Redis, take away what it wrote in its last second, and start it."""
        store = self._services.store
        before = await asyncio.to_thread(self._file.sizes)
        await asyncio.sleep(_LOST_SECONDS)
        await asyncio.to_thread(store.kill)
        lost = await asyncio.to_thread(self._file.cut, before)
        self._lost_bytes += lost
        say(f"          {lost:,} bytes of the append-only file are gone; a second before it was {before}")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(store.start)

    async def _empty(self, say: Say) -> None:
        """Empty Redis: who finds his log whole folds it anew, who does not refuses, until a rebuild brings it back."""
        async with self._gate.shut():
            await self._peace.rest(0)
            for past in self._pasts[::2]:
                await past.let_go()
        redis = redis_client(self._services.redis)
        await redis.flushall()
        await redis.aclose()
        cut = {past.partition for past in self._pasts if past.cut}
        await self._refused(cut)
        say(f"          partitions {sorted(cut)} are refused, the others folded anew; rebuild")
        count = len(self._fleet.workers)
        await self._fleet.end_workers()
        rebuilt = await self._rebuild()
        assert cut <= rebuilt, f"rebuilt {rebuilt} of {cut}"
        self._rebuilt += len(cut)
        self._refolded += PARTITIONS - len(cut)
        self._fleet.add_workers(count)

    async def _refused(self, cut: set[int]) -> None:
        """Wait until every partition whose log was cut is refused by its owner, and every other one folded anew."""
        ends = await self._installation.ends()

        async def noticed() -> bool:
            lanes, applied = await self._fleet.lanes(), await self._installation.applied()
            for number, lane in lanes.items():
                if lane["stopped"]:
                    assert number in cut, f"the owner of {number} stopped, though its log is whole: {lane}"
                    assert "sleepctl rebuild" in (lane["finding"] or ""), f"it does not say what helps: {lane}"
            stopped = {number for number, lane in lanes.items() if lane["stopped"]}
            return stopped == cut and all(applied[number] >= end for number, end in ends.items() if number not in cut)

        await self._peace.until(noticed)
        applied = await self._installation.applied()
        for past in self._pasts:
            assert not past.cut or applied[past.partition] == 0, f"{past.partition} was written without its records"

    async def _rebuild(self) -> set[int]:
        """Run `sleepctl rebuild`, and return the partitions that it brought back."""
        command = Path(sys.executable).with_name("sleepctl")
        environment = os.environ | self._installation.environment
        deadline = time.monotonic() + _LEAVING_SECONDS
        while True:
            process = await asyncio.create_subprocess_exec(
                command, "rebuild", "--json", env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            out, err = await process.communicate()
            if process.returncode == 0:
                return {entry["partition"] for entry in from_json(out)["rebuilt"]}
            # One that was killed is counted for a while.
            assert b"workers are in group" in err, err.decode()
            assert time.monotonic() < deadline, err.decode()
            await asyncio.sleep(1)

    def _summary(self, seconds: float) -> Summary:
        commands = self._callers.commands
        answers = Counter(
            f"{answer.status or 'broken'}{f' {answer.code}' if answer.code else ''}"
            for command in commands
            for answer in command.answers
        )
        return Summary(
            faults=self._faults,
            events=sum(len(past.records) for past in self._pasts),
            commands=len(commands),
            answers=answers,
            written=self._emitters.written,
            unacknowledged=self._emitters.lost_acks,
            lost_bytes=self._lost_bytes,
            refused=self._fleet.count("fence_refused") + self._fleet.count("moved_elsewhere"),
            repaired=self._fleet.count("states_repaired"),
            rebuilt=self._rebuilt,
            refolded=self._refolded,
            seconds=seconds,
        )


# They wait for those before them, and those after them wait: a rebuild wants no worker, so none may be frozen.
_ALONE: Final = (Kind.REDIS_EMPTIED,)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def opened(services: Services, directory: Path, steps: Iterable[Step], seed: int) -> AsyncIterator[Chaos]:
    """Prepare a run; afterwards everything that it started has ended."""
    async with Installation.open(services, Namespace.fresh(), directory, partitions=PARTITIONS) as installation:
        yield Chaos(services, installation, steps, seed)
