"""The member of a group: what it asks of aiokafka, for how long it waits, and that it leaves nothing running."""
# ruff: noqa: SLF001 - what aiokafka keeps to itself is what is left behind

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, KafkaConnectionError, KafkaError, KafkaTimeoutError
from faust.types import TP
from structlog.testing import capture_logs

from schemas.kafka.fetcher import AnyBytesConsumer
from tests.support.settings import settings_of
from worker.runtime.faust.group_consumer import GroupConsumer

SETTINGS = settings_of(partitions=4)
EVENTS = SETTINGS.topics.events
INGRESS = TP(SETTINGS.topics.breakers, 1)


async def never() -> None:
    """Wait for ever."""
    await asyncio.get_running_loop().create_future()


class Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types here
    """Is told of rebalances, and does nothing."""

    async def on_partitions_revoked(self, revoked: object) -> None: ...
    async def on_partitions_assigned(self, assigned: object) -> None: ...


class _Aiokafka:
    """aiokafka's consumer, as far as a member uses it; `tasks` is what runs inside it."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None
        self.silent = False
        self.offset: int | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self._client = SimpleNamespace(
            close=self._close_client, cluster=SimpleNamespace(unauthorized_topics={"sleep.breakers"})
        )
        self._coordinator: Any = None
        self._fetcher: Any = None

    def work(self) -> None:
        """Run what aiokafka runs once it is started."""
        coordinating, beating, refreshing, fetching, pending = (self._run(never()) for _ in range(5))
        self._coordinator = SimpleNamespace(
            generation=3, _coordination_task=coordinating, _heartbeat_task=beating, _commit_refresh_task=refreshing
        )
        self._fetcher = SimpleNamespace(_fetch_task=fetching, _pending_tasks={pending})

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def _close_client(self) -> None:
        self.steps.append(("close client",))
        if self.silent:
            await never()

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(EVENTS, 0)}

    def subscribe(self, *, topics: set[str], listener: object) -> None:
        self.steps.append(("subscribe", topics, listener))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.steps.append(("seek", tp, offset))

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[object]]:
        assert {type(tp) for tp in partitions} == {TopicPartition}
        self.steps.append(("fetch", set(partitions), timeout_ms))
        return {TopicPartition(EVENTS, 0): []}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.silent:
            await never()
        return dict.fromkeys(partitions, 3)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)

    async def committed(self, _: TopicPartition) -> int | None:
        if self.silent:
            await never()
        return self.offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.steps.append(("commit", offsets))
        if self.silent:
            await never()
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        self.steps.append(("stop",))
        if self.error is not None:
            raise self.error
        if self.silent:
            await never()


@pytest.fixture
def aiokafka() -> _Aiokafka:
    """What a member runs over."""
    return _Aiokafka()


@pytest.fixture
def member(aiokafka: _Aiokafka) -> GroupConsumer:
    """A member that is started over it."""
    member = GroupConsumer(SETTINGS, "ours")
    member._member = cast("AnyBytesConsumer", aiokafka)
    return member


@pytest.fixture
async def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AnyBytesConsumer]:
    """The consumer of aiokafka that a member makes, without a broker."""

    async def start(_: AnyBytesConsumer) -> None:
        """Connect to no broker."""

    monkeypatch.setattr(AnyBytesConsumer, "start", start)
    member = GroupConsumer(settings_of(**getattr(request, "param", {})), "ours")
    await member.start()
    assert member._member is not None
    yield member._member
    await member.stop()


async def test_the_broker_holds_a_fetch_back_for_a_short_time_only(started: AnyBytesConsumer) -> None:
    """A partition that is sought while another's fetch is under way waits for that."""
    assert started._fetch_max_wait_ms == 50
    assert started._max_poll_records == 2_000
    assert started._isolation_level == "read_uncommitted"


async def test_a_member_commits_nothing_by_itself_and_starts_at_the_beginning(started: AnyBytesConsumer) -> None:
    """Redis says where a lane starts, and a lane says what is committed."""
    assert not started._enable_auto_commit
    assert started._auto_offset_reset == "earliest"
    assert started._group_id == "ours"


async def test_a_lanes_last_piece_fits_into_a_session(started: AnyBytesConsumer) -> None:
    """Otherwise another worker would get the partition during it."""
    assert started._session_timeout_ms == 20_000 > (15 + 1) * 1000
    assert started._rebalance_timeout_ms == 60_000
    assert started._max_poll_interval_ms == 86_400_000


async def test_a_leader_asks_again_soon_for_topics_that_a_broker_did_not_name(started: AnyBytesConsumer) -> None:
    """A broker that has just come up may not know them yet; until then nobody in the group has a partition."""
    assert started._client._metadata_max_age_ms == 5_000


@pytest.mark.parametrize("started", [{"kafka_security_protocol": "SSL"}], indirect=True)
async def test_a_member_encrypts_where_the_other_clients_do(started: AnyBytesConsumer) -> None:
    """With a context that verifies."""
    assert started._client._security_protocol == "SSL"
    assert started._client._ssl_context.verify_mode is ssl.CERT_REQUIRED


async def test_nothing_is_assigned_before_the_start_and_a_stop_is_nothing() -> None:
    """The app may be stopped before its consumer was started."""
    member = GroupConsumer(SETTINGS, "ours")
    assert member.assignment() == set()
    assert member.refused_topics() == frozenset()
    with pytest.raises(KafkaError, match="not running"):
        member.subscribe([EVENTS], Listener())
    await member.stop()


async def test_a_failed_start_leaves_something_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have opened connections."""

    async def start(_: AnyBytesConsumer) -> None:
        raise KafkaConnectionError("no broker")

    monkeypatch.setattr(AnyBytesConsumer, "start", start)
    member = GroupConsumer(SETTINGS, "ours")
    with pytest.raises(KafkaConnectionError):
        await member.start()
    await member.stop()
    assert member._member is not None
    assert member._member._closed


async def test_a_member_tells_what_aiokafka_knows(member: GroupConsumer, aiokafka: _Aiokafka) -> None:
    """In Faust's terms."""
    aiokafka.work()
    listener = Listener()
    member.subscribe([EVENTS], listener)
    assert aiokafka.steps == [("subscribe", {EVENTS}, listener)]
    assert [type(tp) for tp in member.assignment()] == [TP]
    assert member.generation == 3
    assert member.refused_topics() == {"sleep.breakers"}
    for task in aiokafka.tasks:
        task.cancel()


async def test_the_seek_comes_before_the_fetch(member: GroupConsumer, aiokafka: _Aiokafka) -> None:
    """And nothing between."""
    batches = await member.seek_and_fetch({TP(EVENTS, 0): 17}, {TP(EVENTS, 0)}, 0.5)
    assert batches == {TP(EVENTS, 0): []}
    assert [type(tp) for tp in batches] == [TP]
    assert aiokafka.steps == [
        ("seek", TopicPartition(EVENTS, 0), 17),
        ("fetch", {TopicPartition(EVENTS, 0)}, 500),
    ]


async def test_a_partition_that_was_given_up_meanwhile_is_not_sought(
    member: GroupConsumer, aiokafka: _Aiokafka
) -> None:
    """Aiokafka would raise, and the worker leave its group for that."""
    await member.seek_and_fetch({TP(EVENTS, 0): 17, TP(EVENTS, 1): 5}, {TP(EVENTS, 0), TP(EVENTS, 1)}, 0.5)
    assert [step for step in aiokafka.steps if step[0] == "seek"] == [("seek", TopicPartition(EVENTS, 0), 17)]


async def test_what_the_group_has_committed_is_told_within_bounds(
    member: GroupConsumer, aiokafka: _Aiokafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that does not answer keeps nobody for long."""
    assert await member.committed(INGRESS) is None
    aiokafka.offset = 0
    assert await member.committed(INGRESS) == 0
    aiokafka.silent = True
    monkeypatch.setattr("worker.runtime.faust.group_consumer.ANSWER_SECONDS", 0)
    with pytest.raises(KafkaTimeoutError, match=f"no offset of {INGRESS.topic}"):
        await member.committed(INGRESS)


async def test_a_broker_that_does_not_answer_keeps_a_lane_for_a_short_time_only(
    member: GroupConsumer, aiokafka: _Aiokafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aiokafka would wait for a minute."""
    assert await member.offset_range(TP(EVENTS, 0)) == (3, 9)
    monkeypatch.setattr("worker.runtime.faust.group_consumer.ANSWER_SECONDS", 0.0)
    aiokafka.silent = True
    with pytest.raises(KafkaTimeoutError, match="no offset range"):
        await member.offset_range(TP(EVENTS, 0))
    with capture_logs() as logs:
        assert not await member.commit({TP(EVENTS, 0): 5})
    assert [line["error"] for line in logs] == ["no answer in 0 s"]


async def test_a_commit_that_the_broker_refuses_stops_nobody_and_is_said_once(
    member: GroupConsumer, aiokafka: _Aiokafka
) -> None:
    """It costs a stale lag; Redis says where to start."""
    with capture_logs() as logs:
        for error in (CommitFailedError(), KafkaConnectionError("away"), None, KafkaConnectionError("again")):
            aiokafka.error = error
            assert await member.commit({TP(EVENTS, 0): 5}) is (error is None)
    assert [line["event"] for line in logs] == ["group_offset_not_committed"] * 2
    assert logs[1]["error"] == "KafkaConnectionError: again"
    assert aiokafka.steps[0] == ("commit", {TopicPartition(EVENTS, 0): 5})


async def test_a_member_that_closes_is_only_told_to(member: GroupConsumer, aiokafka: _Aiokafka) -> None:
    """It leaves its group, and the broker need not wait for the session's end."""
    with capture_logs() as logs:
        await member.stop()
    assert aiokafka.steps == [("stop",)]
    assert logs == []


@pytest.mark.parametrize("error", [None, asyncio.CancelledError(), KafkaConnectionError("away"), OSError("reset")])
@pytest.mark.parametrize("working", [False, True])
async def test_a_consumer_that_does_not_close_leaves_nothing_running(
    member: GroupConsumer,
    aiokafka: _Aiokafka,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: BaseException | None,
    working: bool,
) -> None:
    """Its heartbeats would keep its partitions, and the process would not end."""
    monkeypatch.setattr("worker.runtime.faust.group_consumer.CLOSE_SECONDS", 0.0)
    monkeypatch.setattr("worker.runtime.faust.group_consumer._ABANDON_SECONDS", 0.05)
    aiokafka.error, aiokafka.silent = error, error is None
    if working:
        aiokafka.work()
    with capture_logs() as logs:
        await member.stop()
    assert [line["event"] for line in logs] == ["consumer_not_closed"]
    assert ("close client",) in aiokafka.steps
    assert all(task.cancelled() for task in aiokafka.tasks)
