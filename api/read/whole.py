"""Partitions that are not whole in Redis: never used, or lost and not yet rebuilt or folded anew.

A tenant without a record is awake, and a partition that was lost lacks records: read together, the two would make a
guess of an emptied Redis. So a partition that is not whole counts as never used only where no worker has published a
state of it and its log still reaches back to its beginning; else nothing is said of its tenants.
"""

import asyncio
from typing import Final, Protocol

from api.operate.dependency import Pause, UnavailableError

# A worker's first commit follows the first states that it publishes by a moment.
_LOOKS: Final = 5
_PAUSE_SECONDS: Final = 0.05


class Traces(Protocol):
    """What the topics tell of a partition."""

    async def untouched(self, partition: int) -> bool:
        """Tell whether nothing was published of it and nothing of its log is gone; UnavailableError if unknown."""
        ...


class Progress(Protocol):
    """What Redis tells of a partition."""

    async def whole(self, partition: int) -> bool:
        """Tell whether it has progress, and is neither being rebuilt nor still being folded anew."""
        ...


async def require_known(store: Progress, traces: Traces, partition: int, pause: Pause = asyncio.sleep) -> None:
    """Go on if what Redis lacks of a partition never was.

    Raises:
        UnavailableError: if it was lost, or if nobody can tell.
    """
    for _ in range(_LOOKS):
        if await store.whole(partition) or await traces.untouched(partition):
            return
        await pause(_PAUSE_SECONDS)
    raise UnavailableError(
        "redis",
        f"partition {partition} is not whole although states of it were published: /status of its worker says whether "
        "it is folded anew or waits for `sleepctl rebuild`",
    )
