"""Traces of the API: a span for each request, and one for what it publishes, whose context the events carry."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import SpanKind

from api.adapters.kafka_events import EventRecord, EventsLog
from schemas.http.counted import PROBES
from schemas.tracing.carriage import carrying
from schemas.tracing.tracing import Tracing

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


def traced(app: Any, tracing: Tracing) -> OpenTelemetryMiddleware:  # noqa: ANN401 - the library's type of an application
    """Return the application with a span for each request but those of probes and metrics."""
    return OpenTelemetryMiddleware(
        app,
        excluded_urls=",".join(f"{path}$" for path in (*sorted(PROBES), "/metrics")),
        default_span_details=_details,
        server_request_hook=None,
        tracer_provider=tracing.provider,
        exclude_spans=["receive", "send"],
    )


def _details(scope: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a request's span: its method. Its path has ids, and may be anything."""
    return str(scope.get("method", "HTTP")), {}
