"""What fails, when, and for how long: data, made from a seed, with every kind of fault in each round."""

import random
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """A kind of fault, in the words of a progress line."""

    WORKER_KILLED = "kill -9 of a worker"
    WORKER_STOPPED = "TERM of a worker"
    WORKER_FROZEN = "SIGSTOP of a worker past its session, then SIGCONT"
    WORKER_ADDED = "a worker added"
    WORKER_REMOVED = "a worker removed"
    API_KILLED = "kill -9 of an API"
    API_STOPPED = "TERM of an API"
    REDIS_ROLLED_BACK = "Redis killed and started without its last second"
    REDIS_EMPTIED = "Redis emptied"
    BROKER_KILLED = "broker killed and started"


class Step(NamedTuple):
    """A fault.

    Attributes:
        at: the second at which it begins, not counting the time in which Redis is empty.
        kind: what.
        target: which worker or API, counted round those that run then.
        seconds: how long it lasts: how long the process is away or frozen.
    """

    at: float
    kind: Kind
    target: int
    seconds: float

    def __str__(self) -> str:
        """Return a line of a schedule."""
        return f"{self.at:7.1f} s  {self.kind} ({self.target}, {self.seconds:.1f} s)"


class Phase(NamedTuple):
    """When a kind comes in a round, as a share of it, and how long it lasts at the least and the most."""

    share: float
    kind: Kind
    least: float = 0.0
    most: float = 0.0


# A worker that is killed or frozen is thrown out after 20 s, during which nobody folds. So these come together, and the
# rest to workers that fold; a broker that starts anew counts the 20 s anew.
PHASES: Final = (
    Phase(0.03, Kind.REDIS_ROLLED_BACK, 0.0, 1.0),
    Phase(0.08, Kind.WORKER_FROZEN, 21.0, 24.0),
    Phase(0.10, Kind.API_KILLED, 0.0, 2.0),
    Phase(0.12, Kind.WORKER_KILLED, 0.0, 2.0),
    Phase(0.62, Kind.BROKER_KILLED, 0.0, 2.0),
    Phase(0.75, Kind.WORKER_ADDED),
    Phase(0.79, Kind.WORKER_STOPPED, 0.0, 2.0),
    Phase(0.82, Kind.API_STOPPED, 0.0, 2.0),
    Phase(0.86, Kind.REDIS_ROLLED_BACK, 0.0, 1.0),
    Phase(0.91, Kind.WORKER_REMOVED),
    Phase(0.97, Kind.REDIS_EMPTIED),
)
ROUND_SECONDS: Final = 60.0
LEAST_SECONDS: Final = 40.0
_JITTER: Final = 0.01


def schedule(seed: int, seconds: float) -> tuple[Step, ...]:
    """Return the faults of a run of so many seconds, the same for the same arguments.

    Raises:
        ValueError: if a round does not fit in.
    """
    if seconds < LEAST_SECONDS:
        msg = f"{seconds:g} s are too few: a round of every fault takes {LEAST_SECONDS:g} s"
        raise ValueError(msg)
    chance = random.Random(seed)
    rounds = max(round(seconds / ROUND_SECONDS), 1)
    length = seconds / rounds
    steps = [
        Step(
            at=length * (number + phase.share + chance.uniform(-_JITTER, _JITTER)),
            kind=phase.kind,
            target=chance.randrange(100),
            seconds=chance.uniform(phase.least, phase.most),
        )
        for number in range(rounds)
        for phase in PHASES
    ]
    return tuple(sorted(steps))
