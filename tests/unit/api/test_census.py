"""The numbers of tenants by state, and the oldest claim without an end, as the metrics show them."""

import asyncio
from math import isnan

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from api.observability.census import SAMPLE_SECONDS, STEP, STEPS, Census
from api.observability.metrics import Metrics
from schemas.domain.claim import Claim
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import Record, new_record
from schemas.domain.state import SleepState
from tests.support.claims import breaker, claims_of, mode, pin
from tests.support.times import NOW
from tests.unit.api.fakes import FakeStore, Pauses
from tests.unit.api.topic import PARTITIONS


def asleep(*claims: Claim) -> Record:
    """A record that sleeps deeply, with these claims."""
    return replace(new_record(BUILT_IN_RULES, NOW), state=SleepState.deep, claims=claims_of(*claims))


def began(claim: Claim, at: int) -> Claim:
    """The claim as if it had begun then."""
    return replace(claim, since=at)


def store_of(**open_ended: Record) -> FakeStore:
    """A store with these open-ended tenants, and one that is awake."""
    store = FakeStore()
    store.records = {**open_ended, "awake": new_record(BUILT_IN_RULES, NOW)}
    store.open_ended = set(open_ended)
    return store


async def watched(census: Census, store: FakeStore, samples: int) -> Pauses:
    """Take that many samples, and return the pauses after them."""
    pauses = Pauses(samples)
    with pytest.raises(asyncio.CancelledError):
        await census.watch(store, pauses)
    return pauses


def one_pass() -> int:
    """The number of samples until each partition was read once, where each holds few open-ended tenants."""
    return -(-PARTITIONS // STEPS)


async def test_tenants_are_counted_by_state() -> None:
    """Those that are awake and have a record too."""
    census = Census(PARTITIONS)
    assert isnan(census.tenants("deep"))
    pauses = await watched(census, store_of(one=asleep(mode("deep")), two=asleep(mode("deep"))), 1)
    assert [census.tenants(state) for state in ("active", "light", "deep", "freeze")] == [1, 0, 2, 0]
    assert census.open_ended == 2
    assert pauses.seconds == [SAMPLE_SECONDS]


async def test_the_oldest_claim_is_the_one_without_an_end_that_began_first() -> None:
    """A pin ends, a closed breaker keeps nobody asleep, and a lease ends too."""
    store = store_of(
        pinned=asleep(began(pin("deep", NOW + 1), 1_000)),
        leased=asleep(breaker("a@1", "open", NOW + 1, since=2_000), breaker("a@2", "closed", since=3_000)),
        forced=asleep(breaker("a@1", "forced_open", since=5_000)),
        slept=asleep(began(mode("light"), 4_000)),
    )
    census = Census(PARTITIONS)
    await watched(census, store, one_pass())
    assert census.oldest_ms == 4_000


async def test_without_such_a_claim_no_time_is_shown() -> None:
    """Neither before the first pass nor after one that finds none."""
    census = Census(PARTITIONS)
    assert isnan(census.oldest_ms)
    store = store_of(slept=asleep(mode("light")))
    await watched(census, store, one_pass())
    assert census.oldest_ms == NOW
    store.open_ended = set()
    await watched(census, store, one_pass())
    assert isnan(census.oldest_ms)


async def test_a_sample_reads_a_bounded_number_of_records() -> None:
    """A pass over many tenants takes several samples, and shows its result at its end."""
    store = store_of(**{f"t-{number}": asleep(began(mode("light"), number)) for number in range(1, 2_001)})
    store.partitions = 1
    census = Census(1)
    await watched(census, store, 3)
    assert store.steps == 3 * STEPS
    assert isnan(census.oldest_ms)
    await watched(census, store, -(-2_000 // STEP // STEPS) - 3)
    assert census.oldest_ms == 1


async def test_while_redis_is_away_no_number_is_shown() -> None:
    """The oldest claim stays: no outage ends a claim."""
    store, census = store_of(slept=asleep(mode("light"))), Census(PARTITIONS)
    await watched(census, store, one_pass())
    store.down = {"totals", "scan"}
    await watched(census, store, 1)
    assert isnan(census.tenants("deep"))
    assert isnan(census.open_ended)
    assert census.oldest_ms == NOW


async def test_a_record_that_cannot_be_read_hides_no_number() -> None:
    """Only the pass waits for it, and goes on where it was."""
    store, census = store_of(slept=asleep(mode("light"))), Census(PARTITIONS)
    store.down = {"scan"}
    await watched(census, store, one_pass())
    assert census.tenants("deep") == 1
    assert isnan(census.oldest_ms)
    store.down = set()
    await watched(census, store, one_pass())
    assert census.oldest_ms == NOW


async def test_the_metrics_show_the_census() -> None:
    """A time in seconds, as Prometheus has it."""
    census, metrics = Census(PARTITIONS), Metrics()
    metrics.watch_census(census)
    await watched(census, store_of(slept=asleep(mode("light"))), one_pass())
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    assert shown["sleep_api_tenants", "deep"] == 1
    assert shown["sleep_api_open_ended_tenants",] == 1
    assert shown["sleep_api_open_ended_oldest_timestamp_seconds",] == NOW / 1_000
