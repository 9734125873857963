"""One worker process: what its lanes share, the consumers that it keeps running, and its stop in bounded time."""

import asyncio
import random
from typing import TYPE_CHECKING, Final, cast

import structlog
from aiokafka.errors import KafkaError

from schemas.backoff import Backoff
from schemas.errors import describe
from schemas.http.server import Member
from schemas.names import reply_channel
from schemas.redis.watch import RedisWatch
from schemas.settings import Settings
from schemas.tracing.starting import close_tracing, start_tracing
from worker.adapters.aiokafka_patches import create_no_topics, mend_aiokafka
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.kafka_reader import KafkaReader
from worker.adapters.kafka_topics import verify_topics
from worker.adapters.redis_store import LaneStore
from worker.clock import WallClock
from worker.ingress.forwarder import Normalise
from worker.ingress.ingress import Ingress
from worker.ingress.normalise import normalise
from worker.metrics import Metrics
from worker.partition.context import LaneContext, LaneSettings
from worker.partition.manager import LaneManager
from worker.ports import Clock
from worker.runtime.faust.app import build_app, build_ingress_app
from worker.runtime.faust.consumer_supervisor import STOP_SECONDS, SupervisedConsumer, end_all, wait, within
from worker.runtime.faust.transport import LaneConsumer
from worker.runtime.status_server import StatusPage
from worker.runtime.topic_watch import TopicWatch
from worker.runtime.unreadable_batches import UnreadableBatches

if TYPE_CHECKING:
    from schemas.tracing.tracing import Tracing

_CLOSE_SECONDS: Final = 2.0

log = structlog.get_logger("worker.runtime.worker")


class Worker:
    """One worker process: the lanes of its partitions, and what they share.

    Args:
        settings: the settings.
        embedded: whether the broker is the embedded one, which has no LogAppendTime and does not describe topics.
        clock: the time, by default that of the machine.
        member: given to one of several processes, for its status page.
        tracing: makes spans; None if tracing is off.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        embedded: bool = False,
        clock: Clock | None = None,
        member: Member | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        create_no_topics()
        self._member = member
        self._settings = settings
        self._embedded = embedded
        self._random = random.SystemRandom()
        self.store = LaneStore.connect(settings)
        self.outputs = KafkaOutputs(settings)
        self.reader = KafkaReader(settings, self.outputs.require_fit)
        self.metrics = Metrics()
        self.unreadable = UnreadableBatches()
        self.ingress = Ingress(
            self.outputs,
            settings.partitions,
            self.metrics,
            self.unreadable,
            settings.ingress_tenant_limit,
            {source.topic: source for source in settings.ingress_topics},
            normalise=_normalise_of(tracing),
        )
        clock = clock or WallClock()
        self.topic_watch = TopicWatch(self.outputs, settings.partitions, clock)
        self.redis_watch = RedisWatch(
            self.store.primaries(settings.partitions), durable=not embedded, clock=clock.now, pause=clock.sleep
        )
        self.metrics.watch_redis(self.redis_watch)
        self.lanes = LaneManager(
            LaneContext(
                store=self.store,
                outputs=self.outputs,
                reader=self.reader,
                offset_range=self._offset_range,
                clock=clock,
                random=self._random,
                metrics=self.metrics,
                unreadable=self.unreadable,
                settings=LaneSettings(
                    partitions=settings.partitions,
                    reply_prefix=reply_channel(settings.redis_prefix, ""),
                    deadletter_max_ratio=settings.deadletter_max_ratio,
                ),
                tracing=tracing,
            )
        )
        self.consumer = SupervisedConsumer(
            "worker",
            settings.consumer_group,
            lambda: build_app(settings, self.lanes),
            self._random,
            end=self.lanes.end,
        )
        self.ingress_consumer = SupervisedConsumer(
            "ingress",
            settings.ingress_group,
            lambda: build_ingress_app(settings, self.ingress),
            self._random,
            end=self.ingress.end,
            # Even an error of our own code must not end the process in which the lanes run.
            survives=(Exception,),
        )
        self._connection_problem: str | None = "starting: not yet connected"

    @property
    def joined(self) -> bool:
        """Whether the consumer of the lanes has joined its group once."""
        return self.consumer.joined

    @property
    def kafka_problem(self) -> str | None:
        """Why the lanes get no records from Kafka, None if they get them."""
        return self._connection_problem or self.consumer.problem

    @property
    def ingress_problems(self) -> dict[str, str]:
        """Why ingress topics are not read or not forwarded, by topic."""
        problem = self.ingress_consumer.problem
        topics = [source.topic for source in self._settings.ingress_topics]
        return ({} if problem is None else dict.fromkeys(topics, problem)) | self.ingress.problems

    async def _offset_range(self, partition: int) -> tuple[int, int]:
        if self.consumer.app is None:
            raise KafkaError("the consumer is not running")
        consumer = cast("LaneConsumer", self.consumer.app.consumer)
        return await consumer.offset_range(partition)

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Work until `stop`; then finish the present pieces, leave the group and disconnect.

        If Kafka and Redis answer, stopping takes well under a second. It never takes more than 45 seconds:

        - the task of the consumer, which may be starting (3);
        - the last pieces of the lanes (15 and 1), then the consumer (10);
        - lanes of a late rebalance (1 and 1);
        - producer, reader and watch of Redis at the same time (10);
        - the connections to Redis, and the status page (2 each).

        What does not end in time is logged by its name, and left behind.

        Raises:
            TopicsError: if the topics break a guarantee of the pipeline.
        """
        page = StatusPage(self, self._settings, self._member)
        try:
            await page.start()
        except OSError:
            # The producer exists, and would warn that it was not closed.
            await self.outputs.stop()
            await self.store.close()
            raise
        watching = [asyncio.create_task(self.redis_watch.run(), name="redis-watch")]
        try:
            if await self._connect(stop):
                watching.append(asyncio.create_task(self.topic_watch.run(), name="topic-watch"))
                if ready is not None:
                    ready.set()
                await self._consume(stop)
        finally:
            await asyncio.gather(
                end_all(*watching),
                within(STOP_SECONDS, self.outputs.stop(), "producer"),
                within(STOP_SECONDS, self.reader.stop(), "reader"),
            )
            await within(_CLOSE_SECONDS, self.store.close(), "redis")
            await within(_CLOSE_SECONDS, page.stop(), "status-page")

    async def _connect(self, stop: asyncio.Event) -> bool:
        """Wait for Kafka and check the topics; False if the worker was stopped first."""
        backoff = Backoff(self._random)
        while not stop.is_set():
            try:
                if not self._embedded:
                    await verify_topics(self._settings)
                await self.outputs.start()
            except (KafkaError, OSError) as error:
                self._connection_problem = describe(error)
                if not backoff.failing:
                    log.warning("waiting_for_kafka", reason=self._connection_problem)
                await wait(stop, backoff.next())
            else:
                self._connection_problem = None
                return True
        return False

    async def _consume(self, stop: asyncio.Event) -> None:
        """Run the consumers until stopped. The one for ingress runs only if there are ingress topics."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.consumer.run(stop), name="supervisor")
            if self._settings.ingress_topics:
                group.create_task(self.ingress_consumer.run(stop), name="ingress-supervisor")


def _normalise_of(tracing: "Tracing | None") -> Normalise:
    if tracing is None:
        return normalise
    from worker.ingress.traced import TracedNormalise  # noqa: PLC0415 - only where tracing is on

    return TracedNormalise(tracing)


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    embedded: bool = False,
    member: Member | None = None,
) -> None:
    """Run a worker until `stop` is set; it sets `ready` once Kafka answers and the topics are right."""
    mend_aiokafka()
    tracing = start_tracing(settings, "somabrain-sleep-worker")
    try:
        await Worker(settings, embedded=embedded, member=member, tracing=tracing).run(stop, ready)
    finally:
        await close_tracing(tracing)
