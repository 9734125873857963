"""`sleepctl partitions move` from the outside, on topics and stores in memory."""

import json
from collections.abc import AsyncGenerator, Callable
from copy import deepcopy

import pytest
from pydantic_core import from_json, to_json

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from tests.support.events import breaker, event_bytes
from tests.support.fakes import FakeKafka, FakeStore
from tests.support.times import NOW
from tests.unit.sleepctl.admin_of_move import NEW, AdminOfMove, ConnectingOutputs
from tests.unit.sleepctl.conftest import Outcome, Run
from tests.unit.sleepctl.fakes import ACME, TOPICS, FakeReader, Installation, _Store
from worker.adapters.topic_reader import OffsetRange
from worker.ports import Output, StoreError
from worker.recovery.move.content import NewPartitions
from worker.recovery.partition_content import PartitionContent
from worker.recovery.restore import Store, restore

COUNT = 3
THERE = partition_of("acme", COUNT)
MOVE = ("partitions", "move", "--partitions", str(COUNT), "--topic-prefix", "sleep3")


class _Reader(FakeReader):
    """The topics of both installations."""

    def __init__(self, kafka: FakeKafka) -> None:
        super().__init__(kafka)
        self.kafka = kafka

    async def bounds(self, topic: str) -> dict[int, OffsetRange]:
        logs = [self.kafka.log(topic, number) for number in range(COUNT if topic in NEW else self.partitions)]
        return {log.partition: OffsetRange(log.start, log.end) for log in logs}


class Both:
    """The old installation with a tenant that sleeps, and where the new one is to be."""

    def __init__(self, installation: Installation) -> None:
        self.old = installation
        self.kafka = installation.kafka
        self.reader = _Reader(self.kafka)
        self.new = _Store()
        self.admin = AdminOfMove(self.kafka)

    def connect(self, settings: Settings) -> FakeStore:
        """The store of an installation."""
        return self.new if settings.redis_prefix == "sleep3" else self.old.store

    def tenants(self) -> dict[int, list[str]]:
        """The tenants of each new partition that is complete."""
        return {number: sorted(each.tenants) for number, each in sorted(self.new.partitions.items()) if each.next >= 0}


@pytest.fixture
def both(installed: None, installation: Installation, run: Run, monkeypatch: pytest.MonkeyPatch) -> Both:  # noqa: ARG001
    """An installation of eight partitions whose store has all of its log."""
    assert run("rebuild").code == 0
    made = Both(installation)
    for module in ("move.move", "verify"):
        monkeypatch.setattr(f"worker.recovery.{module}.TopicReader", lambda _: made.reader)
        monkeypatch.setattr(f"worker.recovery.{module}.LaneStore.connect", made.connect)
    monkeypatch.setattr(
        "worker.recovery.move.move.KafkaOutputs", lambda settings: ConnectingOutputs(made.kafka, settings.topics)
    )
    monkeypatch.setattr("worker.recovery.move.move.TopicAdmin", lambda _: made.admin)
    return made


def _refused(outcome: Outcome, *told: str, code: int = 1) -> None:
    assert outcome.code == code, outcome.out + outcome.err
    for text in told:
        assert text in outcome.err


def test_a_tenant_goes_to_its_new_partition_and_nothing_of_the_old_ones_changes(both: Both, run: Run) -> None:
    """With its commands and their rows; the settings are printed, and the way back."""
    before = deepcopy(both.old.store.partitions), both.kafka.log(TOPICS.events, ACME).end
    outcome = run(*MOVE)
    assert outcome.code == 0, outcome.err
    assert (both.old.store.partitions, both.kafka.log(TOPICS.events, ACME).end) == before
    assert both.tenants() == {number: ["acme"] if number == THERE else [] for number in range(COUNT)}
    assert (
        "sleep.* with 8 partitions went to sleep3.* with 3: 1 tenants (freeze 1), 0 policies, 1 remembered"
        in outcome.out
    )
    assert "SLEEP_TOPIC_PREFIX=sleep3" in outcome.out
    assert 'SLEEP_INGRESS=[{"topic":"sleep.breakers"},{"topic":"sleep3.breakers"}]' in outcome.out
    assert "start them with SLEEP_TOPIC_PREFIX=sleep SLEEP_REDIS_PREFIX=sleep SLEEP_PARTITIONS=8" in outcome.out
    [state] = both.kafka.log(NEW.states, THERE).records
    assert from_json(state.value or b"")["position"] == f"{THERE}:0"
    breakers, row = both.kafka.log(NEW.transitions, THERE).records
    assert from_json(breakers.value or b"")["cause"]["kind"] == "breaker", "the row before says what was enforced"
    assert from_json(row.value or b"")["id"] == f"{THERE}:0:1"
    assert from_json(row.value or b"")["operation_id"] == "op-1"
    assert {both.kafka.log(NEW.events, number).start for number in range(COUNT)} == {1}


def test_a_dry_run_writes_nothing(both: Both, run: Run) -> None:
    """It only says what would go."""
    document = json.loads(run(*MOVE, "--dry-run", "--json").out)
    assert (document["dry_run"], document["tenants"], document["commands"]) == (True, 1, 1)
    assert document["settings"]["SLEEP_PARTITIONS"] == str(COUNT)
    assert "would go to sleep3.*" in run(*MOVE, "--dry-run").out
    assert (both.admin.created, both.new.partitions) == (0, {})


def test_an_interrupted_move_is_run_again(both: Both, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is complete no lane may start; complete partitions stay. Tenants that went meanwhile get tombstones."""
    commits = 0
    commit = both.new.commit

    async def failing(partition: int, what: object) -> bool:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise StoreError("gone")
        return await commit(partition, what)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(both.new, "commit", failing)
        _refused(run(*MOVE), "Redis does not answer: RedisError: gone; run the same command again")
    assert any(each.next < 0 for each in both.new.partitions.values())
    gone = next(name for name in (f"gone-{number}" for number in range(99)) if partition_of(name, COUNT) == THERE)
    [state] = [record.value or b"" for record in both.kafka.log(TOPICS.states, ACME).records][-1:]
    left = from_json(state) | {"tenant": gone, "position": f"{THERE}:0"}
    both.kafka.log(NEW.states, THERE).append([Output(gone.encode(), to_json(left))])
    document = json.loads(run(*MOVE, "--json").out)
    assert (document["ok"], document["differences"]) == (True, [])
    assert both.tenants()[THERE] == ["acme"]
    assert len(both.kafka.log(NEW.events, THERE).records) == 0
    again = json.loads(run(*MOVE, "--json").out)
    assert [each["found"] for each in again["partitions"]] == [True] * COUNT


def test_a_complete_partition_that_differs_is_named_and_stays(both: Both, run: Run) -> None:
    """A worker used one of the two since: nothing is put over it."""
    assert run(*MOVE).code == 0
    stored = both.new.partitions[THERE]
    packed = stored.tenants.pop("acme")
    stored.tenants["other"] = packed
    outcome = run(*MOVE)
    _refused(outcome, "differences between the old and the new topics: do not use the new ones", "to go back: stop")
    assert f"new partition {THERE}, tenant acme, redis: is missing" in outcome.out
    assert "tenant other, redis: should not be there" in outcome.out
    stored.tenants["acme"] = packed[:-1]
    outcome = run(*MOVE)
    _refused(outcome)
    assert "tenant acme, redis: cannot be read" in outcome.out
    operation = next(iter(stored.operations))
    for value in (b"x", None):
        if value is None:
            del stored.operations[operation]
        else:
            stored.operations[operation] = value
        outcome = run(*MOVE)
        _refused(outcome)
        assert f"operation op-1 {'is missing' if value is None else 'cannot be read'}" in outcome.out


def test_workers_and_unapplied_events_are_refused(both: Both, run: Run) -> None:
    """What a timer left is no event."""
    log = both.kafka.log(TOPICS.events, ACME)
    timer = event_bytes("sleep.timer.v1", {"due_at": NOW}, "acme")
    log.append([Output(b"acme", timer, (("content-type", b"application/cloudevents+json"),))])
    assert run(*MOVE, "--dry-run").code == 0
    both.reader.workers = 2
    _refused(run(*MOVE), "2 workers are in group sleep-worker; stop the APIs first")
    both.reader.workers = 0
    log.append([Output(b"acme", json.dumps(breaker("closed")).encode())])
    _refused(run(*MOVE), f"partition {ACME} has 1 records that no worker has applied", "SLEEP_INGRESS='[]'")


def test_a_store_that_is_not_whole_is_refused(both: Both, run: Run) -> None:
    """As a lane would refuse it."""
    stored = both.old.stored
    whole = deepcopy(stored)

    def told(*text: str) -> None:
        _refused(run(*MOVE), *text)
        both.old.store.partitions[ACME] = deepcopy(whole)

    both.old.stored.progress[b"next"] = b"-5"
    told(f"partition {ACME} is being rebuilt")
    both.old.stored.progress[b"layout"] = b"99"
    told(f"partition {ACME}: progress: ")
    both.old.stored.progress[b"swept"] = b"9"
    told(f"partition {ACME}: progress cannot be used: swept is 9")
    both.old.stored.timers.clear()
    told("timers where progress says")
    both.old.stored.tenants["acme"] = b"damaged"
    told("a record cannot be read")
    both.old.stored.operations[next(iter(whole.operations))] = b"damaged"
    told("operation op-1 of tenant acme cannot be read")
    both.kafka.log(TOPICS.transitions, ACME).records.clear()
    assert run(*MOVE, "--dry-run").code == 0, "a live operation's claim says its id"
    del both.old.stored.operations[next(iter(whole.operations))]
    both.old.stored.operations["acme", "unknown"] = b"x"
    told("Redis remembers 1 commands and the transitions topic has the rows of 0")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--partitions", "8", "--topic-prefix", "x"), "--partitions: there are 8 partitions already"),
        (("--partitions", "9", "--topic-prefix", "sleep"), "--topic-prefix: sleep is the present one"),
        (("--partitions", "9", "--topic-prefix", "x", "--redis-prefix", "sleep"), "--redis-prefix: sleep is the"),
        (("--partitions", "9", "--topic-prefix", "a b"), "--topic-prefix: 'a b' is no prefix"),
    ],
)
def test_the_new_names_are_new(installed: None, run: Run, arguments: tuple[str, ...], told: str) -> None:  # noqa: ARG001
    """Before anything is asked."""
    _refused(run("partitions", "move", *arguments), told, code=2)


def test_an_ingress_topic_does_not_become_ours(both: Both, run: Run) -> None:  # noqa: ARG001 - an installation
    """Its emitters would write to ours."""
    outcome = run(*MOVE, SLEEP_INGRESS='[{"topic": "sleep3.breakers"}]')
    _refused(outcome, "SLEEP_INGRESS names the topic sleep3.breakers", code=2)


def test_topics_that_somebody_uses_are_refused(both: Both, run: Run) -> None:
    """By their records, or by what Redis has of them."""
    log = both.kafka.log(NEW.events, 0)
    log.append([Output(b"x", b"{}")])
    _refused(run(*MOVE), "are those of somebody else: stop what writes to sleep3.events, and name another --topic")
    log.append([Output(b"x", b"{}")])
    log.trim(2)
    _refused(run(*MOVE), "the events topic of new partition 0 was used before")
    log.cut(0)
    log.start = 0
    outcome = run(*MOVE)
    assert outcome.code == 0, outcome.err
    both.kafka.log(NEW.events, 1).append([Output(b"x", b"{}")])
    _refused(run(*MOVE), "new partition 1 is in use: its log and its progress have gone on")


@pytest.mark.parametrize("late", [False, True])
def test_a_command_that_comes_to_a_new_log_too_early_is_not_removed(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """An API was started too early: before the log has its marker, or after."""
    log = both.kafka.log(NEW.events, COUNT - 1)
    command = Output(b"acme", json.dumps(breaker("open")).encode())
    held = both.new.clear

    async def clear(partition: int, expected: int | None, mark: int) -> bool:
        if partition == 0 and not late:
            log.append([command])
        return await held(partition, expected, mark)

    removed = both.admin.remove_events

    async def remove_events(partition: int, before: int) -> None:
        await removed(partition, before)
        if partition == 0 and late:
            log.append([command])

    monkeypatch.setattr(both.new, "clear", clear)
    monkeypatch.setattr(both.admin, "remove_events", remove_events)
    _refused(run(*MOVE), f"the events of new partition {COUNT - 1} are those of somebody else: stop what writes to")
    assert [record.value for record in log.records if record.key == b"acme"] == [command.value]
    assert both.new.partitions[COUNT - 1].next < 0, "no worker may start there"


def test_a_partition_that_a_worker_has_used_meanwhile_is_not_emptied(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker was started too early, and has committed."""
    used = both.new.partitions[COUNT - 1]
    mark = both.new.mark

    async def marked(partition: int) -> int | None:
        found = await mark(partition)
        if partition == COUNT - 1:
            used.progress[b"next"] = b"7"
        return found

    monkeypatch.setattr(both.new, "mark", marked)
    _refused(run(*MOVE), f"new partition {COUNT - 1} was used while it was made; is a worker started there?")
    assert both.new.partitions[COUNT - 1].next == 7


@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
def test_the_row_before_the_first_command_is_found_wherever_the_reading_pauses(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """It may lie far back, and a row may be there twice, since a worker sent it again."""
    log = both.kafka.log(TOPICS.transitions, ACME)
    before, outcome = ((record.key, record.value) for record in log.records)
    log.records.clear()
    log.end = 0
    of_others = [Output(b"globex", (before[1] or b"").replace(b"acme", b"globex"))] * 3
    log.append([Output(*before), *of_others, Output(*outcome), *of_others, Output(*outcome)])
    monkeypatch.setattr("worker.recovery.move.source._ROWS_AT_ONCE", at_once)
    document = json.loads(run(*MOVE, "--json").out)
    assert (document["ok"], document["differences"]) == (True, [])
    kinds = [from_json(row.value or b"")["kind"] for row in both.kafka.log(NEW.transitions, THERE).records]
    assert kinds == ["transition", "outcome"]


def test_the_topic_is_not_read_on_for_a_command_that_found_its_tenant_awake(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row before it is needed, and perhaps there is none."""
    log = both.kafka.log(TOPICS.transitions, ACME)
    row = from_json(log.records[1].value or b"")
    log.records[1].value = to_json(row | {"from": "active"})
    read: list[tuple[int, int]] = []
    reading = both.reader.read

    def noted(
        topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = id
    ) -> AsyncGenerator[list[SourceRecord], None]:
        if (topic, partition) == (TOPICS.transitions, ACME):
            read.append((start, end))
        return reading(topic, partition, start, end, advance)

    monkeypatch.setattr(both.reader, "read", noted)
    monkeypatch.setattr("worker.recovery.move.source._ROWS_AT_ONCE", 1)
    assert run(*MOVE, "--dry-run").code == 0
    assert read == [(1, 2)]


def test_what_goes_to_a_partition_is_made_when_it_is_written(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All partitions together need much memory. A dry run makes nothing, and only counts."""
    steps: list[str] = []
    making = NewPartitions.content

    def made(self: NewPartitions, number: int) -> PartitionContent:
        steps.append(f"made {number}")
        return making(self, number)

    async def restored(store: Store, content: PartitionContent, *, expected: int | None, mark: int, end: int) -> None:
        steps.append(f"written {content.partition}")
        await restore(store, content, expected=expected, mark=mark, end=end)

    monkeypatch.setattr(NewPartitions, "content", made)
    monkeypatch.setattr("worker.recovery.move.target.restore", restored)
    assert json.loads(run(*MOVE, "--dry-run", "--json").out)["states"] == {"freeze": 1}
    assert (steps, both.admin.created) == ([], 0)
    assert run(*MOVE).code == 0
    assert steps == [f"{step} {number}" for number in range(COUNT) for step in ("made", "written")]
    assert run(*MOVE).code == 0
    assert len(steps) == 2 * COUNT, "a partition that is complete is not made again"


@pytest.mark.parametrize("method", ["scan", "index", "operations"])
def test_an_outage_of_redis_during_the_comparison_is_told(
    both: Both, run: Run, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The same command goes on."""
    assert run(*MOVE).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(both.new.faults, "down", {method})
        _refused(run(*MOVE), "Redis does not answer: ConnectionError: redis is away")
    assert run(*MOVE).code == 0


def test_an_outage_of_redis_at_the_last_look_is_told(both: Both, run: Run) -> None:
    """The old one is asked again where it is."""
    both.old.store.faults.down = {"mark"}
    _refused(run(*MOVE), "redis is away; run the same command again")
