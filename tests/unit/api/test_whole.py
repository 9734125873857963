"""What Redis has lost is unavailable; what never was is awake."""

import asyncio

import httpx
import pytest

from api.adapters.dependency import UnavailableError
from api.queries.completeness import SharedTraces, require_known
from tests.support.fakes import settle
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeLog, FakeStore, Pauses


@pytest.mark.parametrize(
    "path", ["/api/brain/sleep_mode", "/api/brain/sleep_policy", "/api/util/sleep", "/api/operations/op-1"]
)
async def test_a_partition_that_was_lost_is_unavailable(
    api: ApiOverFakes, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of it were published, and Redis does not hold all of it: nothing is said of its tenants."""
    monkeypatch.setattr("api.queries.completeness._PAUSE_SECONDS", 0.0)
    api.store.is_whole = api.log.fresh = False
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.SERVICE_UNAVAILABLE, "redis_unavailable")
    detail = answer.json()["detail"]
    assert detail == "Redis has no data of partition 3, so nothing is known of its tenants; try again"
    assert "does not answer" not in answer.text


async def test_a_partition_that_was_never_used_has_tenants_that_are_awake(api: ApiOverFakes) -> None:
    """A fresh installation answers before its first event."""
    api.store.is_whole = False
    answer = await api.client.get("/api/brain/sleep_mode")
    assert (answer.status_code, answer.json()["state"]) == (httpx.codes.OK, "active")


async def test_a_first_commit_on_its_way_is_waited_for() -> None:
    """Its states are published a moment before."""
    store, log = FakeStore(), FakeLog()
    store.is_whole = log.fresh = False

    async def commit(_seconds: float) -> None:
        store.is_whole = True

    await require_known(store, log, 3, commit)


async def test_it_is_not_waited_for_for_long() -> None:
    """The finding names the partition and the command."""
    store, log, pauses = FakeStore(), FakeLog(), Pauses(99)
    store.is_whole = log.fresh = False
    with pytest.raises(UnavailableError, match=r"partition 3 is incomplete .*sleepctl rebuild"):
        await require_known(store, log, 3, pauses)
    assert sum(pauses.seconds) < 0.5


class _Kafka:
    """Answers a look when it is told to, each with the next of some answers."""

    def __init__(self, answers: list[bool | UnavailableError]) -> None:
        self.looks: list[int] = []
        self.answering = asyncio.Event()
        self._answers = answers

    async def untouched(self, partition: int) -> bool:
        self.looks.append(partition)
        answer = self._answers.pop(0)
        await self.answering.wait()
        if isinstance(answer, UnavailableError):
            raise answer
        return answer


async def test_a_crowd_of_readers_costs_kafka_two_looks() -> None:
    """Who asks during a look gets the answer of the next one, which is not older than the question."""
    kafka = _Kafka([True, False])
    shared = SharedTraces(kafka)
    first = asyncio.create_task(shared.untouched(3))
    await settle()
    crowd = [asyncio.create_task(shared.untouched(3)) for _ in range(50)]
    await settle()
    assert kafka.looks == [3]
    kafka.answering.set()
    assert await first is True
    assert await asyncio.gather(*crowd) == [False] * 50
    assert kafka.looks == [3, 3]


async def test_a_look_that_failed_failed_for_all_who_waited_for_it() -> None:
    """Or they would wait for one timeout after the other."""
    away = UnavailableError("kafka", "no answer")
    kafka = _Kafka([True, away, True])
    shared = SharedTraces(kafka)
    first = asyncio.create_task(shared.untouched(3))
    await settle()
    crowd = [asyncio.create_task(shared.untouched(3)) for _ in range(5)]
    await settle()
    kafka.answering.set()
    await first
    assert await asyncio.gather(*crowd, return_exceptions=True) == [away] * 5
    assert await shared.untouched(3) is True


async def test_a_reader_that_leaves_takes_nobodys_answer_along() -> None:
    """The next one looks itself; other partitions have looks of their own."""
    kafka = _Kafka([True, True, False])
    shared = SharedTraces(kafka)
    leaving = asyncio.create_task(shared.untouched(3))
    await settle()
    staying = asyncio.create_task(shared.untouched(3))
    other = asyncio.create_task(shared.untouched(4))
    await settle()
    leaving.cancel()
    kafka.answering.set()
    assert [await staying, await other] == [False, True]
    assert kafka.looks == [3, 4, 3]
