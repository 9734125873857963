"""A timeout that a busy event loop does not use up.

When thousands of requests come at once, one iteration of the loop may take seconds. A plain timeout would then expire
although the answer has already arrived, and an idle Redis would be reported as unavailable.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

STEPS: Final = 10
"""The least number of iterations of the loop within the timeout."""


@asynccontextmanager
async def running_timeout(seconds: float) -> AsyncIterator[None]:
    """Limit a block to some seconds in which the loop was running. A blocked loop counts for at most a tenth of them.

    Raises:
        TimeoutError: if the block takes longer.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def step(left: int) -> None:
        nonlocal timer
        if left:
            timer = loop.call_later(seconds / STEPS, step, left - 1)
        else:
            limit.reschedule(loop.time())

    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(seconds / STEPS, step, STEPS - 1)
        try:
            yield
        finally:
            timer.cancel()
