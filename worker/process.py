"""One worker process: what its lanes share, the consumer that it keeps running, and an end within bounds."""

import asyncio
import gc
import random
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, cast

import faust
import structlog
from aiokafka.errors import KafkaError

from schemas.errors import describe
from schemas.names import reply_channel
from schemas.settings import Settings
from worker.app import build_app
from worker.clock import Backoff, WallClock
from worker.ingress import Ingress
from worker.lane import Services
from worker.lanes import Lanes
from worker.metrics import Metrics
from worker.outputs import Outputs
from worker.ports import Clock
from worker.reader import Reader
from worker.redis_watch import RedisWatch
from worker.status import StatusPage
from worker.store import Store
from worker.topics import verify_topics
from worker.transport import BatchConsumer

STOP_SECONDS: Final = 10.0
# A batch makes tens of thousands of short-lived tuples and no cycles. With Python's default of 700 the collector
# looks through them all again and again: decoding 100,000 records took 16 us each, and takes 7 with these.
_GC_THRESHOLDS: Final = (50_000, 20, 50)

log = structlog.get_logger("worker.process")


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
            app: faust.App | None = None
            try:
                app = self._app = build_app(self._settings, self.lanes, self.ingress)
                consuming = asyncio.create_task(self._consume(app), name="consumer")
                await _first(stop.wait(), consuming)
                if not consuming.cancelled():
                    consuming.result()
            except (KafkaError, OSError) as error:
                self.kafka_finding = describe(error)
            finally:
                crash = None if app is None else app.crash_reason
                # The lanes first, so that what is in hand is committed while the partitions are still ours.
                await self.lanes.end()
                if app is not None:
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
