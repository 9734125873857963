"""The consumer's thread: what it asks of aiokafka, and that each caller gets an answer."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import faust
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError, KafkaTimeoutError
from faust.transport.drivers.aiokafka import Transport
from faust.types import TP
from structlog.testing import capture_logs

from tests.support.fakes import LogRecord, settle
from tests.support.settings import settings_of
from tests.support.world import World
from worker.runtime.faust.app import build_app
from worker.runtime.faust.consumer_thread import BatchConsumerThread
from worker.runtime.faust.transport import BatchConsumer

pytestmark = pytest.mark.partitions(4)

SETTINGS = settings_of(partitions=4)
EVENTS = SETTINGS.topics.events
INGRESS = TP(SETTINGS.topics.breakers, 1)


class _Aiokafka:
    """aiokafka's consumer, as far as the thread uses it."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None
        self.silent = False
        self.offset: int | None = None
        self._closed = False
        self._fetcher = self
        self._subscriptions = self

    @contextmanager
    def fetch_context(self) -> Iterator[None]:
        yield

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(EVENTS, 0)}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.steps.append(("seek", tp, offset))

    async def fetched_records(self, partitions: set[TP], **options: object) -> dict[TP, list[LogRecord]]:
        self.steps.append(("fetch", partitions, options))
        return {TP(EVENTS, 0): []}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.steps.append(("begin", *partitions))
        if self.error is not None:
            raise self.error
        if self.silent:
            await asyncio.get_running_loop().create_future()
        return dict.fromkeys(partitions, 3)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)

    async def committed(self, _: TopicPartition) -> int | None:
        if self.silent:
            await asyncio.get_running_loop().create_future()
        return self.offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.steps.append(("commit", offsets))
        if self.silent:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        self.steps.append(("stop",))
        if self.error is not None:
            raise self.error
        await asyncio.get_running_loop().create_future()


@pytest.fixture
async def thread() -> AsyncIterator[BatchConsumerThread]:
    """The thread as an object, over an aiokafka of ours; it is not started. It has to be made inside the loop."""

    async def told(*_: object) -> None:
        """Nobody is told anything."""

    async with World() as world:
        app = build_app(SETTINGS, world.worker.lanes)
        consumer = app.transport.create_consumer(callback=told, on_partitions_revoked=told, on_partitions_assigned=told)
        made = cast("BatchConsumer", consumer)._thread
        made._consumer = _Aiokafka()
        yield made
        made.thread_loop.close()


@pytest.fixture
def at_once(thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread is to do is done here and now, since it is not started."""

    async def call_thread(function: Callable[..., Awaitable[object]], *arguments: object) -> object:
        return await function(*arguments)

    monkeypatch.setattr(thread, "call_thread", call_thread)


def steps_of(thread: BatchConsumerThread) -> list[tuple[Any, ...]]:
    """Return what the thread did with aiokafka."""
    return cast("_Aiokafka", thread._consumer).steps


async def test_the_broker_holds_a_fetch_back_for_a_short_time_only(thread: BatchConsumerThread) -> None:
    """A partition that is sought while another's fetch is under way waits for that."""
    made = thread._create_worker_consumer(cast("Transport", thread.transport))
    assert made._fetch_max_wait_ms == 50
    assert made._group_id == SETTINGS.consumer_group
    assert made._isolation_level == "read_uncommitted"
    await made.stop()


async def test_a_leader_asks_again_soon_for_topics_that_a_broker_did_not_name(thread: BatchConsumerThread) -> None:
    """A broker that has just come up may not know them yet; until then nobody in the group has a partition."""
    made = thread._create_worker_consumer(cast("Transport", thread.transport))
    assert made._client._metadata_max_age_ms == 5_000
    await made.stop()


@pytest.mark.usefixtures("at_once")
async def test_in_the_thread_the_seek_comes_before_the_fetch(
    thread: BatchConsumerThread,
) -> None:
    """In one hop, so that nothing comes between."""
    batches = await thread.seek_and_fetch({TP(EVENTS, 0): 17}, {TP(EVENTS, 0)}, 0.5)
    assert batches == {TP(EVENTS, 0): []}
    assert steps_of(thread) == [
        ("seek", TopicPartition(EVENTS, 0), 17),
        ("fetch", {TP(EVENTS, 0)}, {"timeout": 0.5, "max_records": 2_000}),
    ]


@pytest.mark.usefixtures("at_once")
async def test_a_partition_that_was_given_up_on_the_way_to_the_thread_is_not_sought(
    thread: BatchConsumerThread,
) -> None:
    """Aiokafka would raise, and the worker leave its group for that."""
    await thread.seek_and_fetch({TP(EVENTS, 0): 17, TP(EVENTS, 1): 5}, {TP(EVENTS, 0), TP(EVENTS, 1)}, 0.5)
    assert [step for step in steps_of(thread) if step[0] == "seek"] == [("seek", TopicPartition(EVENTS, 0), 17)]


@pytest.mark.usefixtures("at_once")
async def test_what_the_group_has_committed_is_told_within_bounds(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that does not answer keeps nobody for long."""
    assert await thread.committed(INGRESS) is None
    aiokafka = cast("_Aiokafka", thread._consumer)
    aiokafka.offset = 0
    assert await thread.committed(INGRESS) == 0
    aiokafka.silent = True
    monkeypatch.setattr("worker.runtime.faust.consumer_thread.ANSWER_SECONDS", 0)
    with pytest.raises(KafkaTimeoutError, match=f"no offset of {INGRESS.topic}"):
        await thread.committed(INGRESS)


@pytest.mark.parametrize(("stopped", "raised"), [(True, asyncio.CancelledError), (False, KafkaConnectionError)])
async def test_whoever_subscribes_while_the_app_stops_is_cancelled(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch, *, stopped: bool, raised: type[BaseException]
) -> None:
    """Faust would log a traceback for a Ctrl-C that comes as the worker starts; that the thread failed is told."""

    async def call_thread(*_: object, **__: object) -> None:
        raise KafkaConnectionError("the consumer's thread has ended")

    monkeypatch.setattr(thread, "call_thread", call_thread)
    monkeypatch.setattr(thread._consumer, "subscribe", None, raising=False)
    if stopped:
        cast("faust.App", thread.app)._stopped.set()
    with pytest.raises(raised):
        await thread.subscribe([EVENTS])


async def test_only_what_is_still_assigned_is_committed(thread: BatchConsumerThread) -> None:
    """The broker would refuse the rest, and with it everything."""
    assert await thread._commit({TP(EVENTS, 0): 5, TP(EVENTS, 1): 6})
    assert steps_of(thread) == [("commit", {TopicPartition(EVENTS, 0): 5})]


async def test_a_commit_that_the_broker_refuses_stops_nobody_and_is_said_once(thread: BatchConsumerThread) -> None:
    """It costs a stale lag; Redis says where to start."""
    kafka = cast("_Aiokafka", thread._consumer)
    with capture_logs() as logs:
        for error in (CommitFailedError(), KafkaConnectionError("away"), None, KafkaConnectionError("again")):
            kafka.error = error
            assert await thread._commit({TP(EVENTS, 0): 5}) is (error is None)
    assert [line["event"] for line in logs] == ["group_offset_not_committed"] * 2
    assert logs[1]["error"] == "KafkaConnectionError: again"


async def test_a_broker_that_does_not_answer_keeps_the_thread_for_a_short_time_only(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread does two things at a time; what waits would keep fetches from it."""
    kafka, tp = cast("_Aiokafka", thread._consumer), TopicPartition(EVENTS, 0)
    assert await thread._offset_range(thread._consumer, tp) == (3, 9)
    monkeypatch.setattr("worker.runtime.faust.consumer_thread.ANSWER_SECONDS", 0.0)
    kafka.silent = True
    with pytest.raises(KafkaTimeoutError, match="no offset range"):
        await thread._offset_range(thread._consumer, tp)
    with capture_logs() as logs:
        assert not await thread._commit({TP(EVENTS, 0): 5})
    assert [line["error"] for line in logs] == ["no answer in 0 s"]


async def test_a_caller_of_a_thread_that_ends_gets_an_error_and_nobody_waits_after(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane would hang in its question for the log's bounds, and a stop in its last commit."""
    begun = threading.Event()

    async def nothing() -> None:
        """Connect to no broker."""

    async def answers() -> int:
        return 7

    async def never() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(thread, "on_start", nothing)
    # The function that never ends keeps the thread from closing until this limit.
    monkeypatch.setattr("worker.runtime.faust.consumer_thread.CLOSE_SECONDS", 0.2)
    await thread.start()
    assert await thread.call_thread(answers) == 7
    waiting = asyncio.create_task(thread.call_thread(never))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    # What aiokafka lets out of its tasks ends the thread like this, without a word.
    thread.thread_loop.call_soon_threadsafe(thread._stopped.set)
    with pytest.raises(KafkaConnectionError, match="has ended"):
        await waiting
    assert thread._thread is not None
    assert thread._thread.daemon
    thread._thread.stop()
    with pytest.raises(KafkaConnectionError, match="has ended"):
        await thread.call_thread(answers)


async def test_a_call_that_an_ending_thread_has_not_begun_is_answered_too(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in a queue that nobody empties any more."""

    async def queued(answer: asyncio.Future[object], *_: object) -> object:
        return answer

    monkeypatch.setattr(thread.method_queue, "call", queued)
    waiting = asyncio.create_task(thread.call_thread(thread.on_thread_stop))
    await settle()
    thread._abandon()
    with pytest.raises(KafkaConnectionError, match="has ended"):
        await waiting
    waiting = asyncio.create_task(thread.call_thread(thread.on_thread_stop))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async def closed(*_: object) -> object:
        raise RuntimeError("Event loop is closed")

    monkeypatch.setattr(thread.method_queue, "call", closed)
    with pytest.raises(KafkaConnectionError, match="has ended"):
        await thread.call_thread(thread.on_thread_stop)


@pytest.mark.parametrize("error", [None, asyncio.CancelledError(), KafkaConnectionError("away"), OSError("reset")])
async def test_a_consumer_that_does_not_close_is_left_behind_in_time(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    """The worker ends though the broker is away."""
    monkeypatch.setattr("worker.runtime.faust.consumer_thread.CLOSE_SECONDS", 0.0)
    cast("_Aiokafka", thread._consumer).error = error
    with capture_logs() as logs:
        await thread.on_thread_stop()
    assert [line["event"] for line in logs] == ["consumer_not_closed"]
