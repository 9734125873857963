"""`sleepctl topics`."""

import json
from typing import Self

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.unit.sleepctl.conftest import Run
from worker.adapters.kafka_topics import Finding, TopicsError

pytestmark = pytest.mark.usefixtures("installed")


class FakeAdmin:
    """A topics' administrator with prepared answers."""

    def __init__(self, answer: list[str] | Exception) -> None:
        self._answer = answer

    async def __aenter__(self) -> Self:
        if isinstance(self._answer, KafkaConnectionError):
            raise self._answer
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def create(self) -> list[str]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def check(self) -> list[Finding]:
        return [Finding(text, stops="shorter" not in text) for text in await self.create()]


def _put(monkeypatch: pytest.MonkeyPatch, answer: list[str] | Exception) -> None:
    monkeypatch.setattr("sleepctl.commands.topics.TopicAdmin", lambda _: FakeAdmin(answer))


def test_create_names_what_it_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a topic."""
    _put(monkeypatch, ["sleep.events", "sleep.breakers"])
    assert run("topics", "create").out == "created sleep.events\ncreated sleep.breakers\n"
    assert json.loads(run("topics", "create", "--json").out) == {
        "created": ["sleep.events", "sleep.breakers"],
        "notes": [],
    }


def test_create_says_what_disk_space_the_states_take(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not compacted at once, so that a replay knows where its range begins."""
    _put(monkeypatch, ["sleep.states"])
    out = run("topics", "create").out
    assert out.startswith(
        "created sleep.states\nnote: sleep.states keeps every state for 7 days (min.compaction.lag.ms)"
    )
    assert "GB on each replica (SLEEP_REPLICATION is 1) for each state published a second" in out
    [note] = json.loads(run("topics", "create", "--json").out)["notes"]
    assert f"note: {note}\n" in out


def test_create_says_where_nothing_was_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a success."""
    _put(monkeypatch, [])
    outcome = run("topics", "create")
    assert outcome.code == 0
    assert "all topics exist already" in outcome.out


def test_check_is_content_with_good_topics(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both forms."""
    _put(monkeypatch, [])
    assert run("topics", "check").out == "all topics are as required\n"
    assert json.loads(run("topics", "check", "--json").out) == {"ok": True, "findings": [], "warnings": []}


def test_check_tells_what_is_only_weaker_than_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no failure."""
    _put(monkeypatch, ["topic a keeps a shorter time"])
    outcome = run("topics", "check")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "weaker than required: topic a keeps a shorter time\nWarnings only; workers will start\n"
    assert json.loads(run("topics", "check", "--json").out) == {
        "ok": True,
        "findings": [],
        "warnings": ["topic a keeps a shorter time"],
    }


def test_check_exits_with_1_and_names_each_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, and in the document."""
    _put(monkeypatch, ["topic a is missing", "topic b has 3 partitions"])
    outcome = run("topics", "check", "--json")
    assert outcome.code == 1
    assert outcome.err == "sleepctl: topic a is missing; topic b has 3 partitions\n"
    assert json.loads(outcome.out)["ok"] is False


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            KafkaConnectionError("Unable to bootstrap from [<AddressFamily.AF_INET: 2>]"),
            "Kafka at broker:9092 does not answer; is it running",
        ),
        (TopicsError("topic x was not created"), "sleepctl: topic x was not created\n"),
    ],
)
def test_a_kafka_that_refuses_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    """With exit status 1."""
    _put(monkeypatch, error)
    outcome = run("topics", "create")
    assert outcome.code == 1
    assert message in outcome.err
    assert "AddressFamily" not in outcome.err
    assert outcome.err.count("\n") == 1
