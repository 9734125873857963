"""`sleepctl deadletters` with dead letters that each stand for a flood of records."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from schemas.kafka.source_record import UNREADABLE_BATCH, Failure, SourceRecord, Unreadable
from tests.support.fakes import FakeKafka, FakeOutputs
from tests.support.records import Source
from tests.support.times import NOW
from tests.unit.sleepctl.conftest import Run, shown
from tests.unit.sleepctl.fakes import TOPICS, FakeReader
from worker.fold.dead_letter import dead_letter
from worker.ingress.dead_letter_floods import LINGER_MS, DeadLetters
from worker.ports import Output

pytestmark = pytest.mark.usefixtures("installed")


def flood(kafka: FakeKafka, bad: list[int], count: int, *, waiting: DeadLetters | None = None) -> None:
    """Put records on the breakers topic, of which some are bad, and the one dead letter of those."""
    log = kafka.log(TOPICS.breakers, 1)
    log.append([Output(b"k", b"%d" % number, [("h", b"%d" % number)]) for number in range(count)])
    waiting = waiting or DeadLetters()
    for record in log.records:
        if record.offset in bad:
            waiting.add(record, Failure("undecodable", "no JSON"), 0)
    kafka.log(TOPICS.deadletter, 4).append(waiting.due(LINGER_MS))


BAD = [*range(100, 250), *range(300, 400), 410]


def put_back_of(kafka: FakeKafka, count: int) -> list[tuple[bytes | None, bytes]]:
    """Return the values and the first header of what came to the breakers topic after so many records."""
    return [(record.value, record.headers[0][1]) for record in kafka.log(TOPICS.breakers, 1).records[count:]]


def test_the_dead_letter_of_a_flood_says_how_many_records_it_stands_for(run: Run, kafka: FakeKafka) -> None:
    """It is found by the offset of each, and shows the first of them."""
    flood(kafka, BAD, 420)
    assert "sleep.breakers 1:100 and more, 251 records in all  key k, 3 bytes" in run("deadletters", "list").out
    out = shown(run, "sleep.breakers:1:399")
    assert out == shown(run, "sleep.breakers:1:410") == shown(run, "4:0")
    for part in ("records   251, of which the first is shown", "offsets   100-249,300-399,410", "  h: 100"):
        assert part in out
    assert run("deadletters", "list", "--show", "sleep.breakers:1:260").code == 1
    document = json.loads(shown(run, "4:0", "--json"))
    assert (document["records"], document["offsets"], document["offset"]) == (251, "100-249,300-399,410", 100)


def test_records_of_a_flood_are_read_from_their_topic_and_redriven_once(run: Run, kafka: FakeKafka) -> None:
    """In their order, with their headers, and marked as put back."""
    flood(kafka, BAD, 420)
    done = json.loads(run("deadletters", "redrive", "--all", "--code", "undecodable", "--json").out)
    assert {"place": "4:0", "topic": TOPICS.breakers, "partition": 1, "records": len(BAD)} in done["redriven"]
    assert put_back_of(kafka, 420) == [(b"%d" % number, b"4:0") for number in BAD]
    lines = run("deadletters", "list", "--code", "undecodable").out.splitlines()
    assert [line.endswith("(put back)") for line in lines] == [True, True]
    again = run("deadletters", "redrive", "--all", "--code", "undecodable")
    assert (again.code, again.out.splitlines()[0]) == (0, "0 records were put back, in their order")
    assert len(put_back_of(kafka, 420)) == len(BAD)
    named = run("deadletters", "redrive", "--partition", "4", "--offset", "0")
    assert (named.code, f"{len(BAD)} records were put back" in named.out) == (0, True)


@pytest.mark.parametrize(("trimmed", "lost"), [(350, 200), (411, 251), (420, 251)])
def test_of_a_flood_that_its_topic_no_longer_holds_it_is_said_how_many_are_lost(
    run: Run, kafka: FakeKafka, trimmed: int, lost: int
) -> None:
    """The others go back, once."""
    flood(kafka, BAD, 420)
    kafka.log(TOPICS.breakers, 1).trim(trimmed)
    for sent in (len(BAD) - lost, 0):
        outcome = run("deadletters", "redrive", "--all", "--code", "undecodable", "--json")
        done = json.loads(outcome.out)
        assert outcome.code == 1
        assert done["refused"] == [
            {
                "place": "4:0",
                "reason": f"{lost} of 251 records are lost: sleep.breakers partition 1 no longer holds them",
            }
        ]
        assert sum(back.get("records", 0) for back in done["redriven"]) == sent
    assert len(put_back_of(kafka, 420 - trimmed)) == len(BAD) - lost


def test_a_topic_that_was_made_anew_holds_none_of_a_flood(run: Run, kafka: FakeKafka) -> None:
    """Its records have the same offsets, and are others."""
    flood(kafka, BAD, 420)
    log = kafka.log(TOPICS.breakers, 1)
    log.records[:] = [replace(record, timestamp=record.timestamp + 1) for record in log.records]
    outcome = run("deadletters", "redrive", "--partition", "4", "--offset", "0")
    assert (outcome.code, "4:0 stays: 251 of 251 records are lost" in outcome.out) == (1, True)
    assert len(log.records) == 420


def test_a_redrive_of_a_flood_that_failed_in_the_middle_goes_on_where_it_ended(
    run: Run, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is noted as soon as it is back."""
    flood(kafka, BAD, 420)
    read, send, broken = FakeReader.read, FakeOutputs.send, [True]

    async def pages(
        reader: FakeReader, topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = id
    ) -> AsyncIterator[list[SourceRecord]]:
        async for records in read(reader, topic, partition, start, end, advance):
            for first in range(0, len(records), 60):
                yield records[first : first + 60]

    async def fail(outputs: FakeOutputs, topic: str, partition: int, records: list[Output]) -> int | None:
        if topic == TOPICS.breakers and records[0].value == b"340" and broken:
            raise OSError
        return await send(outputs, topic, partition, records)

    monkeypatch.setattr(FakeReader, "read", pages)
    monkeypatch.setattr(FakeOutputs, "send", fail)
    assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 1
    assert 0 < len(put_back_of(kafka, 420)) < len(BAD)
    broken.clear()
    assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 0
    assert [value for value, _ in put_back_of(kafka, 420)] == [b"%d" % number for number in BAD]


def test_a_record_that_two_dead_letters_stand_for_goes_back_once(run: Run, kafka: FakeKafka) -> None:
    """A worker that died in the middle of a flood set the first records aside twice."""
    flood(kafka, BAD[:200], 420)
    waiting = DeadLetters()
    for record in kafka.log(TOPICS.breakers, 1).records:
        if record.offset in BAD:
            waiting.add(record, Failure("undecodable", "no JSON"), 0)
    single = dead_letter(kafka.log(TOPICS.breakers, 1).records[405], Failure("undecodable", "no JSON"))
    kafka.log(TOPICS.deadletter, 5).append([*waiting.due(LINGER_MS), single, single])
    assert run("deadletters", "redrive", "--all", "--code", "undecodable").code == 0
    values = [value for value, _ in put_back_of(kafka, 420)]
    assert sorted(values, key=lambda value: int(value or b"")) == [b"%d" % number for number in sorted([*BAD, 405])]


def test_a_flood_that_no_client_can_send_stays_and_says_why(run: Run, kafka: FakeKafka) -> None:
    """Batches that cannot be read, and topics that are read no more."""
    waiting = DeadLetters()
    for offset in range(200):
        batch = Unreadable("sleep.breakers", 1, offset, offset, NOW, 1, None, b"x", (), Failure(UNREADABLE_BATCH, "x"))
        waiting.add(batch, batch.failure, 0)
        waiting.add(Source(offset, NOW, None, b"{", (), "payroll", 1), Failure("unknown_type", "x"), 0)
    kafka.log(TOPICS.deadletter, 4).append(waiting.due(LINGER_MS))
    out = run("deadletters", "redrive", "--all").out
    assert "4:0 stays: no record of its batch can be read" in out
    assert "4:1 stays: they came from payroll, which is not an ingress topic" in out
