"""Topics as recovery reads them, through aiokafka's clients as fakes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError

from tests.support.records import Source
from tests.support.settings import settings_of
from tests.support.times import T
from worker.adapters.topic_reader import TopicReader, TopicReadError

TOPIC = "sleep.events"
SETTINGS = settings_of()


class Kafka:
    """Both clients at once: one partition with records 3, 4 and 7, of which a page holds two."""

    def __init__(self) -> None:
        self.records = [Source(offset, T, b"acme", b"{}") for offset in (3, 4, 7)]
        self.failure: KafkaError | None = None
        self.group: tuple[Any, ...] = (0, "sleep-worker", "Empty", "consumer", "", [])
        self.position_ = 0
        self.start_ = 3
        self.end = 9
        self.open = 0

    def __call__(self, **_: object) -> "Kafka":
        return self

    def trim(self, start: int) -> None:
        """Forget what lies before an offset, as retention does."""
        self.start_ = start
        self.records = [record for record in self.records if record.offset >= start]

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def start(self) -> None:
        self._answer()
        self.open += 1

    async def stop(self) -> None:
        self.open -= 1

    close = stop

    async def list_topics(self) -> list[str]:
        self._answer()
        return [TOPIC]

    async def describe_topics(self, _topics: list[str]) -> list[dict[str, Any]]:
        return [{"partitions": [{"partition": 0}]}]

    async def beginning_offsets(self, wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(wanted, self.start_)

    async def end_offsets(self, wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(wanted, 9)

    async def offsets_for_times(
        self, wanted: dict[TopicPartition, int]
    ) -> dict[TopicPartition, SimpleNamespace | None]:
        self._answer()
        assert min(wanted.values()) >= 0  # Kafka takes no negative time.
        found = {at: [record for record in self.records if record.timestamp >= time] for at, time in wanted.items()}
        return {at: SimpleNamespace(offset=records[0].offset) if records else None for at, records in found.items()}

    def assign(self, _wanted: list[TopicPartition]) -> None:
        self._answer()

    def seek(self, _at: TopicPartition, offset: int) -> None:
        self.position_ = offset

    async def position(self, _at: TopicPartition) -> int:
        return self.position_

    async def getmany(self, at: TopicPartition, **_: object) -> dict[TopicPartition, list[Source]]:
        await asyncio.sleep(0)
        page = [record for record in self.records if record.offset >= self.position_][:2]
        self.position_ = page[-1].offset + 1 if page else self.end
        return {at: page} if page else {}

    async def describe_consumer_groups(self, _groups: list[str]) -> list[Any]:
        self._answer()
        return [SimpleNamespace(groups=[self.group])]

    async def list_consumer_group_offsets(
        self, _group: str, *, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, Any]:
        self._answer()
        offsets = {(TOPIC, 0): 7, ("other", 2): 5}
        return {at: SimpleNamespace(offset=offsets.get(tuple(at), -1)) for at in partitions}


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """Kafka behind the reader."""
    fake = Kafka()
    monkeypatch.setattr("worker.adapters.topic_reader.AnyBytesConsumer", fake)
    monkeypatch.setattr("worker.adapters.topic_reader.AIOKafkaAdminClient", fake)
    return fake


async def test_a_range_is_read_page_by_page_and_told(kafka: Kafka) -> None:
    """Gaps and the end of the range are passed; both clients are closed."""
    passed: list[int] = []
    async with TopicReader(SETTINGS) as reader:
        assert await reader.bounds(TOPIC) == {0: (3, 9)}
        pages = [[record.offset for record in page] async for page in reader.read(TOPIC, 0, 3, 9, passed.append)]
        assert pages == [[3, 4], [7]]
        assert [[record.offset for record in page] async for page in reader.read(TOPIC, 0, 3, 4)] == [[3]]
    assert (sum(passed), kafka.open) == (6, 0)


async def test_a_client_that_does_not_stop_is_left(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told to; a command would else never show what it has read."""
    told: list[str] = []

    async def hang() -> None:
        told.append("stop")
        await asyncio.Event().wait()

    monkeypatch.setattr("worker.adapters.topic_reader._CLOSE_SECONDS", 0)
    monkeypatch.setattr(kafka, "close", hang)
    async with asyncio.timeout(30), TopicReader(SETTINGS):
        pass
    assert told == ["stop", "stop"]


async def test_a_time_is_found_in_a_topic(kafka: Kafka) -> None:
    """The first record of that time or later; where there is none, the end."""
    kafka.records[1].timestamp = kafka.records[2].timestamp = T + 5
    async with TopicReader(SETTINGS) as reader:
        assert await reader.offsets_at(TOPIC, T) == {0: 3}
        assert await reader.offsets_at(TOPIC, -1) == {0: 3}
        assert await reader.offsets_at(TOPIC, T + 1) == {0: 4}
        assert await reader.offsets_at(TOPIC, T + 6) == {0: 9}


async def test_a_time_is_found_by_reading_where_the_broker_looks_up_none(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded broker answers as if every record were earlier."""

    async def nothing(wanted: dict[TopicPartition, int]) -> dict[TopicPartition, None]:
        return dict.fromkeys(wanted)

    monkeypatch.setattr(kafka, "offsets_for_times", nothing)
    kafka.records = [Source(3, T, b"acme", b"{}"), Source(4, T + 5, b"acme", b"{}"), Source(8, T + 6, b"acme", b"{}")]
    async with TopicReader(SETTINGS) as reader:
        assert await reader.offsets_at(TOPIC, T + 1) == {0: 4}
        assert await reader.offsets_at(TOPIC, T - 1) == {0: 3}
        assert await reader.offsets_at(TOPIC, T + 7) == {0: 9}


async def test_a_broker_that_goes_away_while_a_time_is_sought_is_told(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its topics were listed before."""

    async def away(_wanted: object) -> None:
        raise KafkaConnectionError

    monkeypatch.setattr(kafka, "offsets_for_times", away)
    async with TopicReader(SETTINGS) as reader:
        with pytest.raises(TopicReadError, match="Kafka at kafka:9092 does not answer"):
            await reader.offsets_at(TOPIC, T)


async def test_who_is_in_the_group_and_what_was_applied(kafka: Kafka) -> None:
    """A rebalance counts as somebody; an absent offset says nothing."""
    async with TopicReader(SETTINGS) as reader:
        assert await reader.members() == 0
        kafka.group = (0, "sleep-worker", "PreparingRebalance", "consumer", "", [])
        assert await reader.members() == 1
        kafka.group = (0, "sleep-worker", "Stable", "consumer", "", [1, 2])
        assert await reader.members() == 2
        assert await reader.committed() == {0: 7}
        kafka.group = (GroupAuthorizationFailedError.errno, "sleep-worker", "", "", "", [])
        with pytest.raises(TopicReadError, match="does not say who is in group sleep-worker: GroupAuthorizationFailed"):
            await reader.members()


async def test_what_fails_is_told(kafka: Kafka) -> None:
    """An absent topic, and a broker that goes away at any time."""
    async with TopicReader(SETTINGS) as reader:
        with pytest.raises(TopicReadError, match=r"no topic sleep\.states; `sleepctl topics create`"):
            await reader.bounds("sleep.states")
        kafka.failure = KafkaConnectionError()
        for question in (reader.bounds(TOPIC), reader.members(), reader.committed()):
            with pytest.raises(TopicReadError, match="Kafka"):
                await question
        with pytest.raises(TopicReadError, match=r"sleep\.events partition 0 cannot be read"):
            await anext(reader.read(TOPIC, 0, 3, 9))
    with pytest.raises(TopicReadError, match="Kafka at kafka:9092 does not answer"):
        async with TopicReader(SETTINGS):
            pass


async def test_a_log_that_stands_still_is_told_and_not_waited_for(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka went away in the middle, or the log ends earlier than it did; where nothing is said, a person waits."""
    monkeypatch.setattr("worker.adapters.topic_reader._PATIENCE_SECONDS", 0.01)
    kafka.end = 8
    passed: list[int] = []
    async with TopicReader(SETTINGS) as reader:
        with pytest.raises(TopicReadError, match=r"partition 0 .*no record came for 0\.01 s at offset 8.*ended at 9"):
            [page async for page in reader.read(TOPIC, 0, 3, 9, passed.append)]
    assert sum(passed) == 5


async def test_a_log_that_is_cut_while_it_is_read_is_told(kafka: Kafka) -> None:
    """The client would begin anew, and yield records a second time."""
    async with TopicReader(SETTINGS) as reader:
        pages = reader.read(TOPIC, 0, 3, 9)
        await anext(pages)
        kafka.position_ = 0
        kafka.records = [Source(0, T, b"acme", b"{}")]
        with pytest.raises(TopicReadError, match=r"sleep\.events partition 0 was truncated .*: offset 5 is gone"):
            await anext(pages)


@pytest.mark.parametrize("start", [4, 7, 9])
async def test_a_log_that_is_trimmed_before_it_is_read_is_told(kafka: Kafka, start: int) -> None:
    """The client would go on behind what is gone, even where nothing is left."""
    kafka.trim(start)
    async with TopicReader(SETTINGS) as reader:
        with pytest.raises(TopicReadError, match=r"events partition 0 was trimmed .*: offset 3 is gone; run"):
            [page async for page in reader.read(TOPIC, 0, 3, 9)]


async def test_a_log_that_is_trimmed_while_it_is_read_is_told(kafka: Kafka) -> None:
    """What was read before is worth nothing without what is gone."""
    async with TopicReader(SETTINGS) as reader:
        pages = reader.read(TOPIC, 0, 3, 9)
        await anext(pages)
        kafka.trim(7)
        with pytest.raises(TopicReadError, match=r"events partition 0 was trimmed while it was read: offset 5 is gone"):
            await anext(pages)


async def test_a_topic_may_begin_with_a_hole(kafka: Kafka) -> None:
    """Compaction leaves some, and markers of transactions do; its start stays where it was."""
    kafka.records = kafka.records[1:]
    async with TopicReader(SETTINGS) as reader:
        assert [[record.offset for record in page] async for page in reader.read(TOPIC, 0, 3, 9)] == [[4, 7]]


async def test_dead_letters_that_are_trimmed_meanwhile_are_passed_over(kafka: Kafka) -> None:
    """Whoever wants one tells that it is no longer there."""
    kafka.trim(4)
    async with TopicReader(SETTINGS) as reader:
        pages = reader.read(SETTINGS.topics.deadletter, 0, 3, 9)
        assert [[record.offset for record in page] async for page in pages] == [[4, 7]]
