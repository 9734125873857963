"""Tracing that keeps its spans in memory."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from schemas.tracing.tracing import Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


class Spans(NamedTuple):
    """Tracing, and the spans that it has exported."""

    tracing: Tracing
    exporter: InMemorySpanExporter

    def all(self) -> list[ReadableSpan]:
        """Return every span, in the order in which they ended."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        [span] = [span for span in self.all() if span.name == name]
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Tracing in memory."""
    exporter = InMemorySpanExporter()
    tracing = Tracing("tests", SimpleSpanProcessor(exporter))
    yield Spans(tracing, exporter)
    assert tracing.close()
