"""Ingress: only breaker events pass, with a time, to the partition of their tenant; the rest is set aside."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure
from schemas.names import Topics
from schemas.wire.cloudevents import STRUCTURED_HEADERS, decode
from schemas.wire.events import EVENT_MODELS, BreakerEvent
from tests.support.events import Document, breaker, cancel, event, mode, policy, rules, sleep, timer
from tests.support.fakes import settle
from tests.support.records import Source, source
from tests.support.times import T
from tests.unit.worker.compared_tenant import Tenant
from tests.unit.worker.forwarding import forward, forwarding
from worker.ingress.normalise import normalise
from worker.metrics import Metrics
from worker.ports import Output, OutputError

ISO = "2026-11-22T08:47:18.001Z"


class Sent:
    """Outputs that note what was sent where."""

    def __init__(self) -> None:
        self.topics = Topics.of("sleep")
        self.sent: list[tuple[str, int, list[Output]]] = []
        self.dead: list[tuple[int, list[Output]]] = []

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        self.sent.append((topic, partition, list(outputs)))
        return None

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        self.dead.append((partition, list(outputs)))


def emitted(document: Document, key: bytes | None = b"any", partition: int = 7) -> Source:
    """Return a record as an emitter writes it: its key and its partition say nothing."""
    return Source(3, T, key, json.dumps(document).encode(), (), "sleep.breakers", partition)


def passed(document: Document) -> BreakerEvent:
    """Return the event that comes out, read as the worker will read it."""
    normalised_ = normalise(emitted(document))
    assert not isinstance(normalised_, Failure)
    [normalised] = normalised_.events
    tenant, output = normalised.tenant, normalised.output
    assert output.key == tenant.encode()
    assert output.headers == STRUCTURED_HEADERS
    read = decode(output.key, output.value, output.headers)
    assert isinstance(read, BreakerEvent)
    assert normalised.claim == (read.data.breaker, read.data.instance)
    assert normalised.occurred_at == read.data.occurred_at
    return read


def test_a_breaker_event_passes_and_is_the_same_event() -> None:
    """Its id, source, subject and data; fields that nobody knows are left behind."""
    document = breaker("open", cause="timeouts", library="resilience4j", occurred_at=T - 5, tomorrow=1)
    read = passed(document | {"extension": "x"})
    assert (read.id, read.source, read.subject, read.time) == ("e-1", "test", "acme", None)
    assert read.data.model_dump() == {
        "breaker": "payments", "instance": "1", "state": "open", "occurred_at": T - 5, "cause": "timeouts",
        "library": "resilience4j",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "occurred_at"),
    [
        ({}, T),
        ({"time": ISO}, 1_795_337_238_001),
        ({"occurred_at": 5}, 5),
        ({"occurred_at": 5, "time": ISO}, 5),
        ({"occurred_at": 0}, 0),
    ],
)
def test_an_event_without_a_time_gets_the_source_records(more: dict[str, Any], occurred_at: int) -> None:
    """So that a repeat after a crash is stale or a renewal; a time of the emitter's goes first."""
    assert passed(breaker("open", **more)).data.occurred_at == occurred_at


@pytest.mark.parametrize("timestamp", [-1, -(1 << 62)])
def test_a_record_without_a_timestamp_gives_the_event_no_time(timestamp: int) -> None:
    """A producer may write -1 for none. It would stand for 1969, and be older than every other event."""
    normalised_ = normalise(replace(emitted(breaker("open")), timestamp=timestamp))
    assert not isinstance(normalised_, Failure)
    assert [normalised.occurred_at for normalised in normalised_.events] == [None]
    assert "occurred_at" not in json.loads(normalised_.events[0].output.value or b"")["data"]


async def test_a_batch_passes_whole_or_not_at_all() -> None:
    """JSON's batch format has no place in Kafka's binding, but SDKs read it there; one wrong event spoils it."""
    headers = [("Content-Type", b"Application/CloudEvents-Batch+JSON; charset=utf-8")]
    events = [breaker("open"), breaker("Half-Open", tenant="bolt")]
    sent, metrics = Sent(), Metrics()
    for batch in (events, [], [*events, breaker("ajar")]):
        record = Source(3, T, None, json.dumps(batch).encode(), headers, "sleep.breakers", 7)
        await forward(sent, [record], metrics=metrics)
    [(_, _, outputs)] = sent.sent
    assert [json.loads(output.value or b"")["data"]["state"] for output in outputs] == ["open", "half_open"]
    [(_, [dead])] = sent.dead
    assert b"event [2] of the batch: sleep.breaker.v1.data.state: " in dict(dead.headers)["sleep.error.message"]


def test_a_repeat_after_a_crash_changes_nothing() -> None:
    """What is published twice is the same twice, and the fold takes it once."""
    assert normalise(emitted(breaker("open"))) == normalise(emitted(breaker("open")))
    tenant = Tenant()
    opened, closed = (
        json.loads(normalised.events[0].output.value or b"")
        for normalised in (
            normalise(emitted(breaker("open"))),
            normalise(replace(emitted(breaker("closed")), timestamp=T + 1)),
        )
        if not isinstance(normalised, Failure)
    )
    for document in (opened, closed, opened, closed):
        tenant(document, T + 2)
    assert [row["code"] for row in tenant.rows if row["kind"] == "refusal"] == ["stale_event"]
    assert (tenant.state, tenant.known.version) == ("active", 2)


@pytest.mark.parametrize(
    "document", [sleep("op"), cancel("c", "op"), mode("m", "freeze"), policy("p", {}), rules({}), timer()]
)
def test_no_other_type_passes(document: Document) -> None:
    """Whoever may write there may command nobody."""
    normalised = normalise(emitted(document))
    assert isinstance(normalised, Failure)
    assert (normalised.code, normalised.ours) == ("not_a_breaker_event", False)
    assert document["type"] in normalised.message
    assert document["type"] in EVENT_MODELS


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (Source(0, T, None, b"{"), "undecodable"),
        (Source(0, T, None, None), "undecodable"),
        (Source(0, T, None, b" " * 65_537), "oversize"),
        (source(0, T, event("sleep.other.v1", {})), "unknown_type"),
        (source(0, T, breaker("ajar")), "invalid_event"),
        (source(0, T, breaker("open") | {"subject": "no/slash"}), "invalid_event"),
    ],
)
def test_bad_input_is_set_aside_with_its_code(record: Source, code: str) -> None:
    """As it is on the events topic."""
    normalised = normalise(record)
    assert isinstance(normalised, Failure)
    assert (normalised.code, normalised.ours) == (code, False)


async def test_each_tenants_events_go_to_its_partition_in_order() -> None:
    """Whatever partition the emitter chose."""
    outputs = Sent()
    tenants = [f"tenant-{number % 5}" for number in range(20)]
    await forward(
        outputs, [emitted(breaker("open", tenant=name, occurred_at=i)) for i, name in enumerate(tenants)], partitions=8
    )
    assert outputs.dead == []
    seen: dict[str, list[int]] = {}
    for topic, partition, sent in outputs.sent:
        assert topic == "sleep.events"
        for output in sent:
            document = json.loads(output.value or b"")
            assert partition == partition_of(document["subject"], 8)
            seen.setdefault(document["subject"], []).append(document["data"]["occurred_at"])
    assert seen == {name: [i for i, other in enumerate(tenants) if other == name] for name in set(tenants)}


async def test_what_is_set_aside_holds_nothing_up() -> None:
    """Dead letters follow what passes, with their own partition and offset."""
    outputs = Sent()
    records = [Source(1, T, b"k", b"{", (), "sleep.breakers", 7), emitted(breaker("open")), emitted(timer())]
    await forward(outputs, records)
    ((_, _, sent),) = outputs.sent
    assert len(sent) == 1
    ((partition, dead),) = outputs.dead
    assert partition == 7
    headers = [dict(letter.headers) for letter in dead]
    assert [header["sleep.error.code"] for header in headers] == [b"undecodable", b"not_a_breaker_event"]
    assert (headers[0]["sleep.error.topic"], headers[0]["sleep.error.offset"]) == (b"sleep.breakers", b"1")
    assert dead[0].value == b"{"


async def test_a_batch_of_nothing_but_a_bad_record_sends_its_dead_letter_alone() -> None:
    """From the partition that it came from."""
    outputs = Sent()
    await forward(outputs, [Source(1, T, b"k", b"{", (), "sleep.breakers", 5)])
    assert outputs.sent == []
    assert [partition for partition, _ in outputs.dead] == [5]


def test_what_our_decoder_trips_over_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stop the emitters that do right."""

    def fail(*_: object) -> BreakerEvent:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("schemas.formats.cloudevents.parse_all", fail)
    normalised = normalise(emitted(breaker("open")))
    assert isinstance(normalised, Failure)
    assert (normalised.code, normalised.ours) == ("decode_failed", True)


async def test_what_is_forwarded_and_what_is_set_aside_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By topic, and by whose fault it is: rubbish from outside our trust raises the same alert as any other."""
    metrics = Metrics()
    records = [emitted(breaker("open")), emitted(timer()), emitted(breaker("closed"))]
    await forward(Sent(), records, metrics=metrics)
    monkeypatch.setattr("schemas.formats.cloudevents.parse_all", lambda *_: 1 / 0)
    await forward(Sent(), [emitted(breaker("open"))], metrics=metrics)
    sample = metrics.registry.get_sample_value
    assert sample("sleep_worker_ingress_forwarded_total", {"topic": "sleep.breakers"}) == 2
    assert sample("sleep_worker_dead_letters_total", {"fault": "theirs"}) == 1
    assert sample("sleep_worker_dead_letters_total", {"fault": "ours"}) == 1


async def test_a_batch_taken_in_part_is_fetched_again_once_no_send_is_under_way() -> None:
    """What of it was sent late would stand behind what is sent next."""
    sent, go_on = Sent(), asyncio.Event()
    send = sent.send

    async def one_fails(topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        if partition == partition_of("tenant-0", 8):
            raise OutputError("no leader")
        await go_on.wait()
        return await send(topic, partition, outputs)

    sent.send = one_fails  # type: ignore[method-assign]  # one partition has no leader
    records = [emitted(breaker("open", tenant=f"tenant-{number}")) for number in range(8)]
    async with forwarding(sent, partitions=8) as forwarder:
        await forwarder.offer(*records)
        assert "KafkaError: no leader" not in forwarder.ingress.problems.values()
        go_on.set()
        await settle()
        assert forwarder.ingress.problems == {"sleep.breakers": "KafkaError: no leader"}
        assert forwarder.position() is None
    assert sent.sent
