"""Traces through the worker: the spans of a piece, and the context that ingress passes on."""

from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from schemas.formats.settings import TopicFormat
from schemas.kafka.source_record import Failure
from schemas.tracing.carriage import carrying, trace_of
from tests.support import spans as support
from tests.support.events import breaker as breaker_document
from tests.support.outputs import breaker, operation
from tests.support.records import Source, source
from tests.support.spans import NOT_SAMPLED, TRACE, TRACEPARENT, Spans
from tests.support.times import T
from tests.support.world import World
from worker.ingress.traced import TracedNormalise
from worker.partition.manager import LaneManager
from worker.partition.traced_pieces import MOST_TRACED
from worker.ports import Output

spans = support.spans


def traced(output: Output, traceparent: str = TRACEPARENT) -> Output:
    """Return a record of the log whose event carries a trace context."""
    return output._replace(value=carrying(output.value or b"", traceparent))


@pytest.fixture
def traced_world(world: World, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose worker makes spans."""
    lanes = LaneManager(world.context(world.worker.metrics)._replace(tracing=spans.tracing))
    world.worker.lanes = lanes
    monkeypatch.setattr(world.worker.consumer, "_lanes", lanes)
    return world


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


async def test_an_event_with_a_context_gets_a_span_with_the_steps_of_its_piece(
    traced_world: World, spans: Spans
) -> None:
    """In the trace of whoever sent it, beside an event without a context, which gets none."""
    traced_world.assign()
    traced_world.log(operation("a", "op-1"), traced(breaker("b", "open")))
    await traced_world.run()
    span = spans.named("process sleep.events")
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, "00f067aa0ba902b7")
    assert span.kind is SpanKind.CONSUMER
    assert span.status.is_unset
    assert attributes(span) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.destination.name": "sleep.events",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 1,
        "sleep.tenant": "b",
        "sleep.event_type": "sleep.breaker.v1",
    }
    steps = [
        child for child in spans.all() if child.parent is not None and child.parent.span_id == span.context.span_id
    ]
    assert [step.name for step in steps] == ["load", "fold", "publish", "commit"]
    for step in steps:
        assert (span.start_time or 0) <= (step.start_time or 0) <= (step.end_time or 0) <= (span.end_time or 0)


async def test_a_context_that_is_not_sampled_costs_no_span(traced_world: World, spans: Spans) -> None:
    """Who began the trace decides."""
    traced_world.assign()
    traced_world.log(traced(breaker("a", "open"), NOT_SAMPLED))
    await traced_world.run()
    assert spans.all() == []


async def test_a_piece_that_fails_ends_its_spans_with_the_reason(traced_world: World, spans: Spans) -> None:
    """And the next try of the same piece has spans of its own."""
    traced_world.assign()
    traced_world.outputs.faults.lost.append(f"send:{traced_world.topics.states}")
    traced_world.log(traced(breaker("a", "open")))
    await traced_world.advance(10)
    failed, done = [span for span in spans.all() if span.name == "process sleep.events"]
    assert not failed.status.is_ok
    assert failed.status.description == "KafkaError: kafka is away"
    assert done.status.is_unset


async def test_the_spans_of_one_piece_are_bounded(traced_world: World, spans: Spans) -> None:
    """However many of its events carry a context."""
    traced_world.assign()
    traced_world.log(*(traced(breaker("a", "open", instance=str(number))) for number in range(MOST_TRACED + 5)))
    await traced_world.run()
    assert len([span for span in spans.all() if span.name == "process sleep.events"]) == MOST_TRACED


def emitted(value: bytes) -> Source:
    """Return a record of an ingress topic."""
    return Source(3, T, None, value, (), "sleep.breakers", 7)


def test_ingress_passes_the_context_on(spans: Spans) -> None:
    """With the span of ingress as the parent of what comes later."""
    value = carrying(source(0, T, breaker_document("open")).value or b"", TRACEPARENT)
    result = TracedNormalise(spans.tracing)(emitted(value), TopicFormat(tenant="subject"))
    assert not isinstance(result, Failure)
    [event] = result.events
    span = spans.named("process sleep.breakers")
    assert span.context is not None
    carried = trace_of(emitted(event.output.value or b""))
    assert (carried or "")[:-3] == f"00-{TRACE}-{span.context.span_id:016x}"


def test_ingress_names_why_an_event_with_a_context_is_a_dead_letter(spans: Spans) -> None:
    """As the status of the span."""
    value = carrying(b'{"specversion":"1.0"}', TRACEPARENT)
    result = TracedNormalise(spans.tracing)(emitted(value), TopicFormat(tenant="subject"))
    assert isinstance(result, Failure)
    assert spans.named("process sleep.breakers").status.description == result.code


def test_ingress_leaves_an_event_without_a_context_alone(spans: Spans) -> None:
    """It carries none, and has no span."""
    value = source(0, T, breaker_document("open")).value or b""
    result = TracedNormalise(spans.tracing)(emitted(value), TopicFormat(tenant="subject"))
    assert not isinstance(result, Failure)
    [event] = result.events
    assert trace_of(emitted(event.output.value or b"")) is None
    assert spans.all() == []


def broken(*_: object, **__: object) -> NoReturn:
    """Fail, as a library may."""
    raise RuntimeError("the sampler failed")


async def test_an_error_while_spans_are_made_stops_no_lane(
    traced_world: World, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The piece is committed by then."""
    monkeypatch.setattr(spans.tracing.tracer, "start_span", broken)
    lane = traced_world.assign()
    with capture_logs() as logs:
        traced_world.log(traced(breaker("a", "open")))
        await traced_world.run()
    assert (lane.position, lane.problem) == (1, None)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["spans_not_made"]


def test_an_error_while_a_span_is_made_loses_no_event(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingress passes it on without a context."""
    monkeypatch.setattr(spans.tracing.tracer, "start_span", broken)
    value = carrying(source(0, T, breaker_document("open")).value or b"", TRACEPARENT)
    with capture_logs() as logs:
        result = TracedNormalise(spans.tracing)(emitted(value), TopicFormat(tenant="subject"))
    assert not isinstance(result, Failure)
    assert len(result.events) == 1
    assert [line["event"] for line in logs] == ["span_not_made"]
