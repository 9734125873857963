"""Those who write to the events topic while everything fails: a load of every type of event, some of it twice."""

import asyncio
from typing import Final

from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.simulation.workers import Surroundings
from tests.support.load import rules_for_all, tenant_load
from tests.support.records import Sent
from tests.support.times import NOW
from worker.ports import Output

_RULES: Final = (
    {"policy": {"ceiling": "deep"}, "retire_after_seconds": 60},
    {"policy": {"breakers": [{"match": "pay*", "quorum": 2}], "min_sleep_seconds": 1}, "retire_after_seconds": 60},
    {"policy": {"enforce": False}},
)
_SECONDS: Final = (2.0, 8.0, 8.0, 20.0)
# In this share of the runs so much time passes that tenants retire.
_LONG: Final = 0.05
_LONG_SECONDS: Final = 90.0


async def write(world: Surroundings) -> None:
    """Write the load over a while, in bursts."""
    chance, chances = world.random, world.chances
    count, tenants = chance.randint(20, 60), chance.randint(2, 7)
    load = list(
        tenant_load(chance.getrandbits(32), count, tenants=tenants, partitions=world.partitions, now=NOW + 5_000)
    )
    for number in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(len(load))
        load[at:at] = rules_for_all(number, chance.choice(_RULES), world.partitions)
    seconds = _LONG_SECONDS if chance.random() < _LONG else chance.choice(_SECONDS)
    bursts = 0.4
    for index, sent in enumerate(load):
        _append(world, sent)
        while chance.random() < chances.twice:
            _append(world, load[chance.randint(max(index - 10, 0), index)])
        if chance.random() < bursts:
            await asyncio.sleep(chance.expovariate(len(load) * bursts / seconds))


def _append(world: Surroundings, sent: Sent) -> None:
    log = world.broker.log(world.topics.events, sent.partition)
    key = None if sent.tenant is None else sent.tenant.encode()
    log.append([Output(key, sent.value, STRUCTURED_HEADERS)])
    if world.random.random() < world.chances.gap:
        log.skip(world.random.randint(1, 3))
    if world.random.random() < world.chances.unreadable:
        log.append_unreadable(world.random.randint(1, 3))
