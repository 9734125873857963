"""Puts spans around the application and its log where tracing is on. Else nothing of OpenTelemetry is imported."""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from api.adapters.kafka_events import EventsLog

if TYPE_CHECKING:
    from schemas.tracing.tracing import Tracing


def traced_log(log: EventsLog, topic: str, tracing: "Tracing | None") -> EventsLog:
    """Return the events topic, with spans where tracing is on.

    Args:
        log: publishes.
        topic: the name of the topic.
        tracing: makes the spans, None if tracing is off.
    """
    if tracing is None:
        return log
    from api.observability.tracing import TracedEvents  # noqa: PLC0415 - only where tracing is on

    return TracedEvents(log, topic, tracing)


def traced_app(app: ASGIApp, tracing: "Tracing | None") -> ASGIApp:
    """Return what a server runs: the application, with a span for each request where tracing is on."""
    if tracing is None:
        return app
    from api.observability.tracing import TracedApp  # noqa: PLC0415 - only where tracing is on

    return TracedApp(app, tracing)
