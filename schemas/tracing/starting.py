"""Starts tracing where the settings want it, and ends it."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from schemas.environment import SettingsError
from schemas.settings import Settings

if TYPE_CHECKING:
    from schemas.tracing.tracing import Tracing

log = structlog.get_logger(__name__)


def start_tracing(settings: Settings, service: str) -> "Tracing | None":
    """Return the tracing of this process, None if it is off. Then nothing of OpenTelemetry is imported.

    Args:
        settings: the settings.
        service: the name of the service, unless `OTEL_SERVICE_NAME` gives one.

    Raises:
        SettingsError: if tracing is on and its packages are not installed.
    """
    if not settings.tracing:
        return None
    try:
        from schemas.tracing.tracing import Tracing  # noqa: PLC0415 - only where tracing is on
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"SLEEP_TRACING: the package {error.name} is missing; install somabrain-sleep[otel], or unset SLEEP_TRACING"
        ) from error
    return Tracing.exporting(service)


async def close_tracing(tracing: "Tracing | None") -> None:
    """Export the last spans within `Tracing.close`'s limit, and log if they are lost."""
    if tracing is not None and not await asyncio.to_thread(tracing.close):
        log.warning("spans_lost", finding="the last spans were not exported in time; look at the collector")
