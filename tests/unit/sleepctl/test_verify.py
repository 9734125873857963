"""`sleepctl verify`, on topics and a store in memory, and while a worker goes on beside it."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.batches import failing_at
from tests.support.events import breaker
from tests.support.records import Source, source
from tests.support.redis_contents import StoredPartition
from tests.support.times import NOW
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import ACME, TOPICS, Installation
from worker.partition.startup_checks import checksum
from worker.ports import Output, PartitionStatus

pytestmark = pytest.mark.usefixtures("installed")


def differences(run: Run) -> list[dict[str, Any]]:
    """Return what `verify` finds."""
    document: list[dict[str, Any]] = json.loads(run("verify", "--json").out)["differences"]
    return document


def test_a_record_that_is_set_aside_while_verify_reads_is_passed_over(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant is looked at again, behind it."""
    run("rebuild")
    log = [source(2, NOW, breaker("half_open")), source(3, NOW, breaker("closed"))]

    def failing(record: Source) -> None:
        with failing_at(2):
            installation.lane.apply([record])
        installation.kafka.log(TOPICS.deadletter, 0).append(installation.lane.dead_letters)
        installation.lane.dead_letters.clear()

    _moves(installation, monkeypatch, log, failing)
    outcome = run("verify", "--partition", str(ACME), "--json")
    assert outcome.code == 0, outcome.out
    assert [entry["again"] for entry in json.loads(outcome.out)["partitions"]] == [1]


def test_differences_are_told_field_by_field_and_fail(run: Run, installation: Installation) -> None:
    """For people and for machines."""
    run("rebuild")
    installation.stored.tenants["acme"] = installation.stored.tenants["acme"][:-1]
    outcome = run("verify")
    assert outcome.code == 1
    assert f"partition {ACME}, tenant acme, redis: cannot be read" in outcome.out
    assert "sleepctl: 1 differences; the runbook on rebuilding says" in outcome.err
    assert [(difference["tenant"], difference["where"]) for difference in differences(run)] == [("acme", "redis")]
    installation.stored.tenants.clear()
    assert [difference["what"] for difference in differences(run)] == ["records", "is missing"]
    installation.kafka.log(TOPICS.events, ACME).trim(2)
    installation.kafka.log(TOPICS.events, ACME).cut(1)
    assert "progress is 2 and the log holds" in differences(run)[0]["what"]


def _publishes(installation: Installation) -> None:
    """Have a worker fold one more event of acme and publish it, and no more than that."""
    record = replace(source(2, NOW, breaker("closed")), partition=ACME)
    installation.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
    before = len(installation.lane.states)
    installation.lane.apply([record])
    installation.kafka.log(TOPICS.states, ACME).append(installation.lane.states[before:])


def test_an_emptied_redis_is_named_where_states_were_published(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no partition that was never begun."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)
    run("rebuild")
    installation.store.partitions.clear()
    [difference] = differences(run)
    assert (difference["partition"], difference["tenant"], difference["where"]) == (ACME, None, "redis")
    assert difference["what"].startswith(
        "there is no progress and states were published up to 1, and nobody commits them"
    )
    assert run("verify").code == 1


def test_states_beyond_a_redis_that_stands_still_are_named(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker died before it committed, or Redis went back; the cure is the same."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(installation)
    outcome = run("verify")
    assert (outcome.code, "1 differences" in outcome.err) == (1, True)
    assert "progress is 2 and states were published up to 2, and nobody commits them" in outcome.out
    assert f"start a worker, or run `sleepctl rebuild --partition {ACME} --force`" in outcome.out


@pytest.mark.parametrize("begun", [True, False])
def test_states_that_are_committed_a_moment_later_are_no_difference(
    run: Run,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,  # noqa: FBT001
) -> None:
    """A worker publishes before it commits, also its first batch."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(installation)
    if not begun:
        installation.store.partitions.clear()
    looks: list[int | None] = []
    mark = installation.store.mark

    async def commits(partition: int) -> int | None:
        looks.append(await mark(partition))
        if len(looks) == 3:
            installation.stored.progress[b"next"] = b"3"
        return looks[-1]

    monkeypatch.setattr(installation.store, "mark", commits)
    assert differences(run) == []
    assert looks == [2 if begun else None] * 3 + [3]


def test_states_beyond_a_progress_that_is_no_number_by_now_are_named(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edits it while `verify` looks; the next run says so."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(installation)

    async def edited(_: int) -> int | None:
        return int("soon")

    monkeypatch.setattr(installation.store, "mark", edited)
    assert [difference["what"][:13] for difference in differences(run)] == ["progress is 2"]


def test_how_far_a_partition_stands_behind_its_log_is_told(run: Run, installation: Installation) -> None:
    """It is no difference; one that stands at the end is not worth a sentence."""
    run("rebuild")
    assert "behind" not in run("verify").out
    events = [Output(b"acme", source(offset, NOW, breaker("open")).value) for offset in (2, 3)]
    installation.kafka.log(TOPICS.events, ACME).append(events)
    installation.kafka.log(TOPICS.events, (ACME + 1) % 8).append(events[:1])
    outcome = run("verify", "--json")
    behind = {entry["partition"]: entry["behind"] for entry in json.loads(outcome.out)["partitions"]}
    assert (outcome.code, behind[ACME], sum(behind.values())) == (0, 2, 3)
    expected = f"2 partitions were behind their log's end, by 3 offsets in all; partition {ACME} the furthest, by 2"
    assert expected in " ".join(run("verify").out.split())


def test_many_differences_are_cut_for_people(run: Run, installation: Installation) -> None:
    """Machines get them all."""
    run("rebuild")
    for number in range(60):
        installation.stored.tenants[f"stray-{number}"] = b"{}"
    assert "… and 11 more; `--json` lists them all" in run("verify").out
    assert len(differences(run)) == 61


def _forget_uncounted(stored: StoredPartition) -> None:
    """Have a command be gone that progress does not miss."""
    stored.operations.clear()
    stored.progress[b"operations"] = b"0"


@pytest.mark.parametrize(
    ("harm", "tenant", "what"),
    [
        (lambda stored: stored.timers.clear(), "acme", "timer"),
        (lambda stored: stored.timers.update(acme=NOW + 1), "acme", "timer"),
        (lambda stored: stored.timers.update(ghost=NOW), "ghost", "timer"),
        (lambda stored: stored.counts.clear(), None, "counts"),
        (lambda stored: stored.open.add("acme"), "acme", "open_ended"),
        (lambda stored: stored.open.add("ghost"), "ghost", "open_ended"),
        (_forget_uncounted, "acme", "operation op-1 is missing"),
        (lambda stored: stored.operations.update({("acme", "stray"): b"?"}), None, "operations"),
        (lambda stored: stored.ended.append((0, ("acme", "stray"))), None, "ends of operations"),
        (lambda stored: stored.progress.update({b"highest": b"1"}), None, "highest timestamp"),
        (
            lambda stored: stored.operations.update({("acme", "op-1"): b"?"}),
            "acme",
            "operation op-1 cannot be read: damaged: its checksum is wrong",
        ),
    ],
)
def test_what_stands_beside_the_records_is_compared(
    run: Run, installation: Installation, harm: Callable[[StoredPartition], object], tenant: str | None, what: str
) -> None:
    """Timers that are lost wake nobody, and a command that is lost is folded twice."""
    run("rebuild")
    harm(installation.stored)
    difference = [(difference["tenant"], difference["where"], difference["what"]) for difference in differences(run)]
    assert difference == [(tenant, "redis", what)]


def test_indexes_are_compared_again_at_the_position_where_redis_is_then(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and has not moved is still named; what moved is right there."""
    run("rebuild")
    _forget_uncounted(installation.stored)
    _moves(installation, monkeypatch)
    assert [difference["what"] for difference in differences(run)] == ["operation op-1 is missing"]


def test_counts_that_moved_and_could_not_be_read_are_told(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to no tenant."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)
    run("rebuild")
    installation.stored.counts.clear()

    async def refused(*_: object) -> None:
        return None

    standing = installation.store.partition_status

    async def elsewhere(partition: int) -> PartitionStatus:
        result = await standing(partition)
        installation.stored.progress[b"next"] = b"3"
        return result

    monkeypatch.setattr(installation.store, "load", refused)
    monkeypatch.setattr(installation.store, "partition_status", elsewhere)
    outcome = run("verify", "--partition", str(ACME))
    assert "the counts could not be compared" in outcome.out


def _hold(installation: Installation) -> None:
    """Have the store hold what the lane has folded."""
    lane, stored = installation.lane, installation.stored
    stored.tenants = dict(lane.packed)
    stored.timers = {tenant: item.due for tenant, item in lane.written.items() if item.due is not None}
    stored.counts = Counter(lane.counts)
    stored.open = {tenant for tenant, item in lane.written.items() if item.open_ended}


def _moves(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    log: Sequence[Source] = (source(2, NOW, breaker("closed")),),
    apply: Callable[[Source], object] | None = None,
) -> None:
    """Have a worker fold some more events of acme while `verify` reads the records."""
    scan = installation.store.scan

    async def moved(partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        if partition == ACME and installation.stored.next == 2:
            for each in log:
                record = replace(each, partition=ACME)
                installation.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
                (apply or (lambda record: installation.lane.apply([record])))(record)
                _hold(installation)
                installation.stored.progress |= {
                    b"next": str(record.offset + 1).encode(),
                    b"crc": str(checksum(record.key, record.value)).encode(),
                }
        return await scan(partition, cursor, count)

    monkeypatch.setattr(installation.store, "scan", moved)


def test_a_tenant_that_moves_meanwhile_is_looked_at_again(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Redis stands then."""
    run("rebuild")
    _moves(installation, monkeypatch)
    outcome = run("verify", "--partition", str(ACME), "--json")
    assert outcome.code == 0, outcome.out
    [entry] = json.loads(outcome.out)["partitions"]
    assert (entry["again"], entry["records"]) == (1, 3)


def test_what_could_not_be_compared_is_told_and_fails(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that is somewhere else at each look, or that was marked by a rebuild meanwhile."""
    monkeypatch.setattr("worker.recovery.verify._PAUSE_SECONDS", 0.0)

    async def refused(*_: object) -> None:
        return None

    run("rebuild")
    with monkeypatch.context() as patch:
        _moves(installation, patch)
        patch.setattr(installation.store, "load", refused)
        [difference] = differences(run)
    assert difference["what"].startswith("1 tenants could not be compared")
