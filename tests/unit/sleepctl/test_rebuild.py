"""`sleepctl rebuild`, and what holds for `sleepctl verify` too, on topics and a store in memory."""

import json

import pytest

from schemas.kafka.partitioner import partition_of
from tests.support.batches import failing_at
from tests.support.events import breaker
from tests.support.records import source
from tests.support.times import NOW
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import ACME, PARTITIONS, TOPICS, Installation
from worker.partition.startup_checks import OTHER_COUNT
from worker.ports import Output
from worker.recovery.dead_letters import DeadLetter, RedriveRecord, record_to_redrive
from worker.recovery.notes import note_of

pytestmark = pytest.mark.usefixtures("installed")


def test_an_empty_redis_holds_what_it_held(run: Run, installation: Installation) -> None:
    """Every partition begins somewhere afterwards, and there is nothing for `verify` to find."""
    outcome = run("rebuild")
    assert outcome.code == 0, outcome.err
    assert "1 tenants and 1 commands, next 2" in outcome.out
    assert "start the workers" in outcome.out
    assert installation.stored.tenants == installation.lane.packed
    assert installation.stored.operations.keys() == installation.lane.operations.keys()
    assert {number: stored.next for number, stored in installation.store.partitions.items()} == {
        number: 2 if number == ACME else 0 for number in range(PARTITIONS)
    }
    verified = run("verify")
    assert (verified.code, verified.out) == (0, "1 tenants on 8 partitions compared with 2 records of the log\n")


def test_what_has_progress_is_left_as_it_is_without_force(run: Run, installation: Installation) -> None:
    """One partition may be named; where nothing is done, the command fails."""
    only = run("rebuild", "--partition", str(ACME), "--json")
    assert [entry["partition"] for entry in json.loads(only.out)["rebuilt"]] == [ACME]
    again = run("rebuild")
    assert f"partitions {ACME} have progress and were left unchanged" in again.out
    nothing = run("rebuild", "--json")
    left = {"rebuilt": [], "left": list(range(PARTITIONS)), "refused": {}}
    assert (nothing.code, json.loads(nothing.out)) == (1, left)
    assert "`--force` replaces it" in nothing.err
    installation.stored.tenants.clear()
    assert run("rebuild", "--force", "--partition", str(ACME)).code == 0
    assert installation.stored.tenants == installation.lane.packed


@pytest.mark.parametrize("trouble", ["topics", "layout", "number", "moved"])
def test_a_partition_that_is_refused_keeps_no_other_from_being_rebuilt(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """It is named at the end, with the reason."""
    match trouble:
        case "topics":
            installation.kafka.log(TOPICS.states, ACME).append([Output(b"acme", b"rubbish")])
        case "layout":
            installation.stored.progress |= {b"next": b"2", b"layout": b"99"}
        case "number":
            installation.stored.progress[b"next"] = b"many"
        case _:
            clear = installation.store.clear

            async def moved(partition: int, expected: int | None, mark: int) -> bool:
                return partition != ACME and await clear(partition, expected, mark)

            monkeypatch.setattr(installation.store, "clear", moved)
    outcome = run("rebuild", "--json")
    others = [number for number in range(PARTITIONS) if number != ACME]
    document = json.loads(outcome.out)
    assert (outcome.code, [entry["partition"] for entry in document["rebuilt"]]) == (1, others)
    assert [*document["refused"]] == [str(ACME)]
    assert outcome.err == f"sleepctl: {document['refused'][str(ACME)]}\n"


def test_what_was_done_before_an_outage_is_told(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was refused, and the outage."""
    installation.store.partitions[1].progress[b"next"] = b"many"
    mark = installation.store.mark

    async def away(partition: int) -> int | None:
        if partition == 2:
            installation.store.faults.down = {"*"}
        return await mark(partition)

    monkeypatch.setattr(installation.store, "mark", away)
    outcome = run("rebuild", "--json")
    refused, outage = outcome.err.splitlines()
    assert (outcome.code, "delete the Redis key" in refused, "Redis does not answer" in outage) == (1, True, True)
    document = json.loads(outcome.out)
    assert ([entry["partition"] for entry in document["rebuilt"]], [*document["refused"]]) == ([0], ["1"])


def test_an_interrupted_rebuild_can_be_run_again(run: Run, installation: Installation) -> None:
    """Until then the partition is marked, and nobody can use it."""
    installation.stored.progress[b"next"] = b"-9"
    assert "progress is -9 and the log holds 0 to 2" in run("verify").out
    assert run("rebuild").code == 0
    assert installation.stored.next == 2


def test_nothing_is_done_while_workers_run(run: Run, installation: Installation) -> None:
    """They would write beside it."""
    installation.reader.workers = 2
    outcome = run("rebuild", "--force")
    assert (outcome.code, "2 workers are in group sleep-worker; stop them first" in outcome.err) == (1, True)
    assert not installation.store.faults.calls


def test_another_partition_count_is_refused_with_what_to_do(run: Run, installation: Installation) -> None:
    """Both commands say it."""
    installation.reader.partitions = 4
    for command in ("rebuild", "verify"):
        error = run(command).err
        assert f"topic sleep.events has 4 partitions and SLEEP_PARTITIONS is 8: {OTHER_COUNT}" in error


@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_a_partition_that_there_is_not_is_refused(run: Run, installation: Installation, command: str) -> None:
    """Like any other wrong argument."""
    outcome = run(command, "--partition", "8")
    assert (outcome.code, outcome.err) == (2, "sleepctl: --partition must be from 0 to 7\n")
    assert not installation.store.faults.calls


def test_a_log_that_was_cut_needs_force(run: Run, installation: Installation) -> None:
    """The states are taken as they were published then."""
    installation.kafka.log(TOPICS.events, ACME).cut(1)
    refused = run("rebuild", "--partition", str(ACME))
    assert (refused.code, f"rebuild --partition {ACME} --force" in refused.err) == (1, True)
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (installation.stored.next, len(installation.stored.tenants)) == (1, 1)


def test_a_state_from_behind_the_end_of_the_log_is_passed_over_by_force(run: Run, installation: Installation) -> None:
    """It is named before and after; the true one is appended, and `verify` finds nothing once compaction came."""
    states = installation.kafka.log(TOPICS.states, ACME)
    last = json.loads(states.records[-1].value or b"")
    states.append([Output(b"acme", json.dumps(last | {"position": f"{ACME}:1000"}).encode())])
    refused = run("rebuild", "--partition", str(ACME))
    assert f"tenant acme has a state from {ACME}:1000, and the log ends at 2" in refused.err
    outcome = run("rebuild", "--partition", str(ACME), "--force")
    assert "a state of tenant acme from beyond the end of the log was ignored" in outcome.out
    assert installation.stored.tenants == installation.lane.packed
    assert states.records[-1].value == installation.lane.states[-1].value
    del states.records[:-1]
    assert run("verify", "--partition", str(ACME)).code == 0


def test_a_log_that_was_made_anew_is_left_to_the_workers_by_force(run: Run, installation: Installation) -> None:
    """Whether it is shorter than what was applied, or already longer."""
    installation.kafka.log(TOPICS.events, ACME).cut(0)
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (installation.stored.next, len(installation.stored.tenants)) == (0, 1)
    other = next(name for name in map("t-{}".format, range(99)) if partition_of(name, PARTITIONS) == ACME)
    record = source(0, NOW, breaker("open", tenant=other))
    installation.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)] * 3)
    refused = run("rebuild", "--partition", str(ACME))
    assert refused.code == 1
    installation.stored.progress.clear()
    assert "its topic was recreated" in run("rebuild", "--partition", str(ACME)).err
    assert run("rebuild", "--partition", str(ACME), "--force").code == 0
    assert (installation.stored.next, len(installation.stored.tenants)) == (0, 1)


@pytest.mark.parametrize("place", [0, 2])
def test_a_record_that_was_set_aside_is_passed_over_by_both(run: Run, installation: Installation, place: int) -> None:
    """Wherever on the dead-letter topic it stands, which may have another partition count."""
    record = source(2, NOW, breaker("half_open"))
    record.partition = ACME
    installation.kafka.log(TOPICS.events, ACME).append([Output(record.key, record.value, record.headers)])
    with failing_at(2):
        installation.lane.apply([record])
    installation.kafka.log(TOPICS.deadletter, place).append(
        [Output(b"k", b"of somebody else"), *installation.lane.dead_letters]
    )
    # That it was put back later does not unmake that it was passed over here.
    letter = DeadLetter.of(installation.kafka.log(TOPICS.deadletter, place).records[1])
    back = record_to_redrive(letter, TOPICS.events, PARTITIONS, {TOPICS.events})
    assert isinstance(back, RedriveRecord)
    installation.kafka.log(TOPICS.deadletter, place).append([note_of(back)])
    installation.reader.commits = {ACME: 3}
    outcome = run("rebuild")
    assert outcome.code == 0, outcome.err
    assert (installation.stored.next, installation.stored.tenants) == (3, installation.lane.packed)
    assert run("verify").code == 0


def test_what_the_topics_lack_is_sent_and_told(run: Run, installation: Installation) -> None:
    """A worker died between its outputs and their acknowledgement."""
    installation.reader.commits = {ACME: 1}
    installation.kafka.log(TOPICS.transitions, ACME).cut(1)
    outcome = run("rebuild", "--partition", str(ACME))
    assert "its topics lacked 1 records; they were sent" in outcome.out
    rows = [record.value for record in installation.kafka.log(TOPICS.transitions, ACME).records]
    assert rows == [row.value for row in installation.lane.transitions]


def test_records_that_are_gone_are_told(run: Run, installation: Installation) -> None:
    """Nobody can tell whether they had been applied."""
    events = installation.kafka.log(TOPICS.events, ACME)
    events.skip(3)
    events.trim(5)
    outcome = run("rebuild", "--partition", str(ACME))
    assert "3 records before 5 are gone" in outcome.out
    assert "the log's beginning is gone for 1 of them" in run("verify", "--partition", str(ACME)).out


@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_a_redis_that_does_not_answer_is_told(run: Run, installation: Installation, command: str) -> None:
    """In one line."""
    installation.store.faults.down = {"*"}
    outcome = run(command)
    assert (outcome.code, "sleepctl: Redis does not answer: ConnectionError" in outcome.err) == (1, True)


def test_a_kafka_that_does_not_answer_is_told(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything was taken away, and while something is sent."""

    async def away() -> None:
        raise OSError

    installation.reader.commits = {ACME: 1}
    installation.kafka.log(TOPICS.transitions, ACME).cut(1)
    installation.outputs.faults.down = {"*"}
    assert "Kafka does not answer: " in run("rebuild", "--partition", str(ACME)).err
    assert not installation.stored.progress
    monkeypatch.setattr(installation.outputs, "start", away)
    assert "Kafka at broker:9092 does not answer" in run("rebuild").err


def test_a_foreign_record_in_the_states_topic_is_named(run: Run, installation: Installation) -> None:
    """Nothing is folded on top of it."""
    installation.kafka.log(TOPICS.states, ACME).append([Output(b"acme", b"rubbish")])
    assert f"states topic {ACME}:1: no worker wrote this record" in run("rebuild").err
    installation.store.partitions[ACME].progress |= {b"next": b"2"}
    assert "cannot be compared: states topic" in run("verify", "--partition", str(ACME)).err


def test_a_progress_that_is_no_number_says_what_to_delete(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edited it."""
    installation.stored.progress[b"next"] = b"many"
    assert f"delete the Redis key {{sleep:{ACME}}}:progress" in run("rebuild").err

    async def moved(*_: object) -> bool:
        return False

    installation.stored.progress.clear()
    monkeypatch.setattr(installation.store, "clear", moved)
    error = run("rebuild").err
    assert "is not where this rebuild left it: Redis was rolled back or failed over" in error
    assert "run the same command again" in error


@pytest.mark.parametrize("position", [b"2", b"-9", b"not known yet"])
@pytest.mark.parametrize("more", [[], ["--force"]])
def test_what_a_newer_version_wrote_is_not_rebuilt(
    run: Run, installation: Installation, more: list[str], position: bytes
) -> None:
    """Wherever it says that the partition stands; nothing is taken away, and the error says what to run."""
    run("rebuild")
    installation.stored.progress |= {b"layout": b"99", b"next": position}
    before = installation.store.snapshot()
    outcome = run("rebuild", "--partition", str(ACME), *more)
    assert (outcome.code, outcome.err) == (
        1,
        f"sleepctl: partition {ACME}: progress: layout 99 is newer than 3; run the newer version on this partition\n",
    )
    assert installation.store.partitions == before


def test_verify_does_not_send_what_a_newer_version_wrote_to_a_rebuild(run: Run, installation: Installation) -> None:
    """As it does with what is damaged."""
    run("rebuild")
    installation.stored.progress[b"layout"] = b"99"
    [newer] = json.loads(run("verify", "--json").out)["differences"]
    assert newer["what"] == "progress: layout 99 is newer than 3; run the newer version on this partition"
    installation.stored.progress[b"layout"] = b"0"
    [damaged] = json.loads(run("verify", "--json").out)["differences"]
    assert damaged["what"].endswith(f"; run `sleepctl rebuild --partition {ACME} --force`")
