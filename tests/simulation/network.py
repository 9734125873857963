"""The network between virtual workers and the servers: late, lossy, and in pieces.

A request travels on its own: once sent it arrives even where its sender is frozen, cancelled or gone, and what the
server did is done whether or not the answer finds its way back.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from tests.simulation.chances import Chances
from tests.simulation.loop import OUTSIDE, Loop, Machine
from tests.simulation.servers import Database

_T = TypeVar("_T")
_FAST: Final = (0.0, 0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005)
# What a lane calls between taking a batch and being done with it.
BATCH_CALLS: Final = frozenset({"load", "commit", "send:states", "send:transitions", "deadletter"})


class Link:
    """What one machine sees of one server.

    Attributes:
        away_until: until when nothing gets through, in the loop's seconds.
        slow_until: until when everything takes long.
    """

    def __init__(self) -> None:
        self.away_until = 0.0
        self.slow_until = 0.0
        self.busy_until: dict[str, float] = {}


class Network:
    """Carries calls to a server and answers back, with the faults of a run.

    Attributes:
        calm: whether all faults are over.
        in_flight: how many calls of a batch each machine waits for.
        hits: how many faults hit a batch in flight.
        applied_at_hit: how many batches had been applied when the first of them did, None where none did.
    """

    def __init__(
        self, loop: Loop, chance: random.Random, chances: Chances, database: Database, trace: Callable[..., None]
    ) -> None:
        self.calm = False
        self.in_flight: Counter[str] = Counter()
        self.hits = 0
        self.applied_at_hit: int | None = None
        self._database = database
        self._loop = loop
        self._random = chance
        self._chances = chances
        self._trace = trace
        self._links: dict[tuple[str, str], Link] = {}
        self._in_vain: list[Callable[[], None]] = []

    def link(self, machine: Machine, server: str) -> Link:
        """Return what a machine sees of a server."""
        return self._links.setdefault((machine.name, server), Link())

    def heal(self) -> None:
        """Let everything through, fast, from now on; who waits in vain is told so."""
        self.calm = True
        self._links.clear()
        for give_up in self._in_vain:
            give_up()

    def hit(self, machine: Machine | None = None) -> None:
        """Note a fault; it counts where a batch was in flight, of this machine or of any."""
        if any(self.in_flight.values()) if machine is None else self.in_flight[machine.name]:
            self._count_hit()

    def _count_hit(self) -> None:
        self.hits += 1
        if self.applied_at_hit is None:
            self.applied_at_hit = self._database.applied

    async def call(
        self,
        machine: Machine,
        server: str,
        name: str,
        act: Callable[[], _T],
        error: Callable[[str], Exception],
        *,
        seconds: float,
        ordered: bool = False,
    ) -> _T:
        """Have a server do something, and return its answer.

        Args:
            machine: who calls.
            server: the server's name.
            name: what the call is named in the trace, the topic after a colon.
            act: what the server does, in one step.
            error: makes the error that the caller sees where no answer comes.
            seconds: how long the caller waits.
            ordered: whether calls of this name arrive in the order in which they were sent.
        """
        answer: asyncio.Future[_T] = self._loop.create_future()
        batch = name in BATCH_CALLS
        if batch:
            self.in_flight[machine.name] += 1
        self._send(machine, server, name, act, error, answer, seconds, ordered)
        try:
            return await answer
        finally:
            if batch:
                self.in_flight[machine.name] -= 1

    def _send(  # noqa: PLR0913, PLR0917 - as `call`
        self,
        machine: Machine,
        server: str,
        name: str,
        act: Callable[[], _T],
        error: Callable[[str], Exception],
        answer: asyncio.Future[_T],
        seconds: float,
        ordered: bool,  # noqa: FBT001 - as `call`
    ) -> None:
        loop, link = self._loop, self.link(machine, server)
        now = loop.time()
        fate = self._fate(link, now)
        if fate == "refused":
            self._fault(machine, name, fate)
            loop.call_later(self._delay(link, now), _fail, answer, error(f"{server} is away"), context=OUTSIDE)
            return
        late = error(f"{server} has not answered")
        timeout = loop.call_later(seconds, _fail, answer, late, context=OUTSIDE)
        if fate != "carried":
            self._in_vain.append(lambda: _fail(answer, late))
        if fate == "lost":
            self._fault(machine, name, fate)
            return
        arrives = now + self._delay(link, now)
        if ordered:
            arrives = link.busy_until[name] = max(arrives, link.busy_until.get(name, 0.0))

        def arrive() -> None:
            try:
                result = act()
            except Exception as raised:  # noqa: BLE001 - the caller's to see
                loop.call_later(self._delay(link, loop.time()), _fail, answer, raised, context=OUTSIDE)
                return
            if name in BATCH_CALLS:
                self._trace(machine.name, name, f"{fate}:", result)
            if fate == "unacknowledged":
                self._fault(machine, name, fate)
                return
            loop.call_later(self._delay(link, loop.time()), reply, result, context=OUTSIDE)

        def reply(result: _T) -> None:
            timeout.cancel()
            if not answer.done():
                answer.set_result(result)

        loop.call_at(arrives, arrive, context=OUTSIDE)

    def _fate(self, link: Link, now: float) -> str:
        if self.calm:
            return "carried"
        chances, draw = self._chances, self._random.random
        if now < link.away_until:
            return "refused" if draw() < 0.8 else "lost"
        if draw() < chances.refused:
            return "refused"
        if draw() < chances.lost:
            return "lost"
        return "unacknowledged" if draw() < chances.unacknowledged else "carried"

    def _fault(self, machine: Machine, name: str, fate: str) -> None:
        if name in BATCH_CALLS:
            self._count_hit()
        self._trace(machine.name, name, fate)

    def _delay(self, link: Link, now: float) -> float:
        if self.calm:
            return self._random.choice(_FAST)
        if now < link.slow_until or self._random.random() < self._chances.slow:
            return self._random.choice((0.05, 0.3, 1.0, 3.0, 6.0))
        return self._random.choice(_FAST)


def _fail(answer: "asyncio.Future[_T]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
