"""Metrics: what is counted, and under which name."""

import pytest

from tests.support.outputs import breaker, event, operation
from tests.support.world import World
from worker.fold.event_handlers import APPLY
from worker.metrics import Metrics


def value(world: World, name: str, **labels: str) -> float | None:
    """Return a sample as it is scraped."""
    return world.worker.metrics.registry.get_sample_value(name, labels)


async def test_applied_records_are_counted_by_type(world: World) -> None:
    """And the states that they published, and how many came at once."""
    world.assign()
    world.log(breaker("acme", "open"), breaker("acme", "open"), operation("other", "op-1"))
    await world.run()
    assert value(world, "sleep_worker_events_total", type="sleep.breaker.v1") == 2
    assert value(world, "sleep_worker_events_total", type="sleep.operation.v1") == 1
    assert value(world, "sleep_worker_states_published_total") == 2
    assert value(world, "sleep_worker_batch_records_sum") == 3
    assert value(world, "sleep_worker_batch_records_count") == 1
    assert value(world, "sleep_worker_batch_seconds_count") == 1


async def test_dead_letters_are_counted_by_whose_fault_they_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad data raises another alert than a bad deploy."""
    monkeypatch.delitem(APPLY, "sleep.operation.v1")
    world.assign()
    world.log(operation("acme", "op-1"), event("sleep.unknown.v1", "acme"), event("sleep.breaker.v1", "acme"))
    await world.run()
    assert value(world, "sleep_worker_dead_letters_total", fault="ours") == 1
    assert value(world, "sleep_worker_dead_letters_total", fault="theirs") == 2


@pytest.mark.parametrize("fault", ["ours", "theirs"])
async def test_dead_letters_are_counted_from_zero(world: World, fault: str) -> None:
    """An increase is seen only from one sample to the next."""
    assert value(world, "sleep_worker_dead_letters_total", fault=fault) == 0


async def test_what_is_not_committed_is_not_counted(world: World) -> None:
    """It comes again."""
    world.assign()
    world.store.faults.down.add("commit")
    world.log(breaker("acme", "open"))
    await world.advance(3)
    assert value(world, "sleep_worker_events_total", type="sleep.breaker.v1") is None
    world.store.faults.heal()
    await world.advance(3)
    assert value(world, "sleep_worker_events_total", type="sleep.breaker.v1") == 1


async def test_the_lag_of_timers_is_measured_from_when_they_were_due(world: World) -> None:
    """Never below zero: where the broker's clock is behind, the first try comes before its time."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_000))
    await world.run()
    world.outputs.faults.down.add(f"send:{world.topics.events}")
    await world.advance(1.5)
    world.outputs.faults.heal()
    await world.advance(10)
    assert value(world, "sleep_worker_timer_lag_seconds_count") == 1
    assert value(world, "sleep_worker_timer_lag_seconds_sum") == pytest.approx(5.0)
    world.kafka.behind_ms = 100
    world.log(operation("other", "op-1", ttl_ms=1_000))
    await world.advance(5)
    assert value(world, "sleep_worker_timer_lag_seconds_count") == 3
    assert value(world, "sleep_worker_timer_lag_seconds_sum") == pytest.approx(5.0)


def test_each_worker_has_metrics_of_its_own() -> None:
    """Nothing is registered where another would find it."""
    first, second = Metrics(), Metrics()
    with first.batch(5):
        pass
    assert first.registry.get_sample_value("sleep_worker_batch_records_sum") == 5
    assert second.registry.get_sample_value("sleep_worker_batch_records_sum") == 0
