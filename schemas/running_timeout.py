"""A timeout that a busy event loop does not use up.

When thousands of requests come at once, one iteration of the loop may take seconds. A plain timeout would then expire
although the answer has already arrived, and an idle Redis would be reported as unavailable.
"""

import asyncio
from types import TracebackType
from typing import Final

STEPS: Final = 10
"""The least number of iterations of the loop within the timeout."""


class running_timeout:  # noqa: N801 - used like `asyncio.timeout`
    """Limit a block to some seconds in which the loop was running. A blocked loop counts for at most a tenth of them.

    It is a class, since each call to Redis enters it, and a generator takes twice as long.

    Raises:
        TimeoutError: if the block takes longer.
    """

    __slots__ = ("_left", "_limit", "_loop", "_step", "_timer")

    def __init__(self, seconds: float) -> None:
        self._step = seconds / STEPS
        self._left = STEPS

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        self._pass()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _pass(self) -> None:
        if self._left:
            self._left -= 1
            self._timer = self._loop.call_later(self._step, self._pass)
        else:
            self._limit.reschedule(self._loop.time())
