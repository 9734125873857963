"""Reports refusals and dead letters: a count by code, and a log line with tenant, source and reason.

A piece is reported after its commit, so each record counts once, however often it was folded.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, get_args

import structlog
from prometheus_client import CollectorRegistry

from schemas.errors import printable
from schemas.metrics import worker as definitions
from schemas.wire.events import BREAKER, CANCEL, MODE, OPERATION, POLICY
from schemas.wire.operation import RefusalCode
from worker.fold.dead_letter import OURS, count_of
from worker.fold.refused import Refused
from worker.ports import Output

LINES: Final = 10
"""How many lines with one code a worker logs within `WINDOW_SECONDS`."""
WINDOW_SECONDS: Final = 60.0
"""The window in which lines with one code are counted. The first line after it says how many were suppressed."""
_SHOWN: Final = 500
_OF_BREAKERS: Final = frozenset({"clock_skew", "stale_event", "too_many_claims"})
_COMMANDS: Final = (OPERATION, CANCEL, MODE, POLICY)

log = structlog.get_logger("worker.runtime.refusals")


class _Window:
    """The lines with one code within the present window."""

    def __init__(self) -> None:
        self.began = -WINDOW_SECONDS
        self.lines = 0
        self.suppressed = 0


class Refusals:
    """Counts and logs refusals and dead letters.

    Args:
        registry: the registry of the counters.
        now: a monotonic clock, in seconds.
        lines: how many lines with one code are logged within `WINDOW_SECONDS`.
    """

    def __init__(
        self, registry: CollectorRegistry, now: Callable[[], float] = time.monotonic, lines: float = LINES
    ) -> None:
        self._now = now
        self._lines = lines
        self._windows: dict[str, _Window] = {}
        self._refused = definitions.REFUSALS.register(registry)
        self._set_aside = definitions.SET_ASIDE.register(registry)
        for code in get_args(RefusalCode):
            for type_ in [BREAKER] if code in _OF_BREAKERS else _COMMANDS:
                # Starts at 0, so that an alert on the increase notices the first refusal too.
                self._refused.labels(code, type_)

    def refused(self, refusals: Iterable[Refused]) -> None:
        """Count and log events that the fold refused."""
        for code, type_, tenant, source, position, detail in refusals:
            self._refused.labels(code, type_).inc()
            self._log("event_refused", code, type=type_, tenant=tenant, source=source, position=position, reason=detail)

    def set_aside(self, dead_letters: Iterable[Output]) -> None:
        """Count and log dead letters, by their headers; the tenant is the key of the record."""
        for dead_letter in dead_letters:
            headers = dict(dead_letter.headers)
            code, topic, partition, offset = (
                headers[f"sleep.error.{name}"].decode() for name in ("code", "topic", "partition", "offset")
            )
            count = count_of(dead_letter)
            self._set_aside.labels(code, topic).inc(count)
            message = headers["sleep.error.message"].decode().splitlines() or [""]
            self._log(
                "record_set_aside",
                code,
                tenant=None if dead_letter.key is None else dead_letter.key[:_SHOWN].decode(errors="backslashreplace"),
                source=f"{topic}:{partition}:{offset}",
                # The error is the last line of a traceback.
                reason=message[-1 if code in OURS else 0],
                **({} if count == 1 else {"records": str(count)}),
            )

    def _log(self, event: str, code: str, **fields: str | None) -> None:
        window = self._windows.setdefault(code, _Window())
        now = self._now()
        if now - window.began >= WINDOW_SECONDS:
            window.began, window.lines = now, 0
        if window.lines >= self._lines:
            window.suppressed += 1
            return
        window.lines += 1
        if window.suppressed:
            fields["suppressed"] = str(window.suppressed)
            window.suppressed = 0
        shown = {name: None if value is None else printable(value[:_SHOWN]) for name, value in fields.items()}
        log.warning(event, code=code, **shown)
