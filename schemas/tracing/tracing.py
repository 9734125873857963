"""Spans of this process, exported by OTLP over HTTP. Only imported where tracing is on: it needs the extra `otel`."""

import threading
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import build_info as build

CLOSE_SECONDS: Final = 3.0
"""How long the last spans may take to be exported when the process stops. Later ones are lost."""
_FIELD: Final = "traceparent"


class Tracing:
    """Makes spans, and reads and writes the trace context.

    The variables of OpenTelemetry count: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`,
    `OTEL_BSP_MAX_QUEUE_SIZE` and the others of its specification. At most 2,048 spans wait by default; then spans are
    dropped.

    Attributes:
        tracer: makes the spans of this project.

    Args:
        service: the name of the service, unless `OTEL_SERVICE_NAME` gives one.
        processor: gets the spans that have ended.
    """

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        own = Resource({SERVICE_NAME: service, SERVICE_VERSION: build.version()})
        # No flush when the interpreter ends: it would have no time limit.
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self.tracer: Tracer = self._provider.get_tracer(build.DISTRIBUTION, build.version())
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def exporting(cls, service: str) -> Self:
        """Return one that exports to the endpoint of `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return cls(service, BatchSpanProcessor(OTLPSpanExporter()))

    def context_of(self, traceparent: str) -> Context:
        """Return the context in which the children of a remote span start."""
        return self._propagator.extract({_FIELD: traceparent}, Context())

    def traceparent_of(self, span: Span) -> str | None:
        """Return the trace context for what a span causes elsewhere; None if the span is not sampled."""
        if not span.get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        return carrier.get(_FIELD)

    def close(self) -> bool:
        """Export the last spans; tell whether that was done within `CLOSE_SECONDS`."""
        # The exporter retries for up to a minute, so a thread of its own is left behind rather than waited for.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        return not closing.is_alive()
