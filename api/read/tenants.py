"""A walk through all tenants, page by page, in memory that does not grow with their number."""

import re
from typing import Any, Final, NamedTuple

from api.clock import Clock
from api.describe.problems import invalid_request
from api.read.store import Scanned, Store
from api.read.whole import Traces, require_known
from schemas.policy import FieldError
from schemas.public import present
from schemas.state import StateName
from schemas.values import TENANT_PATTERN

LOOKED_AT: Final = 5_000
"""So many records are looked at for one page at the most: a rare state gives short pages, never slow ones."""
STEP: Final = 100
"""How many records one round trip asks for, whatever the limit: a step that is taken again, for the rest of what it
gave, must give the same. It counts as so many at the least, so that empty partitions do not make a page slow."""
_CURSOR: Final = re.compile(rf"([0-9]{{1,5}})-([0-9]{{1,20}})-(|{TENANT_PATTERN[1:-1]})\Z")
_SHOWN: Final = ("tenant_id", "state", "since", "cause", "forecast")


class Cursor(NamedTuple):
    """Where a walk goes on: a partition, Redis's cursor within it, and the last tenant of that step already shown."""

    partition: int = 0
    scan: int = 0
    after: str = ""

    def __str__(self) -> str:
        """Return what callers carry from page to page."""
        return f"{self.partition}-{self.scan}-{self.after}"


def parse_cursor(text: str | None, partitions: int) -> Cursor:
    """Read what a caller carried here; the walk's start where there is nothing.

    Raises:
        ProblemError: `invalid_request` for what no page gave.
    """
    if text is None:
        return Cursor()
    found = _CURSOR.match(text)
    if found is None or int(found[1]) >= partitions or int(found[2]) >= 2**64:
        raise invalid_request([FieldError("cursor", "not one that a page gave")])
    return Cursor(int(found[1]), int(found[2]), found[3])


class Tenants:
    """Lists tenants.

    Args:
        store: holds them.
        traces: tells an empty partition from one that Redis has lost.
        partitions: number of partitions of the events topic.
        clock: the time, in milliseconds.
    """

    def __init__(self, store: Store, traces: Traces, partitions: int, clock: Clock) -> None:
        self._store = store
        self._traces = traces
        self._partitions = partitions
        self._clock = clock

    async def page(
        self, state: StateName | None, cursor: str | None, limit: int, *, open_ended: bool
    ) -> dict[str, Any]:
        """Return at most `limit` tenants from a cursor on, in no particular order, and how many there are.

        A tenant is shown as it is now; the numbers are those of the last fold. One that stays throughout the walk is
        shown at least once, unless Redis shrinks its table meanwhile; it may be shown twice.

        Raises:
            ProblemError: `invalid_request` for a wrong cursor.
            UnavailableError: if Redis does not answer.
        """
        at: Cursor | None = parse_cursor(cursor, self._partitions)
        totals = await self._store.totals()
        now = self._clock()
        found: list[dict[str, Any]] = []
        looked_at = 0
        while at is not None and len(found) < limit and looked_at < LOOKED_AT:
            if not at.scan:
                await require_known(self._store, self._traces, at.partition)
            step = await self._store.scan(at.partition, at.scan, STEP, open_ended=open_ended)
            looked_at += max(STEP, len(step.records))
            at = self._take(step, at, now, state, limit, found)
        return {
            "tenants": found,
            "counts": totals.counts,
            "open_ended": totals.open_ended,
            "cursor": None if at is None else str(at),
            "now": now,
        }

    def _take(
        self, step: Scanned, at: Cursor, now: int, state: StateName | None, limit: int, found: list[dict[str, Any]]
    ) -> Cursor | None:
        """Add what a step found, and return where to go on, None at the end."""
        for tenant in sorted(step.records):
            if tenant <= at.after:
                continue
            shown = present(tenant, at.partition, step.records[tenant], step.rules, now)
            if state is not None and shown["state"] != state:
                continue
            if len(found) == limit:
                return at
            found.append({name: shown[name] for name in _SHOWN})
            at = at._replace(after=tenant)
        if step.cursor:
            return Cursor(at.partition, step.cursor)
        return Cursor(at.partition + 1) if at.partition + 1 < self._partitions else None
