"""Carries a trace context through ingress. Only imported where tracing is on."""

from opentelemetry.trace import SpanKind, Status, StatusCode

from schemas.formats.settings import TopicFormat
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.tracing.carriage import carrying, trace_of
from schemas.tracing.tracing import Tracing
from worker.ingress.normalise import Events, normalise
from worker.ingress.tenant_limit import Normalised


class TracedNormalise:
    """`normalise`, with a span for each record that carries a trace context. Its events carry the span's.

    Args:
        tracing: makes the spans.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def __call__(self, record: SourceRecord, settings: TopicFormat) -> Events | Failure:
        """Return the events of a record, or why it is a dead letter."""
        traceparent = None if isinstance(record, Unreadable) else trace_of(record)
        if traceparent is None:
            return normalise(record, settings)
        with self._tracing.tracer.start_as_current_span(
            f"process {record.topic}",
            context=self._tracing.context_of(traceparent),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            },
        ) as span:
            result = normalise(record, settings)
            if isinstance(result, Failure):
                span.set_status(Status(StatusCode.ERROR, result.code))
                return result
            carried = self._tracing.traceparent_of(span)
            return result._replace(events=[_carrying(event, carried) for event in result.events])


def _carrying(event: Normalised, traceparent: str | None) -> Normalised:
    output = event.output
    value = None if output.value is None else carrying(output.value, traceparent)
    return event._replace(output=output._replace(value=value))
