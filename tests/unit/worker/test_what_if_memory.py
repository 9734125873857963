"""The memory of a replay does not grow with the length of its range."""

import gc
import sys
from collections.abc import Iterator

import pytest

from tests.support.events import breaker, sleep
from tests.support.records import Source, source
from tests.support.times import SECOND, T
from tests.unit.worker.replays import begun, folded
from worker.recovery.what_if import effects, scenario
from worker.recovery.what_if.bounds import Range
from worker.recovery.what_if.scenario import Alternative

_PAGE = 250
_STEP_MS = 20 * SECOND
OTHER = Alternative({"policy": {"breakers": [{"match": "*", "open": "deep"}]}})


def pages(count: int) -> Iterator[list[Source]]:
    """Yield pages of events of twenty tenants: each flaps, and each sleeps by ever new commands."""
    for begin in range(0, count, _PAGE):
        page = []
        for offset in range(begin, begin + _PAGE):
            tenant, turn = f"tenant-{offset % 20}", offset // 20
            document = breaker(("open", "closed")[turn // 2 % 2], tenant=tenant)
            if turn % 2:
                document = sleep(f"op-{offset}", "light", 30 * SECOND, tenant=tenant)
            page.append(source(offset, T + offset * _STEP_MS, document))
        yield page


def test_memory_stays_flat_in_the_length_of_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as many events, each of which differs from what was recorded, take no more memory."""
    monkeypatch.setattr(effects, "MOST_CHANGES", 100)
    monkeypatch.setattr(scenario, "_FEW_OPERATIONS", 100)
    length, blocks = 3_000, []
    range_ = Range(0, 0, 0, 0, 0, length, T, T + length * _STEP_MS)
    replay = begun(range_, folded([]), alternative=OTHER, audited=False)
    for page in pages(length):
        replay.read(page)
        if replay.events in (1_000, length):
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    replay.finish()
    # Each event would take dozens of blocks: a command alone has seventeen fields.
    assert blocks[1] - blocks[0] < 4_000
    assert sum(effect.only_replayed for effect in replay.effects.tenants.values()) > 500
    assert len(replay.effects.changes) == 100
