"""The Faust app and its wiring: one consumer, one agent that feeds the lanes, one that normalises ingress."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import faust
import structlog
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.types import AppT, EventT, Message, StreamT
from faust.types.auth import CredentialsT
from yarl import URL

from schemas.errors import describe
from schemas.settings import Settings
from worker.clock import Backoff
from worker.ingress import Ingress
from worker.intake import Fetched
from worker.lanes import Lanes
from worker.ports import OutputError
from worker.transport import transport_for

# Faust takes these in seconds. A session shorter than a lane's last batch would lose the partition in the middle.
_SESSION_SECONDS: Final = 20.0
_REBALANCE_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 60.0
# A broker that has just come up may not name the topics to the worker that leads the group, which then gives nothing to
# anybody until it has asked again; by default it would ask after five minutes.
_METADATA_MS: Final = 5_000
# A partition that stands still is shown in /status; leaving the group for it would only move the trouble.
_MAX_POLL_SECONDS: Final = 86_400.0
_FETCHED_RECORDS: Final = 2_000
# Counts batches, not records: the agent never waits for a lane, so few are ever queued.
_STREAM_BUFFER: Final = 64

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
