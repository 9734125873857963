"""Carries a trace context through ingress. Only imported where tracing is on."""

import time

import structlog
from opentelemetry.trace import SpanKind, Status, StatusCode

from schemas.formats.settings import TopicFormat
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.tracing.carriage import carrying, trace_of
from schemas.tracing.tracing import Tracing
from worker.ingress.normalise import Events, normalise
from worker.ingress.tenant_limit import Normalised

log = structlog.get_logger("worker.ingress.ingress")


class TracedNormalise:
    """`normalise`, with a span for each record that carries a trace context. Its events carry the span's.

    Args:
        tracing: makes the spans.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def __call__(self, record: SourceRecord, settings: TopicFormat) -> Events | Failure:
        """Return the events of a record, or why it is a dead letter."""
        begun = time.time_ns()
        result = normalise(record, settings)
        if isinstance(record, Unreadable):
            return result
        try:
            return self._traced(record, result, begun)
        except Exception:
            # An error of a library, of a sampler that a variable names, say, must not stop the other records.
            log.exception("span_not_made", topic=record.topic, partition=record.partition)
            return result

    def _traced(self, record: SourceRecord, result: Events | Failure, begun: int) -> Events | Failure:
        """Make the span, which began at this time in ns since 1970, and return events that carry it."""
        traceparent = trace_of(record)
        if traceparent is None:
            return result
        span = self._tracing.tracer.start_span(
            f"process {record.topic}",
            context=self._tracing.context_of(traceparent),
            kind=SpanKind.CONSUMER,
            start_time=begun,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            },
        )
        carried = self._tracing.traceparent_of(span)
        if isinstance(result, Failure):
            span.set_status(Status(StatusCode.ERROR, result.code))
        else:
            result = result._replace(events=[_carrying(event, carried) for event in result.events])
        span.end()
        return result


def _carrying(event: Normalised, traceparent: str | None) -> Normalised:
    output = event.output
    value = None if output.value is None else carrying(output.value, traceparent)
    return event._replace(output=output._replace(value=value))
