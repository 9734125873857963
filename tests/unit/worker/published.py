"""The timers that a worker has published, as the log holds them."""

from pydantic_core import from_json

from tests.support.fakes import LogRecord
from tests.support.times import NOW
from tests.support.world import World

_TIMER = "sleep.timer.v1"


def timers(world: World) -> list[LogRecord]:
    """Return the timers in the log."""
    return [record for record in world.events().records if from_json(record.value or b"")["type"] == _TIMER]


def published_at(world: World) -> list[int]:
    """Return when each timer was published, in milliseconds after the beginning."""
    return [record.timestamp - NOW for record in timers(world)]
