"""Topics that are deleted under a running worker and API: they stay away, both status say so, and all goes on after it.

The broker makes topics by itself, as Kafka does by default; nobody but `sleepctl topics create` may make ours.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import Namespace, Services
from tests.support.installation import Installation
from tests.support.topic_deletion import MODE, PARTITIONS, WorkerAndApi, wait_for_page
from worker.adapters.kafka_topics import TopicsError

pytestmark = [pytest.mark.smoke, pytest.mark.needs_kafka]


def _finding(page: dict[str, Any]) -> str:
    return str(page["dependencies"]["kafka"]["finding"])


@pytest.fixture
async def running(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[WorkerAndApi]:
    """Once a command has gone through."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as installation:
        running = WorkerAndApi(installation, installation.start_worker(), await installation.open_door())
        await running.works()
        yield running


@pytest.mark.parametrize("field", ["states", "transitions", "breakers", "deadletter"])
async def test_a_deleted_topic_stays_away_is_named_and_all_goes_on_once_it_is_back(
    running: WorkerAndApi, field: str
) -> None:
    """The lanes wait with that finding, and nobody restarts anything."""
    topic = getattr(running.installation.settings.topics, field)
    await running.delete(topic)
    finding = f"topic {topic} is missing, or an ACL hides it; run `sleepctl topics create`"
    for page in running.pages:
        await wait_for_page(page, lambda status: status["status"] == "bad" and finding in _finding(status))
    async with running.door.client("acme") as client:
        await client.post(MODE, json={"target_state": "deep"}, headers={"Prefer": "wait=1"})
    if field == "deadletter":
        await running.emit_rubbish()
    if field != "breakers":
        shown = await wait_for_page(
            running.pages[0], lambda status: any(finding in str(lane["finding"]) for lane in status["lanes"])
        )
        assert not any(lane["stopped"] for lane in shown["lanes"])
    assert topic not in await running.names(), "a client of ours made it again"
    assert await running.create() == [topic]
    await running.works()


async def test_a_topic_of_the_tenants_with_one_partition_makes_the_lanes_wait(running: WorkerAndApi) -> None:
    """As somebody else's client makes it: named with the command, by the status and by `topics create` and `check`."""
    topic = running.installation.settings.topics.transitions
    await running.delete(topic)
    await running.make(topic, 1)
    finding = f"topic {topic} has 1 partitions and SLEEP_PARTITIONS is {PARTITIONS}"
    for page in running.pages:
        await wait_for_page(page, lambda status: status["status"] == "bad" and finding in _finding(status))
    with pytest.raises(TopicsError, match=finding):
        await running.create()
    async with running.door.client("acme") as client:
        await client.post(MODE, json={"target_state": "deep"}, headers={"Prefer": "wait=1"})
    shown = await wait_for_page(
        running.pages[0], lambda status: any(finding in str(lane["finding"]) for lane in status["lanes"])
    )
    assert not any(lane["stopped"] for lane in shown["lanes"])
    await running.delete(topic)
    assert await running.create() == [topic]
    await running.works()


async def test_dead_letters_with_one_partition_are_told_and_get_the_others(running: WorkerAndApi) -> None:
    """Nothing is looked up there, so partitions can be added."""
    topic = running.installation.settings.topics.deadletter
    await running.delete(topic)
    await running.make(topic, 1)
    for page in running.pages:
        weak = await wait_for_page(page, lambda status: status["status"] == "degraded")
        assert f"topic {topic} has 1 of {PARTITIONS} partitions; run `sleepctl topics create`" in str(weak["warnings"])
    assert await running.create() == [topic]
    await running.works()


async def test_without_the_events_topic_nothing_is_made_and_a_new_one_stops_the_lanes(running: WorkerAndApi) -> None:
    """The log is gone: only a person can say what that means."""
    topic = running.installation.settings.topics.events
    await running.delete(topic)
    finding = f"topic {topic} is missing, or an ACL hides it; run `sleepctl topics create`"
    for page in running.pages:
        await wait_for_page(page, lambda status: status["status"] == "bad" and finding in _finding(status))
    async with running.door.client("acme") as client:
        answer = await client.post(MODE, json={"target_state": "deep"})
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
    assert topic not in await running.names(), "a client of ours made it again"
    assert await running.create() == [topic]
    shown = await wait_for_page(running.pages[0], lambda status: any(lane["stopped"] for lane in status["lanes"]))
    assert any("its topic was recreated" in str(lane["finding"]) for lane in shown["lanes"])
