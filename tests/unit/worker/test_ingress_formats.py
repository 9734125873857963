"""Ingress topics in the formats of libraries: what is forwarded, passed over, or becomes a dead letter."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.emitted import emitted, topic_format
from tests.support.fakes import FakeClock, FakeKafka, FakeOutputs
from tests.support.records import Source
from tests.support.times import NOW
from tests.unit.sleepctl.fakes import TOPICS
from tests.unit.worker.forwarding import BREAKERS, Forwarding, forwarding
from worker.ingress.dead_letter_floods import LINGER_MS
from worker.ingress.repeats import RENEWAL_MS
from worker.ingress.tenant_limit import ROOM
from worker.metrics import Metrics


@pytest.fixture
def kafka() -> FakeKafka:
    """A Kafka with nothing on it."""
    return FakeKafka(FakeClock(NOW))


def record(offset: int, value: bytes, key: bytes = b"pod-1", tenant: bytes = b"acme", later_ms: int = 0) -> Source:
    """Return a record of a library, with its tenant in a header."""
    return Source(offset, NOW + later_ms, key, value, [("tenant", tenant)], *BREAKERS)


def events(kafka: FakeKafka) -> list[Any]:
    """Return the events on the events topic."""
    return [json.loads(each.value or b"") for each in kafka.records(TOPICS.events)]


def states(kafka: FakeKafka) -> list[str]:
    """Return the states of these events."""
    return [event["data"]["state"] for event in events(kafka)]


def counted(metrics: Metrics) -> dict[str, float]:
    """Return the counts of what made no event, by reason."""
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return {
        sample.labels["reason"]: sample.value
        for sample in samples
        if sample.name == "sleep_worker_ingress_skipped_total"
    }


async def forward(kafka: FakeKafka, format_: str, *records: Source, metrics: Metrics | None = None) -> Forwarding:
    """Forward records of a topic in a format."""
    formats = {BREAKERS.topic: topic_format(format_)}
    async with forwarding(FakeOutputs(kafka, TOPICS), formats=formats, metrics=metrics) as forwarder:
        await forwarder.offer(*records)
        await forwarder.advance(2 * LINGER_MS / 1_000)
        return forwarder


@pytest.mark.parametrize("format_", ["resilience4j", "opossum", "gobreaker", "envoy", "hystrix"])
async def test_a_topic_is_read_in_the_format_of_its_setting(kafka: FakeKafka, format_: str) -> None:
    """What comes out is an event of ours with a time, an id that names the record, and the library."""
    records = [record(offset, each.value, each.key) for offset, each in enumerate(emitted(format_))]
    await forward(kafka, format_, *records)
    assert kafka.records(TOPICS.deadletter) == []
    for event in events(kafka):
        assert (event["type"], event["subject"], event["data"]["library"]) == ("sleep.breaker.v1", "acme", format_)
        assert event["data"]["occurred_at"] > 0
    assert (events(kafka)[0]["source"], events(kafka)[0]["id"].count(":")) == ("/sleep.breakers", 2)


async def test_a_state_without_a_time_has_that_of_its_record(kafka: FakeKafka) -> None:
    """So that what is forwarded again after a crash is stale or a renewal."""
    await forward(kafka, "opossum", record(0, emitted("opossum")[0].value, later_ms=7))
    assert events(kafka)[0]["data"]["occurred_at"] == NOW + 7


async def test_a_record_of_another_shape_is_a_dead_letter_that_names_it(kafka: FakeKafka) -> None:
    """The format and the field."""
    await forward(kafka, "envoy", record(0, b'{"action": "DRAIN"}'))
    [letter] = kafka.records(TOPICS.deadletter)
    headers = dict(letter.headers)
    assert (headers["sleep.error.code"], headers["sleep.error.message"]) == (
        b"invalid_event",
        b"envoy: action: must be EJECT or UNEJECT",
    )


async def test_what_is_no_transition_is_counted_and_left_behind(kafka: FakeKafka) -> None:
    """It is no dead letter, and holds up nothing."""
    metrics = Metrics()
    calls = [record(offset, each.value) for offset, each in enumerate(emitted("resilience4j")[:2])]
    forwarder = await forward(kafka, "resilience4j", *calls, metrics=metrics)
    assert (events(kafka), kafka.records(TOPICS.deadletter), forwarder.position()) == ([], [], 2)
    assert counted(metrics) == {"no_transition": 2}


async def test_alerts_left_out_are_counted_and_logged_once(kafka: FakeKafka) -> None:
    """One line a batch, whoever sends how many webhooks."""
    metrics = Metrics()
    webhook = emitted("alertmanager")[0].document | {"truncatedAlerts": 3}
    records = [record(offset, json.dumps(webhook).encode()) for offset in range(2)]
    with capture_logs() as logs:
        await forward(kafka, "alertmanager", *records, metrics=metrics)
    assert [(line["event"], line["alerts"]) for line in logs if line["event"] == "alerts_truncated"] == [
        ("alerts_truncated", 6)
    ]
    assert counted(metrics) == {"truncated": 6, "no_tenant": 2}
    assert [event["subject"] for event in events(kafka)] == ["acme", "globex"] * 2


async def test_a_stream_of_levels_is_forwarded_as_changes_and_renewals(kafka: FakeKafka) -> None:
    """Two samples a second for 12 s, of which the first 2 s are closed."""
    metrics = Metrics()
    closed, opened = (emitted("hystrix")[index].document for index in (0, 2))
    formats = {BREAKERS.topic: topic_format("hystrix")}
    async with forwarding(FakeOutputs(kafka, TOPICS), formats=formats, metrics=metrics) as forwarder:
        for offset in range(24):
            at = NOW + offset * 500
            sample = (closed if offset < 4 else opened) | {"currentTime": at}
            await forwarder.offer(record(offset, json.dumps(sample).encode(), later_ms=offset * 500))
            await forwarder.advance(0.5)
        assert forwarder.position() == 24
    assert states(kafka) == ["closed", "open"]
    assert counted(metrics) == {"repeat": 22}


async def test_a_renewal_passes_in_each_ten_seconds(kafka: FakeKafka) -> None:
    """Long before a third of the shortest usual lease."""
    opened = emitted("hystrix")[2].document
    formats = {BREAKERS.topic: topic_format("hystrix")}
    async with forwarding(FakeOutputs(kafka, TOPICS), formats=formats) as forwarder:
        for offset in range(3):
            sample = json.dumps(opened | {"currentTime": NOW + offset * RENEWAL_MS}).encode()
            await forwarder.offer(record(offset, sample, later_ms=offset * RENEWAL_MS))
            await forwarder.advance(RENEWAL_MS / 1_000)
    assert states(kafka) == ["open"] * 3


async def test_changes_are_no_repeats_however_fast(kafka: FakeKafka) -> None:
    """A library that reports changes repeats itself only on purpose."""
    [_, _, opened, *_] = emitted("resilience4j")
    await forward(kafka, "resilience4j", record(0, opened.value), record(1, opened.value))
    assert states(kafka) == ["open", "open"]


async def test_a_level_that_found_no_room_is_not_remembered(kafka: FakeKafka) -> None:
    """It became a dead letter, so its next repeat has to pass."""
    opened = emitted("hystrix")[2].document
    formats = {BREAKERS.topic: topic_format("hystrix")}
    async with forwarding(FakeOutputs(kafka, TOPICS), formats=formats, limit=1) as forwarder:

        def sample(offset: int, name: str) -> Source:
            return record(offset, json.dumps(opened | {"name": name, "currentTime": NOW}).encode())

        await forwarder.offer(*(sample(offset, f"b-{offset}") for offset in range(ROOM + 2)))
        await forwarder.advance(2.5)
        assert len(kafka.records(TOPICS.deadletter)) == 1
        await forwarder.offer(sample(ROOM + 2, f"b-{ROOM + 1}"))
        await forwarder.advance(ROOM + 2)
    assert events(kafka)[-1]["data"]["breaker"] == f"b-{ROOM + 1}"
