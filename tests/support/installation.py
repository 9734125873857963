"""An installation for tests: topics, worker and API processes, and ways to read what they made of the log."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr
from pydantic_core import from_json

from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.domain.record import Record
from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.kafka.source_record import SourceRecord
from schemas.kafka.topics import wanted_topics
from schemas.settings import Settings
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from schemas.wire.operation import OperationRecord
from sleepctl.io.signing_keys import SigningKey, TokenClaims
from tests.services import Kind, Namespace, Services
from tests.services.embedded import MockBroker
from tests.services.probe import free_port
from tests.support.records import Sent
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.kafka_topics import TopicAdmin
from worker.adapters.redis_store import LaneStore
from worker.fold.decoding import Decoder, operations_of, tenants_of
from worker.fold.piece import Piece
from worker.ports import Output, StoreError

ISSUER: Final = "https://issuer.test"
AUDIENCE: Final = "sleep"


class Plain(NamedTuple):
    """What a plain fold of a partition's log comes to, record by record."""

    records: dict[str, Record]
    states: dict[bytes, bytes | None]
    transitions: list[dict[str, Any]]
    operations: dict[tuple[str, str], OperationRecord]
    rules: list[Rules]


class Process:
    """A process of ours: started, and ended by the id that it was started with."""

    def __init__(self, name: str, environment: dict[str, str], log: Path, command: Sequence[str]) -> None:
        self.name = name
        self._started_at = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout: float = 45.0) -> int:
        """End it as an operator would, and return its exit status."""
        if self.running:
            self._process.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 45.0) -> int:
        """Return the exit status of a process that was told to end; one that does not in time is killed."""
        try:
            return self._process.wait(timeout)
        finally:
            self._process.kill()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def resident_mib(self) -> float:
        """How much memory it has, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    @property
    def age(self) -> float:
        """For how many seconds it has been there."""
        return time.monotonic() - self._started_at

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None


class ApiClient:
    """The API of an installation, and tokens for it."""

    def __init__(self, process: Process, url: str, key: SigningKey) -> None:
        self.process = process
        self.url = url
        self._key = key

    def token(
        self, tenant: str, scope: str = "sleep:read sleep:write sleep:policy sleep:override", *, seconds: int = 3600
    ) -> str:
        """Return a token of a tenant's caller."""
        return self._key.token(TokenClaims(ISSUER, AUDIENCE, f"ops@{tenant}", scope, tenant, seconds))

    def client(self, tenant: str) -> httpx.AsyncClient:
        """Return an HTTP client that carries a tenant's token."""
        headers = {"Authorization": f"Bearer {self.token(tenant)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30.0)


class Installation:
    """Topics and names of its own on the shared services."""

    def __init__(self, services: Services, namespace: Namespace, directory: Path, partitions: int) -> None:
        self.services = services
        self.directory = directory
        self.environment = {
            **services.environ(),
            **namespace.environ(),
            "SLEEP_PARTITIONS": str(partitions),
            "SLEEP_WORKER_METRICS_PORT": "0",
            "SLEEP_LOG_FORMAT": "console",
        }
        self.settings = Settings(
            kafka_bootstrap=services.kafka,
            redis_url=SecretStr(services.redis),
            topic_prefix=namespace.topic_prefix,
            redis_prefix=namespace.redis_prefix,
            consumer_group=namespace.group,
            partitions=partitions,
        )
        self.outputs = KafkaOutputs(self.settings)
        self.store = LaneStore.connect(self.settings)
        self.processes: list[Process] = []
        self.key = SigningKey.generate()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, services: Services, namespace: Namespace, directory: Path, *, partitions: int = 8
    ) -> AsyncIterator["Installation"]:
        """Create the topics and connect; afterwards end every process that was started."""
        installation = cls(services, namespace, directory, partitions)
        try:
            await installation._create_topics()
            await installation.outputs.start()
            yield installation
        finally:
            for process in [*installation.processes]:
                if process.running:
                    await asyncio.to_thread(process.stop)
            await installation.outputs.stop()
            await installation.store.close()

    async def _create_topics(self) -> None:
        if isinstance(self.services.broker, MockBroker):
            for topic in wanted_topics(self.settings):
                self.services.broker.create_topic(topic.name, topic.partitions)
            return
        async with TopicAdmin(self.settings) as admin:
            await admin.create()

    def command(self, name: str) -> list[str]:
        """Return what starts a worker or an API on these services."""
        if name == "worker" and self.services.kind is Kind.EMBEDDED:
            return [sys.executable, "-m", "tests.services.embedded_worker"]
        return [str(Path(sys.executable).with_name("sleepctl")), name]

    def start_worker(self) -> str:
        """Start a worker and return the address of its status page."""
        port = free_port()
        self.start("worker", SLEEP_WORKER_METRICS_PORT=str(port))
        return f"http://127.0.0.1:{port}"

    def start(self, name: str, *command: str, **environment: str) -> Process:
        """Start `sleepctl worker` or `sleepctl api`, or a command in its place; its output goes to a file."""
        log = self.directory / f"{name}.log"
        process = Process(name, {**self.environment, **environment}, log, command or self.command(name))
        self.processes.append(process)
        return process

    async def open_door(self, *command: str, **environment: str) -> ApiClient:
        """Start an API process, and wait until it serves. All APIs of an installation trust the same key.

        `SLEEP_API_PORT` names the port of one that comes back.
        """
        jwks = self.directory / "jwks.json"
        jwks.write_bytes(self.key.jwks())
        url = f"http://127.0.0.1:{environment.get('SLEEP_API_PORT') or free_port()}"
        process = self.start(
            "api",
            *command,
            **{
                "SLEEP_API_PORT": url.rpartition(":")[2],
                "SLEEP_JWT_JWKS": str(jwks),
                "SLEEP_JWT_ISSUER": ISSUER,
                "SLEEP_JWT_AUDIENCE": AUDIENCE,
                **environment,
            },
        )
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=url) as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == httpx.codes.OK:
                        return ApiClient(process, url, self.key)
                await asyncio.sleep(0.1)

    async def write(self, records: Iterable[Sent]) -> None:
        """Append records to the events topic, in order within each partition."""
        by_partition: dict[int, list[Output]] = {}
        for record in records:
            key = None if record.tenant is None else record.tenant.encode()
            output = Output(key, record.value, STRUCTURED_HEADERS)
            by_partition.setdefault(record.partition, []).append(output)
        for partition, outputs in by_partition.items():
            await self.outputs.send(self.settings.topics.events, partition, outputs)

    async def read(
        self, topic: str, partition: int, until: int | None = None, *, start: int | None = None
    ) -> list[SourceRecord]:
        """Return a partition's records from its start or an offset, up to another or its present end."""
        consumer = AnyBytesConsumer(bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest")
        try:
            await consumer.start()
            at = TopicPartition(topic, partition)
            consumer.assign([at])
            if start is not None:
                consumer.seek(at, start)
            end = (await consumer.end_offsets([at]))[at] if until is None else until
            seen: list[SourceRecord] = []
            while await consumer.position(at) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    seen += [record for record in records if record.offset < end]
            return seen
        finally:
            await consumer.stop()

    async def applied(self) -> dict[int, int]:
        """Return each partition's position as Redis says it."""
        partitions = range(self.settings.partitions)
        standings = await asyncio.gather(*(self.store.partition_status(partition) for partition in partitions))
        return {partition: standing.progress.next for partition, standing in enumerate(standings)}

    async def length(self, topic: str) -> int:
        """Return how many records were ever appended to a topic of ours."""
        return sum((await self.ends(topic)).values())

    async def ends(self, topic: str | None = None) -> dict[int, int]:
        """Return the end of each partition of a topic, by default the events topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap)
        try:
            await consumer.start()
            topic = topic or self.settings.topics.events
            ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(self.settings.partitions)])
            return {at.partition: end for at, end in ends.items()}
        finally:
            await consumer.stop()

    async def caught_up(self, seconds: float = 120.0) -> None:
        """Wait until all that is in the log now has been applied, over an outage of Redis too.

        Raises:
            TimeoutError: with the positions, if it takes longer.
        """
        ends = await self.ends()
        deadline = time.monotonic() + seconds
        applied: dict[int, int] | StoreError
        while True:
            try:
                applied = await self.applied()
                if all(applied[partition] >= end for partition, end in ends.items()):
                    return
            except StoreError as error:
                applied = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"applied {applied} of {ends}; see {self.directory}")
            await asyncio.sleep(0.05)

    async def stored(self, partition: int) -> dict[str, bytes]:
        """Return every packed record of a partition in Redis."""
        cursor, records = await self.store.scan(partition, 0, 1_000)
        while cursor:
            cursor, page = await self.store.scan(partition, cursor, 1_000)
            records |= page
        return {tenant.decode(): packed for tenant, packed in records.items()}

    async def plain_fold(self, partition: int, until: int) -> Plain:
        """Fold a partition's log from its start, a record at a time, remembering everything."""
        return plain_fold(
            partition, self.settings.partitions, await self.read(self.settings.topics.events, partition, until)
        )


def plain_fold(partition: int, partitions: int, log: Sequence[SourceRecord]) -> Plain:
    """Fold a log one record at a time, with no store between."""
    decoder = Decoder(partition, partitions)
    records: dict[str, Record | None] = {}
    operations: dict[tuple[str, str], OperationRecord] = {}
    states: dict[bytes, bytes | None] = {}
    transitions: list[dict[str, Any]] = []
    rules = [BUILT_IN_RULES]
    highest = 0
    for record in log:
        item = decoder.decode(record)
        known = {key: operations[key].pack() if key in operations else None for key in operations_of([item])}
        unseen = {tenant: None for tenant in tenants_of([item]) if tenant not in records}
        batch = Piece(partition, rules, records, unseen, known, highest)
        batch.fold(item)
        rules, highest = batch.rules, batch.highest
        records |= batch.records
        operations |= batch.operations
        states |= {output.key or b"": output.value for output in batch.states}
        transitions += [from_json(output.value or b"") for output in batch.transitions]
    present = {tenant: each for tenant, each in records.items() if each is not None}
    return Plain(present, states, transitions, operations, rules)
