"""The Faust apps and their wiring: one app feeds the lanes, the other one ingress."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import faust
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.types import AppT, Message, StreamT
from faust.types.auth import CredentialsT
from yarl import URL

from schemas.settings import Settings
from worker.ingress.ingress import Ingress
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.manager import LaneManager
from worker.runtime.faust.ingress_transport import transport_for as ingress_transport
from worker.runtime.faust.transport import transport_for as lanes_transport

# Faust takes these in seconds. A session shorter than the last piece of a lane would lose the partition during it.
_SESSION_SECONDS: Final = 20.0
_REBALANCE_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0
# A broker that has just started may not know the topics yet. The leader of the group then assigns no partition until it
# asks again, by default after five minutes.
_METADATA_MS: Final = 5_000
# A partition that does not move is shown in /status. Leaving the group would only move the problem to another worker.
_MAX_POLL_SECONDS: Final = 86_400.0
_FETCHED_RECORDS: Final = 2_000
# In batches, not records. The agent never waits for a lane, so few batches are ever queued.
_STREAM_BUFFER: Final = 64


class _NoWeb(BootStrategy):
    """Starts Faust without its web server, whose port stays unbound."""

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
    app = _app(settings, settings.consumer_group)
    transport = lanes_transport(lanes, settings.topics.events)
    app.transport = transport(app.conf.broker, app=app, loop=app.loop)

    @app.agent(app.topic(settings.topics.events, schema=_BatchSchema(), internal=False), name="lanes")
    async def feed(stream: StreamT[FetchedBatch]) -> AsyncIterator[None]:
        """Pass each batch to its partition's lane, which acknowledges it; never wait for a lane."""
        async for event in cast("Stream[FetchedBatch]", stream).noack().events():
            lanes.offer(event.message.partition, cast("FetchedBatch", event.value), event.ack)
            yield

    return app


def build_ingress_app(settings: Settings, ingress: Ingress) -> faust.App:
    """Return the Faust app that feeds ingress, with its own consumer and group; it connects when it is started."""
    app = _app(settings, settings.ingress_group)
    transport = ingress_transport(settings, ingress)
    app.transport = transport(app.conf.broker, app=app, loop=app.loop)

    for source in settings.ingress_topics:

        @app.agent(app.topic(source.topic, schema=_BatchSchema(), internal=False), name=f"ingress-{source.topic}")
        async def forward(stream: StreamT[FetchedBatch]) -> AsyncIterator[None]:
            """Pass each batch to the forwarder of its partition, which keeps the position; never wait."""
            async for event in cast("Stream[FetchedBatch]", stream).noack().events():
                ingress.offer(event.message.tp, cast("FetchedBatch", event.value))
                event.ack()
                yield

    return app


def _app(settings: Settings, group: str) -> faust.App:
    """Return a Faust app without agents, and with Faust's own transport."""
    app = _App(
        group,
        # Faust's environment variables (BROKER_URL, WEB_PORT and a hundred more) would replace these settings.
        env={},
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
        # A lane that does not move is shown in /status. Faust would log a wrong reason every few seconds.
        broker_commit_livelock_soft_timeout=_MAX_POLL_SECONDS,
        stream_processing_timeout=_MAX_POLL_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=_METADATA_MS,
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
    return app


def _credentials(client: Mapping[str, Any]) -> CredentialsT:
    """Return the credentials of the other Kafka clients in the form that Faust takes."""
    if "sasl_mechanism" not in client:
        return faust.SSLCredentials(client["ssl_context"])
    return faust.SASLCredentials(
        username=client["sasl_plain_username"],
        password=client["sasl_plain_password"],
        mechanism=client["sasl_mechanism"],
        ssl_context=client.get("ssl_context"),
    )
