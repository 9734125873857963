"""`sleepctl deadletters`, on a topic in memory."""

import json
from base64 import b64decode

import pytest

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure
from tests.support.fakes import FakeKafka, FakeOutputs
from tests.support.records import Source
from tests.support.times import NOW
from tests.unit.sleepctl.conftest import Run, shown
from tests.unit.sleepctl.fakes import PARTITIONS, TOPICS
from worker.fold.dead_letter import dead_letter
from worker.ports import Output

pytestmark = pytest.mark.usefixtures("installed")


def test_they_are_listed_by_time_the_latest_last(run: Run, kafka: FakeKafka) -> None:
    """Place, source, key, size, code and the last line of the message; machines get the whole of it."""
    lines = run("deadletters", "list").out.splitlines()
    assert [line.split()[:2] for line in lines] == [["3", "2:1"], ["2", "2:0"], ["1", "2:2"]]
    assert lines[1].endswith("sleep.events 2:5  key acme, 1 bytes  undecodable: no JSON")
    assert lines[2].endswith("sleep.events 1:6  no key, 2 bytes  fold_failed: ValueError: x")
    [last] = json.loads(run("deadletters", "list", "--json", "--limit", "1").out)
    assert (last["place"], last["message"], last["cut"]) == ("2:2", "Trace\nValueError: x", False)
    assert [each["cut"] for each in json.loads(run("deadletters", "list", "--json", "--code", "oversize").out)] == [
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


def test_a_second_redrive_of_all_puts_nothing_back_twice(run: Run, kafka: FakeKafka) -> None:
    """Whichever process put it back: the topic itself says so. What came since goes back, and --again means all."""
    for code in ("undecodable", "fold_failed"):
        assert run("deadletters", "redrive", "--all", "--code", code).code == 0
        again = run("deadletters", "redrive", "--all", "--code", code)
        assert (again.code, again.out.splitlines()[0]) == (0, "0 records were put back, in their order")
        assert again.out.splitlines()[1].startswith("1 were put back before and are left out")
    assert len(kafka.records(TOPICS.events)) == 2
    lines = run("deadletters", "list").out.splitlines()
    assert [line.endswith("(put back)") for line in lines] == [False, True, True]
    new = dead_letter(Source(9, NOW, b"acme", b"[", partition=2), Failure("undecodable", "no JSON"))
    kafka.log(TOPICS.deadletter, 0).append([new])
    done = json.loads(run("deadletters", "redrive", "--all", "--code", "undecodable", "--json").out)
    assert ([back["place"] for back in done["redriven"]], done["skipped"]) == (["0:0"], 1)
    once_more = json.loads(run("deadletters", "redrive", "--all", "--code", "undecodable", "--again", "--json").out)
    assert ([back["place"] for back in once_more["redriven"]], once_more["skipped"]) == (["2:0", "0:0"], 0)


def test_what_is_set_aside_again_after_it_was_put_back_is_not_put_back_for_ever(run: Run, kafka: FakeKafka) -> None:
    """Its cause is still there; it can be named, and --again takes it along."""
    assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 0
    [back] = kafka.records(TOPICS.events)
    record = Source(0, NOW + 9, back.key, back.value, back.headers, partition=partition_of("acme", PARTITIONS))
    kafka.log(TOPICS.deadletter, 1).append([dead_letter(record, Failure("undecodable", "still no JSON"))])
    second = json.loads(run("deadletters", "redrive", "--all", "--code", "undecodable", "--json").out)
    assert (second["redriven"], second["skipped"]) == ([], 2)
    named = json.loads(run("deadletters", "redrive", "--partition", "1", "--offset", "0", "--json").out)
    assert len(named["redriven"]) == 1
    earlier = json.loads(run("deadletters", "redrive", "--partition", "2", "--offset", "0", "--json").out)
    assert len(earlier["redriven"]) == 1


def test_again_puts_a_record_back_once_however_often_it_was_set_aside(run: Run, kafka: FakeKafka) -> None:
    """Each dead letter of it holds the same record: all of them would double it with every call."""
    owner = partition_of("acme", PARTITIONS)
    for turn in range(3):
        done = json.loads(run("deadletters", "redrive", "--all", "--code", "undecodable", "--again", "--json").out)
        assert len(done["redriven"]) == 1
        back = kafka.records(TOPICS.events)[-1]
        record = Source(turn, NOW + 9 + turn, back.key, back.value, back.headers, partition=owner)
        kafka.log(TOPICS.deadletter, 1).append([dead_letter(record, Failure("undecodable", "still no JSON"))])
    assert len(kafka.records(TOPICS.events)) == 3


def test_a_record_that_was_set_aside_twice_goes_back_once(run: Run, kafka: FakeKafka) -> None:
    """Also by a second call: a worker that died left two dead letters of it, and the first call redrove one."""
    letter = dead_letter(Source(5, NOW, b"acme", b"{", partition=2), Failure("undecodable", "no JSON"))
    kafka.log(TOPICS.deadletter, 3).append([letter])
    for _ in range(2):
        assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 0
    assert len(kafka.records(TOPICS.events)) == 1


def test_one_is_shown_with_its_headers_and_its_value(run: Run, kafka: FakeKafka) -> None:
    """By its number, its place, or where it came from; JSON is laid out, as a person reads it."""
    event = {"source": "urn:shop", "subject": "acme", "data": {"state": "ajar"}}
    record = Source(8, NOW + 9, b"acme", json.dumps(event).encode(), [("trace", b"00-1")], partition=2)
    kafka.log(TOPICS.deadletter, 1).append([dead_letter(record, Failure("invalid_event", "data.state: is none"))])
    out = shown(run, "1")
    assert out == shown(run, "1:0") == shown(run, "sleep.events:2:8")
    assert out == shown(run, "sleep.deadletter:1:0")
    for part in (
        "source    urn:shop",
        "subject   acme",
        "place     1:0",
        "  trace: 00-1",
        '    "state": "ajar"',
        "data.state: is",
    ):
        assert part in out
    document = json.loads(shown(run, "1", "--json"))
    assert (document["source"], document["subject"], document["redriven"]) == ("urn:shop", "acme", False)
    assert json.loads(document["value"]) == event
    assert b64decode(document["value_base64"]) == record.value
    assert document["headers"] == [{"name": "trace", "value": "00-1"}]
    assert "source urn:shop, subject acme" in run("deadletters", "list", "--limit", "1").out


def test_a_binary_event_is_shown_with_the_source_of_its_headers(run: Run, kafka: FakeKafka) -> None:
    """Its value is its data alone."""
    record = Source(8, NOW + 9, None, b"{}", [("CE-Source", b"urn:shop"), ("ce_subject", b"acme"), ("x", None)])  # type: ignore[list-item]
    kafka.log(TOPICS.deadletter, 1).append([dead_letter(record, Failure("invalid_event", "no breaker"))])
    assert "no key, source urn:shop, subject acme" in run("deadletters", "list").out
    assert "  x: null" in shown(run, "1")


def test_nothing_that_others_wrote_acts_on_the_terminal(run: Run, kafka: FakeKafka) -> None:
    """Key, headers, value and message are escaped, also within JSON."""
    poison = "\x1b]0;owned\x07\x9b2J\u202e"
    value = json.dumps({"source": poison, "subject": poison}, ensure_ascii=False).encode()
    for offset, body in enumerate((value, poison.encode() + b"\xff", b"{\r\n\x08")):
        record = Source(offset, NOW + 9 + offset, poison.encode(), body, [(poison, poison.encode())], partition=2)
        kafka.log(TOPICS.deadletter, 1).append([dead_letter(record, Failure("undecodable", poison))])
    for out in (run("deadletters", "list").out, *(shown(run, number) for number in "123")):
        assert "\\x1b" in out
        assert not [character for character in out.replace("\n", "") if not character.isprintable()]


@pytest.mark.parametrize("which", ["0", "-1", "x", "1:2:3:4", "2:", "a b:1:2", "9" * 30])
def test_what_names_no_dead_letter_is_refused(run: Run, kafka: FakeKafka, which: str) -> None:
    """With what would name one."""
    outcome = run("deadletters", "list", f"--show={which}")
    assert (outcome.code, "--show takes a number of the list" in outcome.err) == (2, True)
    assert len(kafka.records(TOPICS.deadletter)) == 3


@pytest.mark.parametrize("which", ["4", "9:9", "sleep.events:9:9"])
def test_a_dead_letter_that_is_not_there_is_said_to_be_missing(run: Run, kafka: FakeKafka, which: str) -> None:
    """There are three."""
    outcome = run("deadletters", "list", "--show", which)
    assert (outcome.code, f"there is no dead letter {which}" in outcome.err) == (1, True)
    assert len(kafka.records(TOPICS.deadletter)) == 3


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
    monkeypatch.setattr(f"worker.recovery.redrive.{bound}", 2)
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
    monkeypatch.setattr("worker.adapters.kafka_producer.KafkaOutputs", lambda _: outputs)
    outcome = run("deadletters", "redrive", "--all", "--code", "undecodable")
    assert (outcome.code, "2:0 stays: it is no longer there" in outcome.out) == (1, True)


def test_one_is_named_by_its_place_and_some_by_their_code(run: Run, kafka: FakeKafka) -> None:
    """What was done is told."""
    one = json.loads(run("deadletters", "redrive", "--partition", "2", "--offset", "2", "--json").out)
    assert one == {"redriven": [{"place": "2:2", "topic": "sleep.events", "partition": 1}], "refused": [], "skipped": 0}
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
        ["--again"],
        ["--again", "--partition", "1", "--offset", "2"],
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
    assert (outcome.code, "ignored: 0:0 is not a dead letter" in outcome.err) == (0, True)


def test_a_kafka_that_does_not_take_them_is_told(run: Run, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some may be there, which the next attempt would send again."""

    async def away(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(FakeOutputs, "send", away)
    outcome = run("deadletters", "redrive", "--all")
    assert (outcome.code, "Kafka did not take all of them" in outcome.err) == (1, True)
    assert kafka.records(TOPICS.events) == []
