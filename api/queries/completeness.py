"""Partitions that are incomplete in Redis: never used, or lost and not yet rebuilt or replayed.

A tenant without a record is awake. But a lost partition lacks records of tenants that may sleep. So an incomplete
partition counts as never used only if no state of it was published and its log still starts at offset 0. Otherwise the
API answers `redis_unavailable` for its tenants.
"""

import asyncio
from collections import defaultdict
from typing import Final, Protocol

from api.adapters.dependency import Pause, UnavailableError

# A worker publishes the first states shortly before its first commit.
_LOOKS: Final = 5
_PAUSE_SECONDS: Final = 0.05


class Traces(Protocol):
    """The topics of a partition."""

    async def untouched(self, partition: int) -> bool:
        """Tell whether it has no published state and a complete log; UnavailableError if unknown."""
        ...


class SharedTraces:
    """Topics that are looked at once for all who ask meanwhile: one look at a partition is under way at a time.

    A flood of reads of an unused partition would otherwise ask Kafka for each. No answer is older than its question:
    who asks during a look waits for the next one.

    Args:
        traces: the topics.
    """

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._looks: defaultdict[int, _Looks] = defaultdict(_Looks)

    async def untouched(self, partition: int) -> bool:
        """Tell whether it has no published state and a complete log; UnavailableError if unknown."""
        looks = self._looks[partition]
        begun_before = looks.begun
        async with looks.turn:
            if looks.answered <= begun_before:
                looks.begun += 1
                number = looks.begun
                try:
                    looks.answer = await self._traces.untouched(partition)
                except UnavailableError as error:
                    looks.answer = error
                looks.answered = number
        if isinstance(looks.answer, UnavailableError):
            raise looks.answer
        return looks.answer


class _Looks:
    """The looks at one partition.

    Attributes:
        turn: held during a look.
        begun: the number of looks that have begun.
        answered: the number of the last look that was answered.
        answer: its answer.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.begun = 0
        self.answered = 0
        self.answer: bool | UnavailableError = False


class Progress(Protocol):
    """The data of a partition in Redis."""

    async def is_complete(self, partition: int) -> bool:
        """Tell whether Redis has all data of it."""
        ...

    async def why_incomplete(self, partition: int) -> str:
        """Return why it is incomplete, as a clause; empty if it is complete."""
        ...


async def require_known(store: Progress, traces: Traces, partition: int, pause: Pause = asyncio.sleep) -> None:
    """Require that the data of a partition is complete, or that there never was any.

    Raises:
        UnavailableError: if data was lost, or if that is unknown.
    """
    for _ in range(_LOOKS):
        if await store.is_complete(partition) or await traces.untouched(partition):
            return
        await pause(_PAUSE_SECONDS)
    reason = await store.why_incomplete(partition)
    if not reason:
        return
    raise UnavailableError(
        "redis",
        f"partition {partition} is incomplete although states of it were published: {reason}; /status of its worker "
        "says whether the worker replays the log or waits for `sleepctl rebuild`",
        f"{reason}, so nothing is known of its tenants",
    )
