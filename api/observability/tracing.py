"""Traces of the API: a span for each request, and one for what it publishes, whose context the events carry."""

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.adapters.kafka_events import EventRecord, EventsLog
from schemas.http.counted import PROBES
from schemas.tracing.carriage import carrying, trace_of_headers
from schemas.tracing.tracing import Tracing

_UNTRACED: Final = PROBES | {"/metrics"}
_SERVER_ERROR: Final = 500
MOST_CARRYING: Final = 100
"""A request with more events has one span. Its events carry no trace context, which would make them a third longer."""


class TracedEvents:
    """The events topic, with a span for each request to it; see `EventsLog`.

    Args:
        log: publishes.
        topic: the name of the events topic.
        tracing: makes the spans.
    """

    def __init__(self, log: EventsLog, topic: str, tracing: Tracing) -> None:
        self._log = log
        self._tracing = tracing
        self._name = f"publish {topic}"
        # https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
        self._attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "publish",
            "messaging.destination.name": topic,
        }

    def require(self) -> None:
        """Require that publishing worked; see `EventsLog`."""
        self._log.require()

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        """Publish a record that carries the trace context; see `EventsLog`."""
        attributes = self._attributes | {"messaging.destination.partition.id": str(partition)}
        with self._tracing.tracer.start_as_current_span(
            self._name, kind=SpanKind.PRODUCER, attributes=attributes
        ) as span:
            offset = await self._log.publish(partition, key, carrying(value, self._tracing.traceparent_of(span)))
            if offset is not None:
                span.set_attribute("messaging.kafka.offset", offset)
            return offset

    async def publish_all(self, batches: Mapping[int, Sequence[EventRecord]]) -> None:
        """Publish records that carry the trace context; see `EventsLog`."""
        count = sum(map(len, batches.values()))
        attributes = self._attributes | {"messaging.batch.message_count": count}
        with self._tracing.tracer.start_as_current_span(
            self._name, kind=SpanKind.PRODUCER, attributes=attributes
        ) as span:
            if count <= MOST_CARRYING:
                traceparent = self._tracing.traceparent_of(span)
                batches = {
                    partition: [EventRecord(key, carrying(value, traceparent)) for key, value in records]
                    for partition, records in batches.items()
                }
            await self._log.publish_all(batches)


class TracedApp:
    """An application with a span for each request, but for those of probes and metrics.

    A span has the method, the route and the status. It has no path and no query: they may hold anything, such as the
    code of a sign-in. Of the headers only `traceparent` is read.

    Args:
        app: the application.
        tracing: makes the spans.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or run from the start of the application to its end."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        traceparent = trace_of_headers((name.decode("latin-1"), value) for name, value in scope["headers"])
        context = Context() if traceparent is None else self._tracing.context_of(traceparent)
        method = scope["method"]
        with self._tracing.tracer.start_as_current_span(
            method, context=context, kind=SpanKind.SERVER, attributes={"http.request.method": method}
        ) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= _SERVER_ERROR:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                if (path := getattr(scope.get("route"), "path", None)) is not None:
                    span.update_name(f"{method} {path}")
                    span.set_attribute("http.route", path)
