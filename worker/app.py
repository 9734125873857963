"""The Faust app and its wiring: one consumer, one agent that feeds the lanes, one that normalises ingress."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from typing import Any, Final, cast

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.types import AppT, EventT, Message, StreamT
from faust.types.auth import CredentialsT
from yarl import URL

from schemas.errors import describe
from schemas.names import reply_channel
from schemas.settings import Settings
from worker.clock import Backoff, WallClock
from worker.ingress import Ingress
from worker.intake import Fetched
from worker.lane import Services
from worker.lanes import Lanes
from worker.metrics import Metrics
from worker.outputs import Outputs
from worker.ports import Clock, OutputError
from worker.reader import Reader
from worker.redis_watch import RedisWatch
from worker.status import StatusPage
from worker.store import Store
from worker.topics import verify_topics
from worker.transport import BatchConsumer, transport_for

# Faust takes these in seconds. A session shorter than a lane's last batch would lose the partition in the middle.
_SESSION_SECONDS: Final = 20.0
_REBALANCE_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0
# A partition that stands still is shown in /status; leaving the group for it would only move the trouble.
_MAX_POLL_SECONDS: Final = 86_400.0
_FETCHED_RECORDS: Final = 2_000
STOP_SECONDS: Final = 10.0
# Counts batches, not records: the agent never waits for a lane, so few are ever queued.
_STREAM_BUFFER: Final = 64
# A batch makes tens of thousands of short-lived tuples and no cycles. With Python's default of 700 the collector
# looks through them all again and again: decoding 100,000 records took 16 us each, and takes 7 with these.
_GC_THRESHOLDS: Final = (50_000, 20, 50)

log = structlog.get_logger("worker.app")


class _NoWeb(BootStrategy):
    """Faust's own web server stays off, and its port unbound."""

    enable_web = False


class _BatchSchema(faust.Schema[None, Fetched]):
    """A message's value is a fetched batch already; the lane decodes what is in it."""

    def loads_key(self, app: AppT, message: Message, **_: object) -> None:
        """A batch has no key."""

    def loads_value(self, app: AppT, message: Message, **_: object) -> Fetched:  # noqa: ARG002 - Faust's signature
        """Return the batch."""
        return cast("Fetched", message.value)


class _App(faust.App):
    """Faust without its tables' folders: state lives in Redis, and nothing is written to the working directory."""

    def _create_directories(self) -> None:
        """Create none."""


def build_app(settings: Settings, lanes: Lanes, ingress: Ingress) -> faust.App:
    """Return the Faust app of one worker process; nothing connects before it is started."""
    app = _App(
        settings.consumer_group,
        broker=[URL(f"kafka://{address.strip()}") for address in settings.kafka_bootstrap.split(",")],
        autodiscover=False,
        store="memory://",
        processing_guarantee="at_least_once",
        broker_max_poll_records=_FETCHED_RECORDS,
        broker_max_poll_interval=_MAX_POLL_SECONDS,
        broker_session_timeout=_SESSION_SECONDS,
        broker_rebalance_timeout=_REBALANCE_SECONDS,
        broker_request_timeout=_REQUEST_SECONDS,
        broker_commit_interval=1.0,
        # A lane that stands still says so in /status; Faust would say something less true every few seconds.
        broker_commit_livelock_soft_timeout=_MAX_POLL_SECONDS,
        stream_processing_timeout=_MAX_POLL_SECONDS,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=_STREAM_BUFFER,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.boot_strategy = _NoWeb(app)
    client = settings.kafka_client()
    if "ssl_context" in client or "sasl_mechanism" in client:
        app.conf.broker_credentials = _credentials(client)
    transport = transport_for(lanes, settings.topics.events)
    app.transport = transport(app.conf.broker, app=app, loop=app.loop)

    @app.agent(app.topic(settings.topics.events, schema=_BatchSchema(), internal=False), name="lanes")
    async def feed(stream: StreamT[Fetched]) -> AsyncIterator[None]:
        """Pass each batch to its partition's lane, which acknowledges it; never wait for a lane."""
        async for event in cast("Stream[Fetched]", stream).noack().events():
            lanes.offer(event.message.partition, cast("Fetched", event.value), event.ack)
            yield

    for source in settings.ingress_topics:

        @app.agent(app.topic(source.topic, schema=_BatchSchema(), internal=False), name=f"ingress-{source.topic}")
        async def forward(stream: StreamT[Fetched]) -> AsyncIterator[None]:
            """Normalise each batch of an ingress topic."""
            async for event in cast("Stream[Fetched]", stream).noack().events():
                await _forward(ingress, event)
                yield

    return app


def _credentials(client: Mapping[str, Any]) -> CredentialsT:
    """Return Faust's form of the credentials that every other client of ours uses."""
    if "sasl_mechanism" not in client:
        return faust.SSLCredentials(client["ssl_context"])
    return faust.SASLCredentials(
        username=client["sasl_plain_username"],
        password=client["sasl_plain_password"],
        mechanism=client["sasl_mechanism"],
        ssl_context=client.get("ssl_context"),
    )


async def _forward(ingress: Ingress, event: EventT[Fetched]) -> None:
    """Publish a batch of an ingress topic; try until Kafka has it.

    A defect of ours is tried again too: an agent that dies would be missed by nobody.
    """
    backoff = Backoff(random.SystemRandom())
    topic = event.message.topic
    try:
        while True:
            try:
                await ingress.forward(cast("Fetched", event.value).records)
            except OutputError as error:
                if not backoff.failing:
                    log.warning("ingress_waiting", topic=topic, reason=describe(error))
                ingress.findings[topic] = describe(error)
            except Exception as error:
                if not backoff.failing:
                    log.exception("ingress_failed", topic=topic)
                ingress.findings[topic] = f"a batch could not be forwarded: {error!r}; see the log"
            else:
                event.ack()
                return
            await asyncio.sleep(backoff.next())
    finally:
        ingress.findings.pop(topic, None)


class Worker:
    """One worker process: the lanes of its partitions and everything they share.

    Args:
        settings: the settings.
        embedded: whether the broker is the embedded one, which stamps no log time and cannot be asked about topics.
        clock: time, by default the machine's.
    """

    def __init__(self, settings: Settings, *, embedded: bool = False, clock: Clock | None = None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._random = random.SystemRandom()
        self.store = Store.connect(settings)
        self.outputs = Outputs(settings)
        self.reader = Reader(settings)
        self.metrics = Metrics()
        self.ingress = Ingress(self.outputs, settings.partitions, self.metrics)
        self._app: faust.App | None = None
        clock = clock or WallClock()
        self.redis_watch = RedisWatch(self.store, clock, durable=not embedded)
        self.lanes = Lanes(
            Services(
                store=self.store,
                outputs=self.outputs,
                bounds=self._bounds,
                reader=self.reader,
                clock=clock,
                metrics=self.metrics,
                random=self._random,
                partitions=settings.partitions,
                reply_prefix=reply_channel(settings.redis_prefix, ""),
                deadletter_max_ratio=settings.deadletter_max_ratio,
            )
        )
        self.joined = False
        self.kafka_finding: str | None = "starting: not yet connected"

    async def _bounds(self, partition: int) -> tuple[int, int]:
        if self._app is None:
            raise KafkaError("the consumer is not running")
        consumer = cast("BatchConsumer", self._app.consumer)
        return await consumer.bounds(partition)

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Work until `stop`; finish the batches in hand, leave the group, disconnect.

        Stopping takes well under a second where Kafka and Redis answer, and never more than 40: a lane's last
        batch (`END_SECONDS`, 15), the consumer and the producer (`STOP_SECONDS`, 10 each), the rest.

        Raises:
            TopicsError: if the topics are not what the pipeline's promises rest on.
        """
        page = StatusPage(self, self._settings)
        await page.start()
        watching = asyncio.create_task(self.redis_watch.run(), name="redis-watch")
        try:
            if await self._connect(stop):
                if ready is not None:
                    ready.set()
                await self._supervise(stop)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await _within(STOP_SECONDS, self.outputs.stop(), "producer")
            await _within(STOP_SECONDS, self.reader.stop(), "reader")
            await self.store.close()
            await page.stop()

    async def _connect(self, stop: asyncio.Event) -> bool:
        """Wait for Kafka and check the topics; False where the worker was stopped first."""
        backoff = Backoff(self._random)
        while not stop.is_set():
            try:
                if not self._embedded:
                    await verify_topics(self._settings)
                await self.outputs.start()
            except (KafkaError, OSError) as error:
                self.kafka_finding = describe(error)
                if not backoff.failing:
                    log.warning("waiting_for_kafka", reason=self.kafka_finding)
                await _wait(stop, backoff.next())
            else:
                self.kafka_finding = "starting: waits for the other members of its group"
                return True
        return False

    async def _consume(self, app: faust.App) -> None:
        """Run one Faust app until it stops or crashes. Its start may take long: it waits for the group."""
        await app.start()
        self.joined, self.kafka_finding = True, None
        log.info("worker_ready", group=self._settings.consumer_group)
        await _first(app.wait_until_stopped(), _crashed(app))

    async def _supervise(self, stop: asyncio.Event) -> None:
        """Run Faust, and start it afresh should it give up, until stopped."""
        backoff = Backoff(self._random)
        while not stop.is_set():
            app = self._app = build_app(self._settings, self.lanes, self.ingress)
            try:
                consuming = asyncio.create_task(self._consume(app), name="consumer")
                await _first(stop.wait(), consuming)
                if not consuming.cancelled():
                    consuming.result()
            except (KafkaError, OSError) as error:
                self.kafka_finding = describe(error)
            finally:
                crash = app.crash_reason
                # The lanes first, so that what is in hand is committed while the partitions are still ours.
                await self.lanes.end()
                await _within(STOP_SECONDS, app.stop(), "consumer")
                # A rebalance on the way may have brought new lanes, for which the next consumer has not sought.
                await self.lanes.end()
            if not stop.is_set():
                if crash is not None:
                    self.kafka_finding = f"the consumer stopped: {crash!r}; it is started afresh"
                log.error("consumer_restarts", reason=self.kafka_finding)
                await _wait(stop, backoff.next())


async def _crashed(app: faust.App) -> None:
    await app._crashed.wait()  # noqa: SLF001 - Faust has no public way to wait for a crash


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _within(seconds: float, stopping: Coroutine[Any, Any, object], what: str) -> None:
    """Wait for something to stop, and go on without it where a broker that is away keeps it.

    It is told to give up, and not waited for: Faust swallows that once, and commits again.
    """
    task = asyncio.create_task(stopping, name=f"stop-{what}")
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        log.warning("not_stopped", what=what, seconds=seconds)
        task.add_done_callback(_forget)
        task.cancel()
        return
    try:
        task.result()
    except (KafkaError, OSError) as error:
        log.warning("not_stopped", what=what, error=describe(error))


def _forget(task: asyncio.Task[object]) -> None:
    """Look at a late result, so that nobody is told that it was never looked at."""
    if not task.cancelled():
        task.exception()


async def _first(*waits: Awaitable[object]) -> None:
    """Wait for the first of several, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def serve(
    settings: Settings, *, stop: asyncio.Event, ready: asyncio.Event | None = None, embedded: bool = False
) -> None:
    """Run a worker until `stop` is set; `ready` is set once Kafka answers and the topics are right."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    await Worker(settings, embedded=embedded).run(stop, ready)
