"""A trial of new rules: what it counts is what the fold does when the rules come."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings

from schemas.domain.policy import InvalidDocumentError, parse_rules
from schemas.domain.record import Record, unpack
from schemas.redis.progress import ProgressUpdate, pack_rules
from tests.support.batches import Lane, logs, rules_documents
from tests.support.events import Document, breaker, policy, rules, sleep, timer
from tests.support.fakes import FakeStore
from tests.support.records import Source, source
from tests.support.times import DAY, MINUTE, NOW
from worker.errors import WorkerError
from worker.ports import Commit
from worker.recovery.rules_trial import EXAMPLES, Sides, Trial, both_sides
from worker.recovery.rules_trial_reader import PAGE, try_rules

AWAKE = {"policy": {"ceiling": "active"}}


def _records(lane: Lane) -> dict[str, Record]:
    return {tenant: unpack(packed, lane.rules) for tenant, packed in lane.packed.items()}


def _lane(documents: Sequence[Document]) -> Lane:
    lane = Lane()
    lane.apply([source(offset, NOW, document) for offset, document in enumerate(documents)])
    return lane


def _is_valid(document: object) -> bool:
    try:
        parse_rules(1, document)
    except InvalidDocumentError:
        return False
    return True


def _shown(record: Record | None) -> tuple[Any, ...] | None:
    if record is None:
        return None
    return record.state, record.decided, record.since, record.cause, record.ramp, record.held_until, record.claims


@given(log=logs(most=20), document=rules_documents.filter(_is_valid))
@settings(max_examples=60)
def test_a_trial_says_what_happens_when_the_rules_come(log: list[Source], document: dict[str, Any]) -> None:
    """After any log. Without the rules, time alone does what the other side says."""
    lane = Lane()
    lane.apply(log)
    offset, now = log[-1].offset + 1, max(record.timestamp for record in log) + MINUTE
    records = _records(lane)
    new = parse_rules(len(lane.rules), document)
    sides = {tenant: both_sides(tenant, record, 0, lane.rules, new, now) for tenant, record in records.items()}
    packed, before_rules = dict(lane.packed), list(lane.rules)
    timers = [timer(now, tenant=tenant) for tenant in records]
    for side, first in ((0, []), (1, [rules(document)])):
        lane.packed, lane.rules, lane.memory = dict(packed), list(before_rules), {}
        lane.apply([source(offset + place, now, event) for place, event in enumerate([*first, *timers])])
        after = _records(lane)
        assert {tenant: _shown(after.get(tenant)) for tenant in records} == {
            tenant: _shown(each[side]) for tenant, each in sides.items()
        }


def _counted(lane: Lane, document: dict[str, Any], now: int = NOW + 1) -> dict[str, Any]:
    trial = Trial()
    new = parse_rules(len(lane.rules), document)
    for tenant, record in _records(lane).items():
        trial.count(tenant, both_sides(tenant, record, 0, lane.rules, new, now))
    return trial.as_json()


def test_changes_are_counted_from_what_to_what() -> None:
    """A tenant with a policy of its own has its own floor and claims, and the ceiling of the rules."""
    lane = _lane([
        *(breaker("open", tenant=f"t{number}") for number in range(EXAMPLES + 2)),
        breaker("half_open", tenant="half"),
        policy("p", {"breakers": [{"match": "*", "open": "light"}]}, tenant="own"),
        breaker("open", tenant="own"),
    ])  # fmt: skip
    counted = _counted(lane, {"policy": {"breakers": [{"match": "*", "open": "deep", "half_open": "active"}]}})
    assert counted["tenants"] == EXAMPLES + 4
    assert counted["changed"] == EXAMPLES + 3
    freeze, light = counted["changes"]
    assert (freeze["from"], freeze["to"], freeze["tenants"]) == ("freeze", "deep", EXAMPLES + 2)
    assert len(freeze["examples"]) == EXAMPLES
    assert light == {"from": "light", "to": "active", "tenants": 1, "examples": ["half"]}
    assert _counted(lane, AWAKE)["changed"] == EXAMPLES + 4


def test_what_time_alone_changes_is_no_change() -> None:
    """A sleep that has ended since."""
    lane = _lane([sleep("op-1", "deep", MINUTE, tenant="due")])
    assert _counted(lane, {}, NOW + 2 * MINUTE)["changed"] == 0
    assert _counted(lane, AWAKE, NOW + 2 * MINUTE)["changed"] == 0
    assert _counted(lane, AWAKE, NOW + 1)["changed"] == 1


def test_decisions_that_a_policy_only_records_are_counted_apart() -> None:
    """The state stays active."""
    lane = _lane([policy("p", {"enforce": False}, tenant="dry"), breaker("open", tenant="dry")])
    counted = _counted(lane, {"policy": {"ceiling": "light"}})
    assert (counted["changed"], counted["decided_only"]) == (0, [{"from": "freeze", "to": "light", "tenants": 1}])


def test_parameters_that_change_without_the_state_are_counted() -> None:
    """Another schedule."""
    lane = _lane([breaker("open", tenant="frozen")])
    schedule = {
        state: {"K": k, "t": 1.0, "tau": 0.1, "eta": 0, "lambda": 0, "B": 1.0}
        for state, k in (("active", 90), ("light", 9), ("deep", 8), ("freeze", 7))
    }
    counted = _counted(lane, {"schedule": schedule})
    assert (counted["changed"], counted["parameters_only"]) == (0, 1)


def test_records_that_retire_are_counted() -> None:
    """If they would not have retired anyway."""
    lane = _lane([breaker("closed", tenant="idle")])
    assert _counted(lane, {"retire_after_seconds": 60}, NOW + 30 * MINUTE)["retired"] == 1
    assert _counted(lane, {}, NOW + 30 * MINUTE)["retired"] == 0
    assert _counted(lane, {"retire_after_seconds": 60}, NOW + 2 * DAY)["retired"] == 0


def test_a_record_that_stays_only_under_the_new_rules_is_no_change() -> None:
    """Nobody sees the difference: without a record it is active too."""
    lane = _lane([breaker("closed", tenant="idle")])
    record = _records(lane)["idle"]
    trial = Trial()
    trial.count("idle", Sides(None, record))
    assert trial.as_json()["retired"] == 0


# The reader


def _stored(count: int = 3, **progress: Any) -> FakeStore:  # noqa: ANN401 - fields of progress
    """A store with frozen tenants on partition 1 of 2."""
    store = FakeStore()
    lane = _lane([rules({}), *(breaker("open", tenant=f"t{number:04}") for number in range(count))])
    update = ProgressUpdate(**{"next": count + 1, "rules": pack_rules(lane.rules), **progress})
    assert asyncio.run(store.commit(1, Commit(0, update, lane.packed)))
    return store


def _tried(store: FakeStore, document: dict[str, Any] | None = None) -> dict[str, Any]:
    return asyncio.run(try_rules(store, 2, AWAKE if document is None else document, NOW + 1)).as_json()


def test_all_pages_of_all_partitions_are_read() -> None:
    """The bar learns how many there are, and each page."""
    begun: list[int] = []
    moved: list[int] = []
    store = _stored(PAGE + 3)
    trial = asyncio.run(try_rules(store, 2, AWAKE, NOW + 1, begun.append, moved.append))
    assert trial.as_json()["changes"][0]["tenants"] == trial.tenants == PAGE + 3
    assert (begun, moved) == ([PAGE + 3], [0, PAGE, 3])


def test_a_tenant_that_a_scan_returns_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis does that while its table grows."""
    store = _stored()
    scan = store.scan

    async def twice(partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        return (1 if cursor == 0 else 0), (await scan(partition, 0, count))[1]

    monkeypatch.setattr(store, "scan", twice)
    assert _tried(store)["tenants"] == 3


def test_each_partition_numbers_the_new_rules_after_its_own() -> None:
    """One has seen rules already, the other none."""
    store = _stored()
    assert _tried(store, {"policy": {"ceiling": "deep"}})["changes"][0]["to"] == "deep"


@pytest.mark.parametrize(
    ("progress", "message"),
    [
        ({"refolds_to": 99}, "partition 1 is being rebuilt"),
        ({"layout": 99}, "partition 1: layout 99 is newer"),
        ({"rules": b"x"}, "the progress of partition 1 cannot be read"),
        ({"next": 1}, "the record of tenant t0001 is of offset 2|the record of tenant"),
    ],
)
def test_a_partition_that_cannot_be_trusted_ends_the_trial(progress: dict[str, Any], message: str) -> None:
    """A number that may be wrong is worse than none."""
    with pytest.raises(WorkerError, match=message):
        _tried(_stored(**progress))


def test_a_record_that_cannot_be_read_is_named() -> None:
    """With the cure."""
    store = _stored()
    store.partitions[1].tenants["t0001"] = b"damaged"
    with pytest.raises(WorkerError, match="the record of tenant t0001 cannot be read"):
        _tried(store)


def test_a_redis_that_does_not_answer_ends_the_trial() -> None:
    """Nothing was written, so nothing is to be undone."""
    store = _stored()
    store.faults.down.add("scan")
    with pytest.raises(WorkerError, match="Redis does not answer"):
        _tried(store)
