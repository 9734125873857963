"""Fakes at the edges of the command line: a log, an API, an outside world, and an installation's topics and store."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Self

import httpx
from aiokafka.errors import KafkaError
from pydantic_core import from_json, to_json

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.names import PartitionKeys, Topics
from sleepctl.demo.scenario import Trip
from sleepctl.io.api_client import Answer
from sleepctl.ui.errors import CommandError
from tests.support.batches import Lane
from tests.support.events import breaker, sleep
from tests.support.fakes import FakeClock, FakeKafka, FakeOutputs, FakeStore
from tests.support.records import source
from tests.support.redis_contents import StoredPartition
from tests.support.times import NOW
from worker.adapters.topic_reader import OffsetRange
from worker.ports import Output

REQUIRED = {"SLEEP_KAFKA_BOOTSTRAP": "broker:9092", "SLEEP_REDIS_URL": "redis://:hunter2@store/0"}

TOPICS = Topics.of("sleep")
PARTITIONS = 8
ACME = partition_of("acme", PARTITIONS)


class FakeLog:
    """A log in memory; `refusing` partitions take nothing."""

    def __init__(self, partitions: int = 8, refusing: tuple[int, ...] = ()) -> None:
        self.records: list[tuple[str, int, bytes | None, bytes]] = []
        self._partitions = partitions
        self._refusing = refusing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def partitions(self, _topic: str) -> int:
        return self._partitions

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        if partition in self._refusing:
            raise CommandError(f"{topic} partition {partition} did not take the record")
        self.records.append((topic, partition, key, value))
        return len(self.records) - 1


class FakeApi:
    """An API that gives one answer and remembers what it was asked."""

    def __init__(self, status: int, document: object, headers: Mapping[str, str] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._response = (status, document, dict(headers or {}))

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status, document, headers = self._response
        if isinstance(document, Exception):
            raise document
        content = document if isinstance(document, bytes) else to_json(document)
        return httpx.Response(status, content=content, headers=headers)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        body: dict[str, Any] = from_json(self.requests[-1].content)
        return body


class FakeOutside:
    """An outside world that answers as a script says; `sleep` moves its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.transitions: list[dict[str, Any]] = []
        self.trips: list[Trip] = []
        self.requests: list[tuple[str, str, str, Any, Any]] = []
        self.answers: dict[str, Callable[[float], Answer]] = {}

    async def trip(self, action: Trip) -> None:
        self.trips.append(action)

    async def request(
        self,
        tenant: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self.requests.append((tenant, method, path, body, headers))
        return self.answers[method](self.now)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Store(FakeStore):
    """The store, with what a rebuild asks of it."""

    def keys(self, partition: int) -> PartitionKeys:
        return PartitionKeys("sleep", partition)

    async def close(self) -> None:
        return None


class FakeReader:
    """`worker.adapters.topic_reader.TopicReader` of a fake Kafka."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.workers = 0
        self.partitions = PARTITIONS
        self.commits: dict[int, int] = {}
        self._kafka = kafka

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def bounds(self, topic: str) -> dict[int, OffsetRange]:
        logs = [self._kafka.log(topic, number) for number in range(self.partitions)]
        return {log.partition: OffsetRange(log.start, log.end) for log in logs}

    async def read(
        self, topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = id
    ) -> AsyncGenerator[list[SourceRecord], None]:
        records: list[SourceRecord] = [
            record for record in self._kafka.log(topic, partition).records if start <= record.offset < end
        ]
        if records:
            yield records
        advance(end - start)

    async def offsets_at(self, topic: str, at: int) -> dict[int, int]:
        logs = [self._kafka.log(topic, number) for number in range(self.partitions)]
        return {
            log.partition: next((record.offset for record in log.records if record.timestamp >= at), log.end)
            for log in logs
        }

    async def members(self) -> int:
        return self.workers

    async def committed(self) -> dict[int, int]:
        return self.commits


class Installation:
    """Topics and a store, as a worker left them that folded one event and one command of acme."""

    def __init__(self) -> None:
        self.kafka = FakeKafka(FakeClock(NOW))
        self.reader = FakeReader(self.kafka)
        self.store = _Store()
        self.outputs = FakeOutputs(self.kafka, TOPICS)
        self.lane = Lane(partitions=PARTITIONS, partition=ACME)
        events = self.kafka.log(TOPICS.events, ACME)
        log = [source(offset, NOW, document) for offset, document in enumerate((breaker("open"), sleep("op-1")))]
        events.append([Output(record.key, record.value, record.headers) for record in log])
        for record in log:
            record.partition = ACME
        self.lane.apply(log)
        self.kafka.log(TOPICS.states, ACME).append(self.lane.states)
        self.kafka.log(TOPICS.transitions, ACME).append(self.lane.transitions)
        self.reader.commits = {ACME: 2}

    @property
    def stored(self) -> StoredPartition:
        """What the store holds of acme's partition."""
        return self.store.partitions[ACME]


class FakeView:
    """A view that remembers what it was told."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Any]] = []

    def step(self, title: str) -> None:
        self.shown.append(("step", title))

    def moving(self, present: Mapping[str, Any]) -> None:
        self.shown.append(("moving", present))

    def answer(self, answer: Answer) -> None:
        self.shown.append(("answer", answer.status))

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        self.shown.append(("transition", (row["id"], present["state"])))

    def verdict(self, unseen: Sequence[str]) -> None:
        self.shown.append(("verdict", list(unseen)))

    def checked(self, expectation: str, *, seen: bool) -> None:
        self.shown.append(("seen" if seen else "unseen", expectation))


class FakeProducer:
    """An aiokafka producer: `fails` names the method that raises."""

    def __init__(self, fails: str = "", topics: Mapping[str, int] | None = None, **options: object) -> None:
        self.options = options
        self.stopped = False
        self.sent: list[dict[str, Any]] = []
        self._fails = fails
        self._topics = {"t": 3} if topics is None else topics
        self.client = SimpleNamespace(fetch_all_metadata=self._metadata)

    def _maybe_fail(self, name: str) -> None:
        if self._fails == name:
            raise KafkaError("away")

    async def start(self) -> None:
        self._maybe_fail("start")

    async def stop(self) -> None:
        self.stopped = True

    async def _metadata(self) -> SimpleNamespace:
        self._maybe_fail("metadata")
        return SimpleNamespace(partitions_for_topic=lambda name: set(range(self._topics.get(name, 0))))

    async def send_and_wait(self, topic: str, value: bytes, **options: object) -> SimpleNamespace:
        self._maybe_fail("send")
        self.sent.append({"topic": topic, "value": value, **options})
        return SimpleNamespace(offset=41, timestamp=NOW, timestamp_type=1)


def transition(tenant: str, before: str, after: str, kind: str = "breaker", position: str = "0:1") -> dict[str, Any]:
    """A row of the transitions topic."""
    return {
        "id": f"{position}:0",
        "kind": "transition",
        "tenant": tenant,
        "from": before,
        "to": after,
        "cause": {"kind": kind, "key": "payments@pod-1"},
        "at": NOW,
        "position": position,
    }


PARAMETERS = {"K": 100, "t": 1.0, "tau": 0.1, "eta": 0.01, "lambda": 0.5, "B": 1.0}


def claim(key: str, state: str, **more: object) -> dict[str, Any]:
    """A breaker's claim as `GET sleep_mode` shows it."""
    return {
        "source": "breaker",
        "key": key,
        "state": state,
        "breaker_state": "closed" if state == "active" else "open",
        "occurred_at": None,
        "since": NOW,
        "expires_at": 1_795_334_897_992,
        "actor": None,
        "reason": None,
    } | more


def decided_by(state: str, **more: object) -> dict[str, Any]:
    """What decided, as `GET sleep_mode` shows it: a breaker, or nothing."""
    claim_ = None if state == "active" else {"source": "breaker", "key": "payments@pod-1", "quorum": None}
    return {
        "kind": "nothing" if claim_ is None else "claim",
        "without": None if claim_ is None else "active",
        "asked": state,
        "claim": claim_,
        "floor": None,
        "ceiling": None,
        "held_until": None,
        "unmet_quorums": [],
        "unmatched_breakers": [],
    } | more


def present(state: str = "active", *, moving: bool = False, position: str | None = "0:1") -> dict[str, Any]:
    """A tenant as `GET sleep_mode` shows it."""
    return {
        "tenant_id": "acme",
        "seen": position is not None,
        "state": state,
        "decided": state,
        "decided_by": decided_by(state),
        "since": NOW,
        "enforced": True,
        "cause": {"kind": "breaker", "key": None},
        "claims": [claim("payments@pod-1", state)],
        "parameters": PARAMETERS | ({"K": 50, "tau": 1e-6} if moving else {}),
        "target_parameters": PARAMETERS,
        "forecast": [],
        "policy_version": 0,
        "notes": [],
        "now": 1_795_334_840_000,
        "position": position,
    }
