"""A replay under the recorded rules gives what was recorded."""

import random
from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from tests.support.batches import logs
from tests.support.events import rules, timer
from tests.support.load import tenant_load
from tests.support.records import Source, source
from tests.support.times import MINUTE, SECOND, T
from tests.unit.worker.replays import folded, range_of, replayed
from worker.recovery.what_if.partition import PartitionReplay

EVENTS = 3_000


def mixed_log(count: int = EVENTS, seed: int = 7) -> list[Source]:
    """Return a log of so many events of all types, some of them no events, over about a day."""
    chance = random.Random(seed)
    times = accumulate((chance.choice((1, 50, 2 * SECOND, MINUTE)) for _ in range(count)), initial=T)
    log = []
    for offset, (at, sent) in enumerate(
        zip(times, tenant_load(seed, count, tenants=40, partitions=1, now=T), strict=False)
    ):
        log.append(Source(offset, at, (sent.tenant or "").encode(), sent.value))
    for offset in range(100, count, 400):
        log[offset] = source(
            offset, log[offset].timestamp, rules({"policy": {"ceiling": chance.choice(("deep", "freeze"))}})
        )
    for offset in range(50, count, 9):
        log[offset] = source(offset, log[offset].timestamp, timer(tenant=f"tenant-{chance.randrange(40)}"))
    return log


def audit_of(replay: PartitionReplay) -> tuple[int, Sequence[object]]:
    """Return how many rows differ, and which."""
    return replay.audit.differences, replay.audit.examples


def test_thousands_of_mixed_events_give_the_rows_that_were_published() -> None:
    """From the middle of the log on, so that each tenant begins with a published record."""
    log = mixed_log()
    lane = folded(log)
    replay = replayed(log, range_of(log, 1_000), lane)
    assert audit_of(replay) == (0, [])
    assert replay.audit.matched > 800
    assert replay.inexact() == {}
    assert replay.failed == 0
    assert replay.recorded.records == {tenant: lane.record(tenant) for tenant in lane.packed}


@given(logs(least=10, most=60), st.integers(0, 8), st.integers(1, 5))
def test_any_range_of_any_log_gives_the_rows_that_were_published(log: list[Source], first: int, batch: int) -> None:
    """However the lane cut the log into batches."""
    replay = replayed(log, range_of(log, first), folded(log, batch))
    assert audit_of(replay) == (0, [])
