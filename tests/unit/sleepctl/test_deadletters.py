"""`sleepctl deadletters`, on a topic in memory."""

import json

import pytest

from schemas.partition import partition_of
from tests.fakes import NOW, FakeClock, FakeKafka, FakeOutputs
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import PARTITIONS, TOPICS, FakeReader
from tests.unit.worker.build import Source
from worker.deadletter import Failure, dead_letter
from worker.ports import Output

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """A Kafka with three dead letters, one of which was cut."""
    found = FakeKafka(FakeClock(NOW))
    outputs = FakeOutputs(found, TOPICS)

    async def nothing() -> None:
        return None

    monkeypatch.setattr(outputs, "start", nothing, raising=False)
    monkeypatch.setattr(outputs, "stop", nothing, raising=False)
    monkeypatch.setattr("sleepctl.reader.TopicReader", lambda _: FakeReader(found))
    monkeypatch.setattr("worker.outputs.Outputs", lambda _: outputs)
    letters = [
        dead_letter(Source(5, NOW, b"acme", b"{", partition=2), Failure("undecodable", "no JSON")),
        dead_letter(Source(4, NOW - 1, b"acme", b"x" * 70_000, partition=2), Failure("oversize", "too large")),
        dead_letter(
            Source(6, NOW + 1, None, b"[]", partition=1), Failure("fold_failed", "Trace\nValueError: x", ours=True)
        ),
    ]
    found.log(TOPICS.deadletter, 2).append(letters)
    return found


def test_they_are_listed_by_time_the_latest_last(run: Run, kafka: FakeKafka) -> None:
    """Place, source, key, size, code and the last line of the message; machines get the whole of it."""
    lines = run("deadletters", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["2:1", "2:0", "2:2"]
    assert lines[1].endswith("sleep.events 2:5  key acme, 1 bytes  undecodable: no JSON")
    assert lines[2].endswith("sleep.events 1:6  no key, 2 bytes  fold_failed: ValueError: x")
    [last] = json.loads(run("deadletters", "list", "--json", "--limit", "1").out)
    assert (last["place"], last["message"], last["cut"]) == ("2:2", "Trace\nValueError: x", False)
    assert [found["cut"] for found in json.loads(run("deadletters", "list", "--json", "--code", "oversize").out)] == [
        True
    ]
    assert run("deadletters", "list", "--code", "wrong_key").out == "no dead letters with the code wrong_key\n"
    assert len(kafka.records(TOPICS.deadletter)) == 3


def test_all_but_what_was_cut_go_back_in_their_order(run: Run, kafka: FakeKafka) -> None:
    """The command fails where one stays, and says why."""
    outcome = run("deadletters", "redrive", "--all")
    assert outcome.code == 1
    assert "2:1 stays: its key or value was cut: it had 70000 bytes" in outcome.out
    assert "2 records were put back, in their order" in outcome.out
    owner = partition_of("acme", PARTITIONS)
    assert [(record.key, record.value) for record in kafka.log(TOPICS.events, owner).records] == [(b"acme", b"{")]
    assert [record.value for record in kafka.log(TOPICS.events, 1).records] == [b"[]"]


def test_of_a_topic_that_was_made_anew_both_records_of_a_place_go_back(run: Run, kafka: FakeKafka) -> None:
    """The older one first; nobody is told of a record that is not put back and not refused."""
    kafka.log(TOPICS.deadletter, 1).append(
        dead_letter(Source(7, at, None, value, partition=1), Failure("unknown_type", "x"))
        for at, value in ((NOW, b"new"), (NOW - 5_000, b"old"))
    )
    outcome = run("deadletters", "redrive", "--all", "--code", "unknown_type")
    assert "2 records were put back, in their order" in outcome.out
    assert [record.value for record in kafka.log(TOPICS.events, 1).records] == [b"old", b"new"]


@pytest.mark.parametrize("bound", ["_PAGE_RECORDS", "_PAGE_BYTES"])
def test_many_are_put_back_page_by_page_in_their_order(
    run: Run, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Their values are more than memory may have room for; each page waits for the one before."""
    sizes = []
    send = FakeOutputs.send

    async def count(outputs: FakeOutputs, topic: str, partition: int, records: list[Output]) -> int | None:
        sizes.append(len(records))
        return await send(outputs, topic, partition, records)

    monkeypatch.setattr(FakeOutputs, "send", count)
    monkeypatch.setattr(f"sleepctl.deadletters.{bound}", 2)
    # As two workers would set them aside: the order on their topic is not that in which they came.
    for partition, offsets in ((0, (13, 10, 14)), (1, (12, 11))):
        kafka.log(TOPICS.deadletter, partition).append(
            dead_letter(Source(offset, NOW + offset, None, str(offset).encode()), Failure("fold_failed", "x"))
            for offset in offsets
        )
    assert (
        len(json.loads(run("deadletters", "redrive", "--all", "--code", "fold_failed", "--json").out)["redriven"]) == 6
    )
    assert [record.value for record in kafka.log(TOPICS.events, 0).records] == [b"10", b"11", b"12", b"13", b"14"]
    assert max(sizes) <= 2


def test_one_that_is_gone_meanwhile_stays_so(run: Run, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention took it between the look and the reading."""
    outputs = FakeOutputs(kafka, TOPICS)

    async def start() -> None:
        kafka.log(TOPICS.deadletter, 2).trim(1)

    async def stop() -> None:
        return None

    monkeypatch.setattr(outputs, "start", start, raising=False)
    monkeypatch.setattr(outputs, "stop", stop, raising=False)
    monkeypatch.setattr("worker.outputs.Outputs", lambda _: outputs)
    outcome = run("deadletters", "redrive", "--all", "--code", "undecodable")
    assert (outcome.code, "2:0 stays: it is no longer there" in outcome.out) == (1, True)


def test_one_is_named_by_its_place_and_some_by_their_code(run: Run, kafka: FakeKafka) -> None:
    """What was done is told."""
    one = json.loads(run("deadletters", "redrive", "--partition", "2", "--offset", "2", "--json").out)
    assert one == {"redriven": [{"place": "2:2", "topic": "sleep.events", "partition": 1}], "refused": []}
    assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 0
    assert len(kafka.records(TOPICS.events)) == 2
    missing = run("deadletters", "redrive", "--partition", "2", "--offset", "9")
    assert (missing.code, missing.err) == (1, "sleepctl: there is no such dead letter\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--partition", "1"],
        ["--all", "--partition", "1", "--offset", "2"],
        ["--code", "x"],
        ["--all", "--offset", "2"],
    ],
    ids=str,
)
def test_what_is_meant_must_be_clear(run: Run, kafka: FakeKafka, arguments: list[str]) -> None:
    """One, or all of them."""
    outcome = run("deadletters", "redrive", *arguments)
    assert (outcome.code, "name one by --partition and --offset" in outcome.err) == (2, True)
    assert kafka.records(TOPICS.events) == []


def test_what_is_no_dead_letter_is_passed_over_and_told(run: Run, kafka: FakeKafka) -> None:
    """Somebody else wrote to the topic."""
    kafka.log(TOPICS.deadletter, 0).append([Output(b"k", b"v")])
    outcome = run("deadletters", "list")
    assert (outcome.code, "passed over: 0:0 is no dead letter of ours" in outcome.err) == (0, True)


def test_a_kafka_that_does_not_take_them_is_told(run: Run, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some may be there, which the next attempt would send again."""

    async def away(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(FakeOutputs, "send", away)
    outcome = run("deadletters", "redrive", "--all")
    assert (outcome.code, "Kafka did not take all of them" in outcome.err) == (1, True)
    assert kafka.records(TOPICS.events) == []
