"""`sleepctl rebuild` and `sleepctl verify`, on topics and a store in memory."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import pytest

from schemas.names import PartitionKeys, Topics
from schemas.partition import partition_of
from sleepctl.reader import Bounds
from tests.fakes import NOW, FakeClock, FakeKafka, FakeOutputs, FakeStore, Held
from tests.unit.sleepctl.conftest import Run
from tests.unit.worker.batches import Lane, failing_at
from tests.unit.worker.build import Source, breaker, sleep, source
from worker.deadletter import SourceRecord
from worker.ports import Output, Standing
from worker.start import OTHER_COUNT, checksum

pytestmark = pytest.mark.usefixtures("installed")

TOPICS = Topics.of("sleep")
PARTITIONS = 8
ACME = partition_of("acme", PARTITIONS)


class Store(FakeStore):
    """The store, with what a rebuild asks of it."""

    def keys(self, partition: int) -> PartitionKeys:
        return PartitionKeys("sleep", partition)

    async def close(self) -> None:
        return None


class Reader:
    """`sleepctl.reader.TopicReader` of a fake Kafka."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.workers = 0
        self.partitions = PARTITIONS
        self.commits: dict[int, int] = {}
        self._kafka = kafka

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        logs = [self._kafka.log(topic, number) for number in range(self.partitions)]
        return {log.partition: Bounds(log.start, log.end) for log in logs}

    async def read(
        self, topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = id
    ) -> AsyncIterator[list[SourceRecord]]:
        records: list[SourceRecord] = [
            record for record in self._kafka.log(topic, partition).records if start <= record.offset < end
        ]
        yield records
        advance(end - start)

    async def members(self) -> int:
        return self.workers

    async def committed(self) -> dict[int, int]:
        return self.commits


class Installation:
    """Topics and a store, as a worker left them that folded one event and one command of acme."""

    def __init__(self) -> None:
        self.kafka = FakeKafka(FakeClock(NOW))
        self.reader = Reader(self.kafka)
        self.store = Store()
        self.outputs = FakeOutputs(self.kafka, TOPICS)
        self.lane = Lane(partitions=PARTITIONS, partition=ACME)
        events = self.kafka.log(TOPICS.events, ACME)
        log = [source(offset, NOW, document) for offset, document in enumerate((breaker("open"), sleep("op-1")))]
        events.append([Output(record.key, record.value, record.headers) for record in log])
        for record in log:
            record.partition = ACME
        self.lane.apply(log)
        self.kafka.log(TOPICS.states, ACME).append(self.lane.states)
        self.kafka.log(TOPICS.transitions, ACME).append(self.lane.transitions)
        self.reader.commits = {ACME: 2}

    @property
    def held(self) -> Held:
        """What the store holds of acme's partition."""
        return self.store.partitions[ACME]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation behind the commands."""
    found = Installation()

    async def nothing() -> None:
        return None

    monkeypatch.setattr(found.outputs, "start", nothing, raising=False)
    monkeypatch.setattr(found.outputs, "stop", nothing, raising=False)
    for module in ("rebuilding", "verifying"):
        monkeypatch.setattr(f"sleepctl.{module}.TopicReader", lambda _: found.reader)
        monkeypatch.setattr(f"sleepctl.{module}.Store.connect", lambda _: found.store)
        monkeypatch.setattr(f"sleepctl.{module}.now_ms", lambda: NOW)
    monkeypatch.setattr("sleepctl.rebuilding.Outputs", lambda _: found.outputs)
    return found


def differences(run: Run) -> list[dict[str, Any]]:
    """Return what `verify` finds."""
    found: list[dict[str, Any]] = json.loads(run("verify", "--json").out)["differences"]
    return found


def test_an_empty_redis_holds_what_it_held(run: Run, world: Installation) -> None:
    """Every partition begins somewhere afterwards, and there is nothing for `verify` to find."""
    outcome = run("rebuild")
    assert outcome.code == 0, outcome.err
    assert "1 tenants and 1 commands, next 2" in outcome.out
    assert "start the workers" in outcome.out
    assert world.held.tenants == world.lane.packed
    assert world.held.operations.keys() == world.lane.operations.keys()
    assert {number: held.next for number, held in world.store.partitions.items()} == {
        number: 2 if number == ACME else 0 for number in range(PARTITIONS)
    }
    verified = run("verify")
    assert (verified.code, verified.out) == (0, "1 tenants on 8 partitions compared with 2 records of the log\n")


def test_what_has_progress_is_left_as_it_is_without_force(run: Run, world: Installation) -> None:
    """One partition may be named; where nothing is done, the command fails."""
    only = run("rebuild", "--partition", str(ACME), "--json")
    assert [entry["partition"] for entry in json.loads(only.out)["rebuilt"]] == [ACME]
    again = run("rebuild")
    assert f"partitions {ACME} have progress and were left as they are" in again.out
    nothing = run("rebuild", "--json")
    assert (nothing.code, json.loads(nothing.out)) == (1, {"rebuilt": [], "left": list(range(PARTITIONS))})
    assert "`--force` rebuilds all the same" in nothing.err
    world.held.tenants.clear()
    assert run("rebuild", "--force", "--partition", str(ACME)).code == 0
    assert world.held.tenants == world.lane.packed


def test_an_interrupted_rebuild_can_be_run_again(run: Run, world: Installation) -> None:
    """Until then the partition is marked, and nobody can use it."""
    world.held.progress[b"next"] = b"-9"
    assert "progress is -9 and the log holds 0 to 2" in run("verify").out
    assert run("rebuild").code == 0
    assert world.held.next == 2


def test_nothing_is_done_while_workers_run(run: Run, world: Installation) -> None:
    """They would write beside it."""
    world.reader.workers = 2
    outcome = run("rebuild", "--force")
    assert (outcome.code, "2 workers are in group sleep-worker; stop them first" in outcome.err) == (1, True)
    assert not world.store.faults.calls


def test_another_partition_count_is_refused_with_what_to_do(run: Run, world: Installation) -> None:
    """Both commands say it."""
    world.reader.partitions = 4
    for command in ("rebuild", "verify"):
        error = run(command).err
        assert f"topic sleep.events has 4 partitions and SLEEP_PARTITIONS is 8: {OTHER_COUNT}" in error


@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_a_partition_that_there_is_not_is_refused(run: Run, world: Installation, command: str) -> None:
    """Like any other wrong argument."""
    outcome = run(command, "--partition", "8")
    assert (outcome.code, outcome.err) == (2, "sleepctl: --partition must be from 0 to 7\n")
    assert not world.store.faults.calls


def test_a_log_that_was_cut_needs_force(run: Run, world: Installation) -> None:
    """The states are taken as they were published then."""
    world.kafka.log(TOPICS.events, ACME).cut(1)
    refused = run("rebuild", "--partition", str(ACME))
    assert (refused.code, "rebuild --force" in refused.err) == (1, True)
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (world.held.next, len(world.held.tenants)) == (1, 1)


def test_a_state_from_behind_the_end_of_the_log_is_passed_over_by_force(run: Run, world: Installation) -> None:
    """It is named before and after; the true one is appended, and `verify` finds nothing once compaction came."""
    states = world.kafka.log(TOPICS.states, ACME)
    last = json.loads(states.records[-1].value or b"")
    states.append([Output(b"acme", json.dumps(last | {"position": f"{ACME}:1000"}).encode())])
    refused = run("rebuild", "--partition", str(ACME))
    assert f"tenant acme has a state from {ACME}:1000, and the log ends at 2" in refused.err
    outcome = run("rebuild", "--partition", str(ACME), "--force")
    assert "a state of tenant acme from behind the end of the log was passed over" in outcome.out
    assert world.held.tenants == world.lane.packed
    assert states.records[-1].value == world.lane.states[-1].value
    del states.records[:-1]
    assert run("verify", "--partition", str(ACME)).code == 0


def test_a_log_that_was_made_anew_is_left_to_the_workers_by_force(run: Run, world: Installation) -> None:
    """Whether it is shorter than what was applied, or already longer."""
    world.kafka.log(TOPICS.events, ACME).cut(0)
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (world.held.next, len(world.held.tenants)) == (0, 1)
    other = next(name for name in map("t-{}".format, range(99)) if partition_of(name, PARTITIONS) == ACME)
    record = source(0, NOW, breaker("open", tenant=other))
    world.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)] * 3)
    refused = run("rebuild", "--partition", str(ACME))
    assert refused.code == 1
    world.held.progress.clear()
    assert "the log was made anew" in run("rebuild", "--partition", str(ACME)).err
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (world.held.next, len(world.held.tenants)) == (0, 1)


@pytest.mark.parametrize("place", [0, 2])
def test_a_record_that_was_set_aside_is_passed_over_by_both(run: Run, world: Installation, place: int) -> None:
    """Wherever on the dead-letter topic it stands, which may have another partition count."""
    record = source(2, NOW, breaker("half_open"))
    record.partition = ACME
    world.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
    with failing_at(2):
        world.lane.apply([record])
    world.kafka.log(TOPICS.deadletter, place).append([Output(b"k", b"of somebody else"), *world.lane.dead_letters])
    world.reader.commits = {ACME: 3}
    outcome = run("rebuild")
    assert outcome.code == 0, outcome.err
    assert (world.held.next, world.held.tenants) == (3, world.lane.packed)
    assert run("verify").code == 0


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


def test_what_the_topics_lack_is_sent_and_told(run: Run, world: Installation) -> None:
    """A worker died between its outputs and their acknowledgement."""
    world.reader.commits = {ACME: 1}
    world.kafka.log(TOPICS.transitions, ACME).cut(1)
    outcome = run("rebuild", "--partition", str(ACME))
    assert "records were missing on its topics and are there now" in outcome.out
    rows = [record.value for record in world.kafka.log(TOPICS.transitions, ACME).records]
    assert rows == [row.value for row in world.lane.transitions]


def test_records_that_are_gone_are_told(run: Run, world: Installation) -> None:
    """Nobody can tell whether they had been applied."""
    events = world.kafka.log(TOPICS.events, ACME)
    events.skip(3)
    events.trim(5)
    outcome = run("rebuild", "--partition", str(ACME))
    assert "3 records before 5 are gone" in outcome.out
    assert "the log no longer reaches back for 1 of them" in run("verify", "--partition", str(ACME)).out


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


def test_many_differences_are_cut_for_people(run: Run, world: Installation) -> None:
    """Machines get them all."""
    run("rebuild")
    for number in range(60):
        world.held.tenants[f"stray-{number}"] = b"{}"
    assert "… and 11 more; `--json` lists them all" in run("verify").out
    assert len(differences(run)) == 61


@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_a_redis_that_does_not_answer_is_told(run: Run, world: Installation, command: str) -> None:
    """In one line."""
    world.store.faults.down = {"*"}
    outcome = run(command)
    assert (outcome.code, "sleepctl: Redis does not answer: ConnectionError" in outcome.err) == (1, True)


def test_a_kafka_that_does_not_answer_is_told(run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything was taken away, and while something is sent."""

    async def away() -> None:
        raise OSError

    world.reader.commits = {ACME: 1}
    world.kafka.log(TOPICS.transitions, ACME).cut(1)
    world.outputs.faults.down = {"*"}
    assert "Kafka does not answer: " in run("rebuild", "--partition", str(ACME)).err
    assert not world.held.progress
    monkeypatch.setattr(world.outputs, "start", away)
    assert "Kafka at broker:9092 does not answer" in run("rebuild").err


def test_a_foreign_record_in_the_states_topic_is_named(run: Run, world: Installation) -> None:
    """Nothing is folded on top of it."""
    world.kafka.log(TOPICS.states, ACME).append([Output(b"acme", b"rubbish")])
    assert f"states topic {ACME}:2: not a record of ours" in run("rebuild").err
    world.store.partitions[ACME].progress |= {b"next": b"2"}
    assert "cannot be compared: states topic" in run("verify", "--partition", str(ACME)).err


def test_a_progress_that_is_no_number_says_what_to_delete(
    run: Run, world: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edited it."""
    world.held.progress[b"next"] = b"many"
    assert f"delete the Redis key {{sleep:{ACME}}}:progress" in run("rebuild").err

    async def moved(*_: object) -> bool:
        return False

    world.held.progress.clear()
    monkeypatch.setattr(world.store, "clear", moved)
    assert "was moved by somebody else meanwhile" in run("rebuild").err


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
