"""One trace from an HTTP request through the log and the fold to the commit, exported by OTLP from both processes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.services import Namespace, Services
from tests.support.installation import Installation
from tests.support.spans import TRACE, TRACEPARENT

pytestmark = pytest.mark.once

SLEEP = {"target_state": "deep", "ttl_seconds": 60}


class Collector:
    """A receiver of OTLP over HTTP, as a collector is.

    Attributes:
        url: its address.
        spans: each span that came, with the name of its service.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raise AssertionError("the test sets no compression")
                collector._take(self.path, body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += ((attributes["service.name"], span) for span in scope.spans)

    def close(self) -> None:
        """Stop, and wait for the end."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of_trace(self, trace: str) -> dict[str, tuple[str, Span]]:
        """Return the spans of a trace by name, each with its service."""
        return {span.name: (service, span) for service, span in self.spans if span.trace_id.hex() == trace}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics of its own."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as opened:
        yield opened


async def test_one_trace_leads_from_the_request_to_the_commit(installation: Installation, collector: Collector) -> None:
    """Each span below the one that caused it, in two services."""
    tracing = {
        "SLEEP_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    worker = installation.start("worker", **tracing)
    door = await installation.open_door(**tracing)
    async with door.client("acme") as client:
        answer = await client.post("/api/util/sleep", json=SLEEP, headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 200
    # A stop exports what is left.
    for process in (door.process, worker):
        assert await asyncio.to_thread(process.stop) == 0
    trace = collector.of_trace(TRACE)
    topic = installation.settings.topics.events
    request, published, processed = "POST /api/util/sleep", f"publish {topic}", f"process {topic}"
    assert {name: service for name, (service, _) in trace.items()} == {
        request: "somabrain-sleep-api",
        published: "somabrain-sleep-api",
        processed: "somabrain-sleep-worker",
        **dict.fromkeys(("load", "fold", "publish", "commit"), "somabrain-sleep-worker"),
    }
    assert trace[request][1].parent_span_id.hex() == "00f067aa0ba902b7"
    for child, parent in (
        (published, request),
        (processed, published),
        ("load", processed),
        ("fold", processed),
        ("publish", processed),
        ("commit", processed),
    ):
        assert trace[child][1].parent_span_id == trace[parent][1].span_id, child


async def test_a_collector_that_is_away_delays_no_command_and_no_stop(installation: Installation) -> None:
    """Spans are lost, and the log says so."""
    tracing = {"SLEEP_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    worker = installation.start("worker", **tracing)
    door = await installation.open_door(**tracing)
    async with door.client("acme") as client:
        answer = await client.post("/api/util/sleep", json=SLEEP, headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 200
    for process in (door.process, worker):
        assert await asyncio.to_thread(process.stop) == 0
