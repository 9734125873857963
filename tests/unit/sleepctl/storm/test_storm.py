"""`sleepctl storm`: its mix, its rate, its bounds, and what it leaves."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.domain.policy import InvalidDocumentError
from schemas.wire.cloudevents import decode
from schemas.wire.events import BreakerEvent
from sleepctl.io.kafka import Appended
from sleepctl.storm import load
from sleepctl.storm.load import EMBEDDED_EVENTS, EMBEDDED_RATE, Load, Sent
from sleepctl.storm.mix import Mix, Storm, parse_mix
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import FakeLog


class Topic(FakeLog):
    """A topic that says who stamped its records; it may be slow, or refuse from some event on."""

    def __init__(self, *, stamped: bool = True, refuses_after: int = 10**9) -> None:
        super().__init__(4)
        self._stamped = stamped
        self._refuses_after = refuses_after
        self.open = asyncio.Event()
        self.open.set()

    async def appended(self, topic: str, partition: int, key: bytes | None, value: bytes) -> Appended:
        await self.open.wait()
        if len(self.records) >= self._refuses_after:
            raise CommandError("the broker is away")
        return Appended(await self.append(topic, partition, key, value), self._stamped)

    def events(self) -> list[BreakerEvent]:
        events = [decode(key, value, ()) for _, _, key, value in self.records]
        assert all(isinstance(event, BreakerEvent) for event in events)
        return events  # type: ignore[return-value]  # checked above


class Time:
    """A clock that pauses move; tasks run meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0

    def seconds(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


def _send(topic: Topic, rate: float, seconds: float, *, calm: bool = True, **mix: Any) -> tuple[Sent, list[int]]:  # noqa: ANN401
    moved: list[int] = []
    time = Time()
    storm = Storm(parse_mix(mix), random.Random(1))

    async def send() -> Sent:
        return await Load(topic, "t", moved.append, time.seconds, time.pause).send(storm, rate, seconds, calm=calm)

    return asyncio.run(send()), moved


def test_so_many_events_are_sent_in_so_many_seconds() -> None:
    """And the bar moves once for each."""
    topic = Topic()
    sent, moved = _send(topic, 200, 5, calm=False)
    assert (sent.sent, sent.failed, sent.calmed, sent.capped) == (1_000, 0, 0, False)
    assert 4.9 <= sent.seconds <= 5.1
    assert sum(moved) == len(topic.records) == 1_000


def test_at_the_end_every_breaker_is_closed() -> None:
    """So that no tenant sleeps on because of the load."""
    topic = Topic()
    sent, _ = _send(topic, 200, 1, tenants=20)
    last = {(event.subject, event.data.breaker, event.data.instance): event.data.state for event in topic.events()}
    assert set(last.values()) == {"closed"}
    assert 0 < sent.calmed == len(topic.records) - sent.sent


def test_events_follow_the_mix() -> None:
    """Names, breakers, instances and weights; each on the tenant's partition."""
    topic = Topic()
    _send(topic, 2_000, 1, calm=False, prefix="x-", tenants=3, breakers=1, instances=1, states={"open": 1, "closed": 3})
    events = topic.events()
    assert {event.subject for event in events} == {"x-0", "x-1", "x-2"}
    assert {(event.data.breaker, event.data.instance) for event in events} == {("b0", "i0")}
    counts = Counter(event.data.state for event in events)
    assert counts.keys() == {"open", "closed"}
    assert 0.2 < counts["open"] / len(events) < 0.3
    assert len({(partition, key) for _, partition, key, _ in topic.records}) == 3


def test_the_same_seed_gives_the_same_events() -> None:
    """So a load can be repeated."""
    storms = [Storm(Mix(), random.Random(7)) for _ in range(2)]
    assert [storms[0].next() for _ in range(50)] == [storms[1].next() for _ in range(50)]


def test_the_embedded_broker_gets_less() -> None:
    """It keeps few records, and a lane stops when records are gone before they are read."""
    sent, _ = _send(Topic(stamped=False), 5_000, 2, calm=False)
    assert sent.capped
    assert sent.sent == pytest.approx(EMBEDDED_RATE * 2, rel=0.06)
    sent, _ = _send(Topic(stamped=False), 400, 1_000, calm=False)
    assert (sent.capped, sent.sent) == (True, EMBEDDED_EVENTS)


def test_a_broker_that_is_slow_bounds_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storm falls behind, and memory does not grow."""
    monkeypatch.setattr(load, "MOST_WAITING", 50)
    topic = Topic()
    waiting: list[int] = []
    time = Time()

    async def pause(seconds: float) -> None:
        topic.open.clear()
        waiting.append(len(asyncio.all_tasks()) - 1)
        await time.pause(seconds)
        if time.now > 0.9:
            topic.open.set()

    async def send() -> Sent:
        storm = Storm(Mix(), random.Random(1))
        return await Load(topic, "t", id, time.seconds, pause).send(storm, 1_000, 1, calm=False)

    sent = asyncio.run(send())
    assert max(waiting) <= 50
    assert 50 <= sent.sent < 1_000


def test_events_without_an_acknowledgement_are_counted() -> None:
    """With the first reason."""
    sent, _ = _send(Topic(refuses_after=10), 100, 1, calm=False)
    assert (sent.sent, sent.failed, sent.failure) == (10, 90, "the broker is away")


def test_a_first_event_that_is_refused_ends_it() -> None:
    """Nothing else would pass."""
    with pytest.raises(CommandError, match="the broker is away"):
        _send(Topic(refuses_after=0), 100, 1)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"tenants": 0}, "tenants"),
        ({"prefix": "a b"}, "prefix"),
        ({"states": {"asleep": 1}}, "states.asleep"),
        ({"states": {}}, "states"),
        ({"states": {"open": 0}}, "states"),
        ({"rate": 1}, "rate"),
        ([], "document"),
    ],
)
def test_a_wrong_mix_is_refused_by_its_field(document: object, field: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidDocumentError) as error:
        parse_mix(document)
    assert field in str(error.value)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Topic:
    """Kafka, in memory, behind the command. Pauses take no time."""
    request.getfixturevalue("installed")
    made = Topic()
    monkeypatch.setattr("sleepctl.commands.storm.KafkaLog", lambda _: made)
    return made


def test_the_command_reports(run: Run, topic: Topic) -> None:
    """To the topic of breakers, or with --direct to that of events."""
    outcome = run("storm", "--rate", "200", "--seconds", "0.1", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert (document["topic"], document["failed"], document["capped"]) == ("sleep.breakers", 0, False)
    outcome = run("storm", "--rate", "200", "--seconds", "0.1", "--direct", "--leave")
    assert " events on sleep.events in " in outcome.out
    assert "then 0 breakers were closed" in outcome.out
    assert {name for name, *_ in topic.records} == {"sleep.breakers", "sleep.events"}


def test_a_cap_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, topic: Topic) -> None:
    """On stderr; the command succeeds."""
    monkeypatch.setattr(topic, "_stamped", False)
    outcome = run("storm", "--rate", "1000", "--seconds", "0.1")
    assert (outcome.code, "note: the embedded broker takes at most 500 events a second" in outcome.err) == (0, True)


def test_failed_events_fail_the_command(run: Run, monkeypatch: pytest.MonkeyPatch, topic: Topic) -> None:
    """With the reason."""
    monkeypatch.setattr(topic, "_refuses_after", 1)
    outcome = run("storm", "--rate", "200", "--seconds", "0.1", "--leave")
    assert outcome.code == 1
    assert "events were not acknowledged: the broker is away" in outcome.err


@pytest.mark.usefixtures("topic")
@pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ('{"tenants": "many"}', "tenants: ")])
def test_a_wrong_file_is_named(run: Run, tmp_path: Path, content: str, message: str) -> None:
    """With its field."""
    file = tmp_path / "mix.json"
    file.write_text(content)
    outcome = run("storm", "--mix", str(file))
    assert outcome.code == 2
    assert str(file) in outcome.err
    assert message in outcome.err


def test_a_mix_is_read_from_a_file(run: Run, tmp_path: Path, topic: Topic) -> None:
    """Absent fields are the built-in ones."""
    file = tmp_path / "mix.json"
    file.write_text('{"prefix": "load-", "tenants": 1}')
    assert run("storm", "--mix", str(file), "--rate", "100", "--seconds", "0.1").code == 0
    assert {event.subject for event in topic.events()} == {"load-0"}
