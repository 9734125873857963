"""How likely each fault is in one run, drawn from its seed; many are off in each, so that the others show."""

import random
from dataclasses import dataclass, fields
from typing import Final

# The most that each may be: of a call, of a fetch, of a record written, or faults a second.
_MOST: Final = {
    "refused": 0.1, "lost": 0.05, "unacknowledged": 0.1, "slow": 0.1, "dropped": 0.15, "twice": 0.2, "gap": 0.1,
    "late": 0.2, "crash": 0.4, "pause": 1.2, "rebalance": 0.8, "rollback": 1.2, "store_away": 0.3, "log_away": 0.3,
    "store_slow": 0.3, "log_slow": 0.3, "clock": 0.3, "retention": 0.3, "look": 0.3,
    "unreadable": 0.1,
}  # fmt: skip
_OFF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Chances:
    """The faults of a run.

    Attributes:
        refused: a call fails before the server saw it.
        lost: a call never arrives, and its caller waits in vain.
        unacknowledged: a call is carried out and its answer lost.
        slow: a call or its answer takes long.
        dropped: a fetched batch is passed over by the consumer.
        twice: a producer writes a record again.
        gap: offsets without a record follow a record.
        late: a sleep takes longer than asked.
        crash, pause, rebalance: of a worker, a second.
        rollback: the store loses up to its last second, a second.
        store_away, log_away, store_slow, log_slow: for one worker or for all, a second.
        clock: a worker's clock is set wrong, a second.
        retention: the log forgets its oldest records, a second.
        look: a lane is made to look again, a second.
        unreadable: a batch that nobody can read follows a record.
    """

    refused: float = 0
    lost: float = 0
    unacknowledged: float = 0
    slow: float = 0
    dropped: float = 0
    twice: float = 0
    gap: float = 0
    late: float = 0
    crash: float = 0
    pause: float = 0
    rebalance: float = 0
    rollback: float = 0
    store_away: float = 0
    log_away: float = 0
    store_slow: float = 0
    log_slow: float = 0
    clock: float = 0
    retention: float = 0
    look: float = 0
    unreadable: float = 0

    @classmethod
    def draw(cls, chance: random.Random) -> "Chances":
        """Draw a chance for each fault, none for about half of them."""
        drawn = {
            field.name: 0.0 if chance.random() < _OFF else _MOST[field.name] * chance.random() ** 2
            for field in fields(cls)
        }
        return cls(**drawn)
