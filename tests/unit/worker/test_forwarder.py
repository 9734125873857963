"""A forwarder: what it publishes when, where it would go on after a crash, and what it says meanwhile."""

import asyncio
import json
import random
from typing import Any

import pytest
from faust.types import TP
from structlog.testing import capture_logs

from tests.support.events import Document, breaker
from tests.support.fakes import FakeClock, FakeKafka, FakeOutputs, settle
from tests.support.records import Source
from tests.support.times import NOW
from tests.unit.sleepctl.fakes import TOPICS
from tests.unit.worker.forwarding import BREAKERS, forwarding
from worker.ingress.dead_letter_floods import LINGER_MS, MOST_RECORDS
from worker.ingress.tenant_limit import ROOM
from worker.metrics import Metrics
from worker.partition.fetch_buffer import FetchedBatch
from worker.recovery.dead_letters import DeadLetter

RUBBISH = b"rubbish"


@pytest.fixture
def kafka() -> FakeKafka:
    """A Kafka with nothing on it."""
    return FakeKafka(FakeClock(NOW))


@pytest.fixture
def outputs(kafka: FakeKafka) -> FakeOutputs:
    """The worker's producer."""
    return FakeOutputs(kafka, TOPICS)


def record(offset: int, document: Document | bytes) -> Source:
    """Return a record of the ingress topic; its time is later by its offset."""
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Source(offset, NOW + offset, None, value, (), *BREAKERS)


def published(kafka: FakeKafka) -> list[Any]:
    """Return the events on the events topic."""
    return [json.loads(record.value or b"") for record in kafka.records(TOPICS.events)]


def letters(kafka: FakeKafka) -> list[DeadLetter]:
    """Return the dead letters."""
    return [DeadLetter.of(record) for record in kafka.records(TOPICS.deadletter)]


async def test_nothing_is_behind_it_before_it_is_published(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """Events at once, dead letters when no more of their code come."""
    async with forwarding(outputs) as forwarder:
        release = outputs.faults.hold("send")
        await forwarder.offer(record(0, breaker("open")), record(1, RUBBISH), record(2, breaker("closed")))
        assert forwarder.position() is None
        release.set()
        await settle()
        assert (len(published(kafka)), letters(kafka), forwarder.position()) == (2, [], 1)
        await forwarder.advance(LINGER_MS / 1_000)
        assert ([letter.value for letter in letters(kafka)], forwarder.position()) == ([RUBBISH], 3)


async def test_it_waits_for_a_kafka_that_is_away_and_says_so_once(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """It tries ever less often."""
    outputs.faults.down.add("send")
    async with forwarding(outputs) as forwarder:
        with capture_logs() as logs:
            await forwarder.offer(record(0, breaker("open")))
            await forwarder.advance(60)
            assert forwarder.ingress.problems == {"sleep.breakers": "KafkaError: kafka is away"}
            assert forwarder.position() is None
            outputs.faults.heal()
            await forwarder.advance(5)
        assert [(line["event"], line["topic"], line["partition"]) for line in logs] == [("ingress_waiting", *BREAKERS)]
        assert (len(published(kafka)), forwarder.position(), forwarder.ingress.problems) == (1, 1, {})


@pytest.mark.parametrize("defect", ["worker.ingress.normalise._normal", "worker.ingress.forwarder.partition_of"])
async def test_it_does_not_die_of_a_defect_of_ours_and_says_so(
    kafka: FakeKafka, outputs: FakeOutputs, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    """The batch is tried again, and nothing of it is lost or doubled."""
    async with forwarding(outputs) as forwarder:
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(defect, lambda *_: 1 / 0)
            await forwarder.offer(record(0, breaker("open")), record(1, RUBBISH))
            await forwarder.advance(20)
            assert forwarder.ingress.problems == {
                "sleep.breakers": "a batch could not be forwarded: ZeroDivisionError('division by zero'); see the log"
            }
        await forwarder.advance(7)
        assert [line["event"] for line in logs] == ["ingress_failed"]
        assert (len(published(kafka)), len(letters(kafka))) == (1, 1)
        assert (forwarder.position(), forwarder.ingress.problems) == (2, {})


async def test_what_it_waits_for_is_said_until_it_ends(outputs: FakeOutputs) -> None:
    """A partition that has moved on leaves no finding behind, and its end waits for no Kafka."""
    outputs.faults.down.add("send")
    async with forwarding(outputs) as forwarder:
        await forwarder.offer(record(0, breaker("open")))
        assert forwarder.ingress.problems
        await forwarder.ingress.end()
        assert forwarder.ingress.problems == {}
        assert not forwarder.ingress.open(BREAKERS)


async def test_partitions_of_a_topic_do_not_wait_for_one_another(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """The dead letters of one cannot be sent, say."""
    other = TP(BREAKERS.topic, 2)
    async with forwarding(outputs) as forwarder:
        await forwarder.ingress.assign([BREAKERS, other], 1)
        outputs.faults.down.add("dead_letters")
        await forwarder.offer(record(0, RUBBISH))
        await forwarder.advance(5)
        forwarder.tp = other
        await forwarder.offer(record(0, breaker("open")))
        assert (len(published(kafka)), forwarder.position()) == (1, 1)
        assert forwarder.ingress.problems == {"sleep.breakers": "KafkaError: kafka is away"}


async def test_others_have_their_turn_while_a_batch_is_read(outputs: FakeOutputs) -> None:
    """The lanes of the process run in the same loop; floods on two partitions take no more of it than one."""
    turns = 0

    async def lane() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with forwarding(outputs) as forwarder:
        other = TP(BREAKERS.topic, 2)
        await forwarder.ingress.assign([BREAKERS, other], 1)
        for tp in (BREAKERS, other):
            forwarder.ingress.offer(tp, FetchedBatch(1, [record(number, RUBBISH) for number in range(2_000)]))
        running = asyncio.create_task(lane())
        while forwarder.ingress.position(BREAKERS) is None or forwarder.ingress.position(other) is None:
            await asyncio.sleep(0)
        running.cancel()
    assert turns >= 40


async def test_a_flood_is_one_dead_letter_over_many_batches(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """With its count in the metrics, and one line in the log."""
    metrics = Metrics()
    async with forwarding(outputs, metrics=metrics) as forwarder:
        with capture_logs() as logs:
            for begin in range(0, 20_000, 2_000):
                await forwarder.offer(*(record(begin + number, RUBBISH) for number in range(2_000)))
                await forwarder.advance(0.5)
            assert (letters(kafka), forwarder.position()) == ([], 0)
            await forwarder.advance(LINGER_MS / 1_000)
        [letter] = letters(kafka)
        assert (letter.offset, letter.value, forwarder.position()) == (0, RUBBISH, 20_000)
    sample = metrics.registry.get_sample_value
    labels = {"code": "undecodable", "topic": "sleep.breakers"}
    assert sample("sleep_worker_dead_letters_total", {"fault": "theirs"}) == 20_000
    assert sample("sleep_worker_set_aside_total", labels) == 20_000
    assert [(line["event"], line["records"]) for line in logs] == [("record_set_aside", "20000")]


async def test_a_record_on_which_our_own_code_failed_has_a_dead_letter_of_its_own(
    kafka: FakeKafka, outputs: FakeOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: each may be good, and is looked at one by one."""
    monkeypatch.setattr("schemas.formats.cloudevents.parse_all", lambda *_: 1 / 0)
    async with forwarding(outputs) as forwarder:
        await forwarder.offer(*(record(number, breaker("open")) for number in range(3 * MOST_RECORDS)))
        assert [letter.code for letter in letters(kafka)] == ["decode_failed"] * 3 * MOST_RECORDS
        assert forwarder.position() == 3 * MOST_RECORDS


async def test_a_tenant_above_its_limit_waits_and_no_other_does(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """Its last state is published, and the position stays where the first waiting event begins."""
    metrics = Metrics()
    async with forwarding(outputs, limit=10, metrics=metrics) as forwarder:
        flood = [record(number, breaker("open" if number % 2 else "closed")) for number in range(1_000)]
        await forwarder.offer(*flood, record(1_000, breaker("open", tenant="globex")))
        records = published(kafka)
        assert [event["subject"] for event in records] == ["acme"] * 10 + ["globex"]
        assert forwarder.position() == 10
        sample = metrics.registry.get_sample_value
        labels = {"topic": "sleep.breakers"}
        assert sample("sleep_worker_ingress_waiting", labels) == 1
        assert sample("sleep_worker_ingress_delayed_total", labels) == 1
        assert sample("sleep_worker_ingress_replaced_total", labels) == 989
        await forwarder.advance(1)
        *_, last = published(kafka)
        assert (last["data"]["state"], last["data"]["occurred_at"]) == ("open", NOW + 999)
        assert (len(published(kafka)), forwarder.position()) == (12, 1_001)
        assert sample("sleep_worker_ingress_waiting", labels) == 0
        assert sample("sleep_worker_ingress_forwarded_total", labels) == 12


async def test_what_finds_no_room_to_wait_is_set_aside_as_one_flood(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """Every event comes from another instance, more than a tenant has claims; memory stays as it is."""
    count = 3 * ROOM
    async with forwarding(outputs, limit=1) as forwarder:
        await forwarder.offer(*(record(number, breaker("open", instance=f"i-{number}")) for number in range(count)))
        await forwarder.advance(LINGER_MS / 1_000)
        [letter] = letters(kafka)
        assert (letter.code, letter.offset) == ("tenant_limit", ROOM + 1)
        assert "more than 1 events a second" in letter.message
        await forwarder.advance(2 * ROOM)
        assert len(published(kafka)) == ROOM + 1
        assert forwarder.position() == count


async def test_whenever_it_dies_its_successor_loses_nothing(kafka: FakeKafka, outputs: FakeOutputs) -> None:
    """The last state of each breaker is published, and each bad record is in a dead letter."""
    chance = random.Random(13)
    log: list[Source] = []
    for offset in range(4_000):
        tenant, instance = chance.choice(("acme", "globex")), str(chance.randrange(20))
        document = breaker(chance.choice(("open", "closed")), tenant=tenant, instance=instance)
        log.append(record(offset, RUBBISH if chance.random() < 0.3 else document))
    position = 0
    for life in range(30):
        async with forwarding(outputs, limit=5) as forwarder:
            at = position
            for _ in range(1_000 if life == 29 else chance.randrange(10)):
                if at < len(log):
                    batch = log[at : at + chance.randrange(1, 300)]
                    await forwarder.offer(*batch)
                    at += len(batch)
                await forwarder.advance(chance.random() * 2)
                position_ = forwarder.position()
                assert position_ is None or position <= position_ <= at
                position = position if position_ is None else position_
    assert position == len(log)
    expected = {
        (event["subject"], event["data"]["instance"]): (event["data"]["state"], source.timestamp)
        for source in log
        if source.value != RUBBISH
        for event in [json.loads(source.value or b"")]
    }
    latest: dict[tuple[str, str], tuple[str, int]] = {}
    for event in published(kafka):
        key, at = (event["subject"], event["data"]["instance"]), event["data"]["occurred_at"]
        if key not in latest or at >= latest[key][1]:
            latest[key] = event["data"]["state"], at
    assert latest == expected
    listed: set[int] = set()
    for letter in kafka.records(TOPICS.deadletter):
        headers = dict(letter.headers)
        for part in headers.get("sleep.error.offsets", headers["sleep.error.offset"]).decode().split(","):
            first, _, last = part.partition("-")
            listed.update(range(int(first), int(last or first) + 1))
    assert listed == {source.offset for source in log if source.value == RUBBISH}
