"""Every two seconds the topics' partitions are counted, and the producer is told what is not fit."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from structlog.testing import capture_logs

from schemas.kafka.topic_check import TopicHealth
from schemas.names import Topics
from tests.support.fakes import FakeClock, settle
from worker.ports import OutputError
from worker.runtime.topic_watch import TopicWatch

GOOD = dict.fromkeys(Topics.of("sleep"), 8)


class _Outputs:
    """Tells what the test has laid out."""

    def __init__(self) -> None:
        self.topics = Topics.of("sleep")
        self.unfit: Mapping[str, str] = {}
        self.answer: dict[str, int] | Exception = GOOD

    async def partition_counts(self) -> dict[str, int]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class _Rig:
    """A watch that runs, what it looks at, and its clock."""

    def __init__(self) -> None:
        self.outputs = _Outputs()
        self.clock = FakeClock()
        self.watch = TopicWatch(self.outputs, 8, self.clock)
        self.task = asyncio.create_task(self.watch.run())

    async def look(self, answer: dict[str, int] | Exception) -> None:
        self.outputs.answer = answer
        self.clock.wake(self.clock.now() + 2_000)
        await settle()


@pytest.fixture
async def rig() -> AsyncIterator[_Rig]:
    """A watch that has looked once."""
    rig = _Rig()
    await settle()
    yield rig
    rig.task.cancel()
    await asyncio.wait([rig.task])


async def test_what_is_wrong_is_told_to_the_producer_until_it_is_right(rig: _Rig) -> None:
    """And logged once."""
    assert rig.watch.health == TopicHealth({}, {})
    with capture_logs() as logs:
        for _ in range(2):
            await rig.look(GOOD | {"sleep.transitions": 1})
        assert list(rig.outputs.unfit) == ["sleep.transitions"]
        await rig.look(GOOD)
    assert rig.outputs.unfit == {}
    assert [line["event"] for line in logs] == ["topics", "topics"]


@pytest.mark.parametrize("error", [OutputError("away"), ZeroDivisionError("a bug of ours")])
async def test_a_kafka_that_does_not_answer_leaves_what_was_found(rig: _Rig, error: Exception) -> None:
    """A defect is logged, and ends nothing."""
    await rig.look({})
    with capture_logs():
        await rig.look(error)
    assert len(rig.watch.health.bad) == 5
    await rig.look(GOOD)
    assert rig.watch.health == TopicHealth({}, {})
