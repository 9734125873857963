"""A connection of the gate: one that sends no whole request in time is closed."""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_SECONDS: Final = 20.0
"""How long a connection may take to send a head: after it was opened, and after the first byte of it. It ends at the
second look, so after twice as long at most. A connection that had an answer may be silent for longer."""


class PromptConnection(H11Protocol):
    """uvicorn's, which waits for the first request, and for the rest of a head, for ever.

    Such connections would use up `SLEEP_GATE_CONNECTIONS`, and every request would be denied.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._last_seen: object = self
        self._look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to look."""
        super().connection_made(transport)
        self._look_again = self.loop.call_later(REQUEST_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End looking."""
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if no request has begun since the last look, and uvicorn does not wait for one."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request, whatever its type says
        answered = cycle is None or cycle.response_complete
        if answered and cycle is self._last_seen and self.timeout_keep_alive_task is None:
            self.transport.close()
            return
        self._last_seen = cycle
        self._look_again = self.loop.call_later(REQUEST_SECONDS, self._look)
