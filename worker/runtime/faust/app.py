"""The Faust apps and their wiring: one app feeds the lanes, the other one ingress."""

from typing import Final, cast

import faust
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.types import AppT, Message, StreamT

from schemas.settings import Settings
from worker.ingress.ingress import Ingress
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.manager import LaneManager
from worker.runtime.faust.ingress_transport import transport_for as ingress_transport
from worker.runtime.faust.transport import transport_for as lanes_transport

# In batches, not records. The agent never waits for a lane, so few batches are ever queued.
_STREAM_BUFFER: Final = 64


class _OnlyConsumer(BootStrategy):
    """Starts Faust without its web server, whose port stays unbound, and without its producer."""

    enable_kafka_producer = False
    enable_web = False


class _BatchSchema(faust.Schema[None, FetchedBatch]):
    """The value of a message is a fetched batch already; the lane decodes its records."""

    def loads_key(self, app: AppT, message: Message, **_: object) -> None:
        """A batch has no key."""

    def loads_value(self, app: AppT, message: Message, **_: object) -> FetchedBatch:  # noqa: ARG002 - Faust's signature
        """Return the batch."""
        return cast("FetchedBatch", message.value)


class _App(faust.App):
    """Faust without folders for tables: state is in Redis, and no file is written to the working directory."""

    def _create_directories(self) -> None:
        """Create no folder."""


def build_app(settings: Settings, lanes: LaneManager) -> faust.App:
    """Return the Faust app that feeds the lanes of one worker process; it connects when it is started."""
    app = _app(settings.consumer_group)
    transport = lanes_transport(settings, lanes)
    app.transport = transport(app.conf.broker, app=app, loop=app.loop)

    @app.agent(app.topic(settings.topics.events, schema=_BatchSchema(), internal=False), name="lanes")
    async def feed(stream: StreamT[FetchedBatch]) -> None:
        """Pass each batch to its partition's lane, which acknowledges it; never wait for a lane."""
        async for event in cast("Stream[FetchedBatch]", stream).noack().events():
            lanes.offer(event.message.partition, cast("FetchedBatch", event.value), event.ack)

    return app


def build_ingress_app(settings: Settings, ingress: Ingress) -> faust.App:
    """Return the Faust app that feeds ingress, with its own consumer and group; it connects when it is started."""
    app = _app(settings.ingress_group)
    transport = ingress_transport(settings, ingress)
    app.transport = transport(app.conf.broker, app=app, loop=app.loop)

    for source in settings.ingress_topics:

        @app.agent(app.topic(source.topic, schema=_BatchSchema(), internal=False), name=f"ingress-{source.topic}")
        async def forward(stream: StreamT[FetchedBatch]) -> None:
            """Pass each batch to the forwarder of its partition, which keeps the position; never wait."""
            async for event in cast("Stream[FetchedBatch]", stream).noack().events():
                ingress.offer(event.message.tp, cast("FetchedBatch", event.value))
                event.ack()

    return app


def _app(group: str) -> faust.App:
    """Return a Faust app without agents, and with Faust's own transport."""
    app = _App(
        group,
        # Faust's environment variables (BROKER_URL, WEB_PORT and a hundred more) would replace these settings.
        env={},
        autodiscover=False,
        store="memory://",
        processing_guarantee="at_least_once",
        broker_commit_interval=1.0,
        stream_buffer_maxsize=_STREAM_BUFFER,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.boot_strategy = _OnlyConsumer(app)
    return app
