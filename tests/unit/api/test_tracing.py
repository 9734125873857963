"""Traces through the API: a span for each request, and events that carry the trace context."""

from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import EventRecord
from api.observability.tracing import MOST_CARRYING, TracedApp, TracedEvents
from schemas.environment import SettingsError
from schemas.tracing.carriage import trace_of
from schemas.tracing.starting import close_tracing, start_tracing
from tests.support import spans as support
from tests.support.events import breaker
from tests.support.records import Source, source
from tests.support.settings import settings_of
from tests.support.spans import NOT_SAMPLED, TRACE, TRACEPARENT, Spans
from tests.support.times import T
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeLog

spans = support.spans

VALUE = source(0, T, breaker("open")).value or b""


def carried(value: bytes) -> str | None:
    """Return the trace context of a published event."""
    return trace_of(Source(0, T, b"acme", value, ()))


@pytest.fixture
async def client(api: ApiOverFakes, spans: Spans) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with spans."""
    transport = httpx.ASGITransport(app=TracedApp(api.app, spans.tracing))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=api.client.headers) as client:
        yield client


async def test_a_request_has_a_span_in_the_trace_of_its_caller(client: httpx.AsyncClient, spans: Spans) -> None:
    """On the short way too; probes and metrics have none."""
    await client.get("/api/brain/sleep_mode", headers={"traceparent": TRACEPARENT})
    for page in ("/healthz", "/readyz", "/metrics"):
        await client.get(page)
    [span] = spans.all()
    assert span.context is not None
    assert (span.kind, f"{span.context.trace_id:032x}") == (SpanKind.SERVER, TRACE)
    assert span.name == "GET /api/brain/sleep_mode"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/brain/sleep_mode",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize("path", ["/console/?code=SECRET", "/api/operations/SECRET?a=SECRET", "/SECRET"])
async def test_a_span_has_nothing_of_the_address(client: httpx.AsyncClient, spans: Spans, path: str) -> None:
    """An address may hold the code of a sign-in."""
    await client.get(path, headers={"baggage": "a=SECRET", "tracestate": "SECRET"})
    [span] = spans.all()
    assert "SECRET" not in span.to_json()


async def test_an_answer_that_is_our_fault_is_the_status_of_its_span(
    api: ApiOverFakes, client: httpx.AsyncClient, spans: Spans
) -> None:
    """A 503, as without tracing."""
    api.log.down = UnavailableError("kafka", "no leader")
    answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 60})
    assert answer.status_code == 503
    assert spans.named("POST /api/util/sleep").status.status_code is StatusCode.ERROR


async def test_a_published_event_carries_the_span_of_its_publication(spans: Spans) -> None:
    """So that the worker's spans come below it."""
    log = FakeLog()
    assert await TracedEvents(log, "sleep.events", spans.tracing).publish(3, b"acme", VALUE) == 7
    span = spans.named("publish sleep.events")
    assert span.context is not None
    assert span.kind is SpanKind.PRODUCER
    assert (
        dict(span.attributes or {}).items()
        >= {
            "messaging.destination.partition.id": "3",
            "messaging.kafka.offset": 7,
        }.items()
    )
    [(partition, key, value)] = log.published
    assert (partition, key) == (3, b"acme")
    assert (carried(value) or "")[:-3] == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}"


async def test_a_failure_to_publish_is_the_status_of_its_span(spans: Spans) -> None:
    """And is raised as without tracing."""
    log = FakeLog()
    log.failure = UnavailableError("kafka", "no leader")
    log.down = log.failure
    publishing = TracedEvents(log, "sleep.events", spans.tracing)
    with pytest.raises(UnavailableError):
        publishing.require()
    with pytest.raises(UnavailableError):
        await publishing.publish(3, b"acme", VALUE)
    assert not spans.named("publish sleep.events").status.is_ok


@pytest.mark.parametrize(("count", "carries"), [(2, True), (MOST_CARRYING, True), (MOST_CARRYING + 1, False)])
async def test_the_events_of_a_small_request_carry_a_context(spans: Spans, count: int, *, carries: bool) -> None:
    """Those of a large one do not: its record batches have a limit."""
    log = FakeLog()
    records = [EventRecord(b"acme", VALUE)] * count
    await TracedEvents(log, "sleep.events", spans.tracing).publish_all({0: records[:1], 3: records[1:]})
    assert [carried(value) is not None for _, _, value in log.published] == [carries] * count
    assert dict(spans.named("publish sleep.events").attributes or {})["messaging.batch.message_count"] == count


async def test_tracing_is_off_by_default() -> None:
    """Then there is nothing to close either."""
    assert start_tracing(settings_of(), "tests") is None
    await close_tracing(None)


def test_without_its_packages_tracing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a process that seems to trace."""
    monkeypatch.setitem(__import__("sys").modules, "schemas.tracing.tracing", None)
    with pytest.raises(SettingsError, match=r"SLEEP_TRACING: .* install somabrain-sleep\[otel\]"):
        start_tracing(settings_of(tracing=True), "tests")


async def test_an_event_of_a_trace_that_nobody_samples_carries_nothing(spans: Spans) -> None:
    """So a low ratio has a low cost."""
    log = FakeLog()
    with spans.tracing.tracer.start_as_current_span("caller", context=spans.tracing.context_of(NOT_SAMPLED)):
        await TracedEvents(log, "sleep.events", spans.tracing).publish(3, b"acme", VALUE)
    assert [value for _, _, value in log.published] == [VALUE]
    assert spans.all() == []
