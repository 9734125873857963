"""`sleepctl verify`, on topics and a store in memory, and while a worker goes on beside it."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes import NOW, Held
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import ACME, TOPICS, Installation
from tests.unit.worker.batches import failing_at
from tests.unit.worker.build import Source, breaker, source
from worker.ports import Output, Standing
from worker.start import checksum

pytestmark = pytest.mark.usefixtures("installed")


def differences(run: Run) -> list[dict[str, Any]]:
    """Return what `verify` finds."""
    found: list[dict[str, Any]] = json.loads(run("verify", "--json").out)["differences"]
    return found


def test_a_record_that_is_set_aside_while_verify_reads_is_passed_over(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant is looked at again, behind it."""
    run("rebuild")
    log = [source(2, NOW, breaker("half_open")), source(3, NOW, breaker("closed"))]

    def failing(record: Source) -> None:
        with failing_at(2):
            world.lane.apply([record])
        world.kafka.log(TOPICS.deadletter, 0).append(world.lane.dead_letters)
        world.lane.dead_letters.clear()

    _moves(world, monkeypatch, log, failing)
    outcome = run("verify", "--partition", str(ACME), "--json")
    assert outcome.code == 0, outcome.out
    assert [entry["again"] for entry in json.loads(outcome.out)["partitions"]] == [1]


def test_differences_are_told_field_by_field_and_fail(run: Run, world: Installation) -> None:
    """For people and for machines."""
    run("rebuild")
    world.held.tenants["acme"] = world.held.tenants["acme"][:-1]
    outcome = run("verify")
    assert outcome.code == 1
    assert f"partition {ACME}, tenant acme, redis: cannot be read" in outcome.out
    assert "sleepctl: 1 differences; the runbook on rebuilding says" in outcome.err
    assert [(found["tenant"], found["where"]) for found in differences(run)] == [("acme", "redis")]
    world.held.tenants.clear()
    assert [found["what"] for found in differences(run)] == ["records", "is missing"]
    world.kafka.log(TOPICS.events, ACME).trim(2)
    world.kafka.log(TOPICS.events, ACME).cut(1)
    assert "progress is 2 and the log holds" in differences(run)[0]["what"]


def _publishes(world: Installation) -> None:
    """Have a worker fold one more event of acme and publish it, and no more than that."""
    record = replace(source(2, NOW, breaker("closed")), partition=ACME)
    world.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
    before = len(world.lane.states)
    world.lane.apply([record])
    world.kafka.log(TOPICS.states, ACME).append(world.lane.states[before:])


def test_an_emptied_redis_is_named_where_states_were_published(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no partition that was never begun."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)
    run("rebuild")
    world.store.partitions.clear()
    [found] = differences(run)
    assert (found["partition"], found["tenant"], found["where"]) == (ACME, None, "redis")
    assert found["what"].startswith("there is no progress and states were published up to 1, and nobody commits them")
    assert run("verify").code == 1


def test_states_beyond_a_redis_that_stands_still_are_named(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker died before it committed, or Redis went back; the cure is the same."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(world)
    outcome = run("verify")
    assert (outcome.code, "1 differences" in outcome.err) == (1, True)
    assert "progress is 2 and states were published up to 2, and nobody commits them" in outcome.out
    assert f"start a worker, or run `sleepctl rebuild --partition {ACME} --force`" in outcome.out


@pytest.mark.parametrize("begun", [True, False])
def test_states_that_are_committed_a_moment_later_are_no_difference(
    run: Run,
    world: Installation,
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,  # noqa: FBT001
) -> None:
    """A worker publishes before it commits, also its first batch."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(world)
    if not begun:
        world.store.partitions.clear()
    looks: list[int | None] = []
    mark = world.store.mark

    async def commits(partition: int) -> int | None:
        looks.append(await mark(partition))
        if len(looks) == 3:
            world.held.progress[b"next"] = b"3"
        return looks[-1]

    monkeypatch.setattr(world.store, "mark", commits)
    assert differences(run) == []
    assert looks == [2 if begun else None] * 3 + [3]


def test_states_beyond_a_progress_that_is_no_number_by_now_are_named(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edits it while `verify` looks; the next run says so."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)
    run("rebuild")
    _publishes(world)

    async def edited(_: int) -> int | None:
        return int("soon")

    monkeypatch.setattr(world.store, "mark", edited)
    assert [found["what"][:13] for found in differences(run)] == ["progress is 2"]


def test_how_far_a_partition_stands_behind_its_log_is_told(run: Run, world: Installation) -> None:
    """It is no difference; one that stands at the end is not worth a sentence."""
    run("rebuild")
    assert "behind" not in run("verify").out
    events = [Output(b"acme", source(offset, NOW, breaker("open")).value) for offset in (2, 3)]
    world.kafka.log(TOPICS.events, ACME).append(events)
    world.kafka.log(TOPICS.events, (ACME + 1) % 8).append(events[:1])
    outcome = run("verify", "--json")
    behind = {entry["partition"]: entry["behind"] for entry in json.loads(outcome.out)["partitions"]}
    assert (outcome.code, behind[ACME], sum(behind.values())) == (0, 2, 3)
    told = f"2 partitions stood behind their log's end, by 3 offsets in all; partition {ACME} the furthest, by 2"
    assert told in " ".join(run("verify").out.split())


def test_many_differences_are_cut_for_people(run: Run, world: Installation) -> None:
    """Machines get them all."""
    run("rebuild")
    for number in range(60):
        world.held.tenants[f"stray-{number}"] = b"{}"
    assert "… and 11 more; `--json` lists them all" in run("verify").out
    assert len(differences(run)) == 61


@pytest.mark.parametrize(
    ("harm", "tenant", "what"),
    [
        (lambda held: held.timers.clear(), "acme", "timer"),
        (lambda held: held.timers.update(acme=NOW + 1), "acme", "timer"),
        (lambda held: held.timers.update(ghost=NOW), "ghost", "timer"),
        (lambda held: held.counts.clear(), None, "counts"),
        (lambda held: held.open.add("acme"), "acme", "open_ended"),
        (lambda held: held.open.add("ghost"), "ghost", "open_ended"),
        (lambda held: held.operations.clear(), "acme", "operation op-1 is missing"),
        (
            lambda held: held.operations.update({("acme", "op-1"): (b"?", 0)}),
            "acme",
            "operation op-1 cannot be read: damaged: its checksum is wrong",
        ),
    ],
)
def test_what_stands_beside_the_records_is_compared(
    run: Run, world: Installation, harm: Callable[[Held], object], tenant: str | None, what: str
) -> None:
    """Timers that are lost wake nobody, and a command that is lost is folded twice."""
    run("rebuild")
    harm(world.held)
    found = [(found["tenant"], found["where"], found["what"]) for found in differences(run)]
    assert found == [(tenant, "redis", what)]


def test_what_stands_beside_the_records_is_looked_at_again_where_redis_stands_then(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and has not moved is still named; what moved is right there."""
    run("rebuild")
    world.held.operations.clear()
    _moves(world, monkeypatch)
    assert [found["what"] for found in differences(run)] == ["operation op-1 is missing"]


def test_counts_that_moved_and_could_not_be_read_are_told(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to no tenant."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)
    run("rebuild")
    world.held.counts.clear()

    async def refused(*_: object) -> None:
        return None

    standing = world.store.standing

    async def elsewhere(partition: int) -> Standing:
        found = await standing(partition)
        world.held.progress[b"next"] = b"3"
        return found

    monkeypatch.setattr(world.store, "load", refused)
    monkeypatch.setattr(world.store, "standing", elsewhere)
    outcome = run("verify", "--partition", str(ACME))
    assert "the counts could not be compared" in outcome.out


def _hold(world: Installation) -> None:
    """Have the store hold what the lane has folded."""
    lane, held = world.lane, world.held
    held.tenants = dict(lane.packed)
    held.timers = {tenant: item.due for tenant, item in lane.written.items() if item.due is not None}
    held.counts = Counter(lane.counts)
    held.open = {tenant for tenant, item in lane.written.items() if item.open_ended}


def _moves(
    world: Installation,
    monkeypatch: pytest.MonkeyPatch,
    log: Sequence[Source] = (source(2, NOW, breaker("closed")),),
    apply: Callable[[Source], object] | None = None,
) -> None:
    """Have a worker fold some more events of acme while `verify` reads the records."""
    scan = world.store.scan

    async def moved(partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        if partition == ACME and world.held.next == 2:
            for found in log:
                record = replace(found, partition=ACME)
                world.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
                (apply or (lambda record: world.lane.apply([record])))(record)
                _hold(world)
                world.held.progress |= {
                    b"next": str(record.offset + 1).encode(),
                    b"crc": str(checksum(record.key, record.value)).encode(),
                }
        return await scan(partition, cursor, count)

    monkeypatch.setattr(world.store, "scan", moved)


def test_a_tenant_that_moves_meanwhile_is_looked_at_again(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Redis stands then."""
    run("rebuild")
    _moves(world, monkeypatch)
    outcome = run("verify", "--partition", str(ACME), "--json")
    assert outcome.code == 0, outcome.out
    [entry] = json.loads(outcome.out)["partitions"]
    assert (entry["again"], entry["records"]) == (1, 3)


def test_what_could_not_be_compared_is_told_and_fails(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that is somewhere else at each look, or that was marked by a rebuild meanwhile."""
    monkeypatch.setattr("sleepctl.verifying._PAUSE_SECONDS", 0.0)

    async def refused(*_: object) -> None:
        return None

    run("rebuild")
    with monkeypatch.context() as patch:
        _moves(world, patch)
        patch.setattr(world.store, "load", refused)
        [difference] = differences(run)
    assert difference["what"].startswith("1 tenants could not be compared")
