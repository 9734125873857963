"""Lists all tenants, page by page, in memory that does not grow with their number."""

import re
from typing import Any, Final, NamedTuple

from api.adapters.redis_store import Scanned, Store
from api.errors.problems import invalid_request
from api.queries.completeness import Traces, require_known
from schemas.clock import Clock
from schemas.domain.policy import FieldError
from schemas.domain.state import StateName
from schemas.domain.values import TENANT_PATTERN
from schemas.wire.tenant_view import entry

LOOKED_AT: Final = 5_000
"""The number of records that one page reads at most. A filter for a rare state gives short pages, not slow ones."""
STEP: Final = 100
"""How many records one round trip asks for, whatever the limit. The next page may repeat a step for the rest of its
records, so the step must be the same. A step counts as at least this many, so that empty partitions cost time too."""
_CURSOR: Final = re.compile(rf"([0-9]{{1,5}})-([0-9]{{1,20}})-(|{TENANT_PATTERN[1:-1]})\Z")


class Cursor(NamedTuple):
    """Where the list continues: a partition, Redis's cursor in it, and the last tenant of that step already listed."""

    partition: int = 0
    scan: int = 0
    after: str = ""

    def __str__(self) -> str:
        """Return the text that callers send for the next page."""
        return f"{self.partition}-{self.scan}-{self.after}"


def parse_cursor(text: str | None, partitions: int) -> Cursor:
    """Return the cursor in a text; the start without one.

    Raises:
        ProblemError: `invalid_request` for a text that is not a cursor.
    """
    if text is None:
        return Cursor()
    match = _CURSOR.match(text)
    if match is None or int(match[1]) >= partitions or int(match[2]) >= 2**64:
        raise invalid_request([FieldError("cursor", "not one that a page gave")])
    return Cursor(int(match[1]), int(match[2]), match[3])


class Tenants:
    """Lists tenants.

    Args:
        store: holds the records.
        traces: distinguishes an unused partition from one that Redis has lost.
        partitions: number of partitions of the events topic.
        clock: a time in milliseconds.
    """

    def __init__(self, store: Store, traces: Traces, partitions: int, clock: Clock) -> None:
        self._store = store
        self._traces = traces
        self._partitions = partitions
        self._clock = clock

    async def page(
        self, state: StateName | None, cursor: str | None, limit: int, *, open_ended: bool
    ) -> dict[str, Any]:
        """Return at most `limit` tenants from a cursor on, in no particular order, and the total numbers.

        A tenant is shown as it is now; the numbers are those of the last fold. A tenant that lives throughout the
        listing is shown at least once, unless Redis shrinks its table meanwhile. It may be shown twice.

        Raises:
            ProblemError: `invalid_request` for a wrong cursor.
            UnavailableError: if Redis does not answer.
        """
        at: Cursor | None = parse_cursor(cursor, self._partitions)
        totals = await self._store.totals()
        now = self._clock()
        entries: list[dict[str, Any]] = []
        looked_at = 0
        while at is not None and len(entries) < limit and looked_at < LOOKED_AT:
            if not at.scan:
                await require_known(self._store, self._traces, at.partition)
            step = await self._store.scan(at.partition, at.scan, STEP, open_ended=open_ended)
            looked_at += max(STEP, len(step.records))
            at = self._take(step, at, now, state, limit, entries)
        return {
            "tenants": entries,
            "counts": totals.counts,
            "open_ended": totals.open_ended,
            "cursor": None if at is None else str(at),
            "now": now,
        }

    def _take(
        self, step: Scanned, at: Cursor, now: int, state: StateName | None, limit: int, entries: list[dict[str, Any]]
    ) -> Cursor | None:
        """Add the tenants of a step, and return the cursor after them, None at the end."""
        for tenant in sorted(step.records):
            if tenant <= at.after:
                continue
            tenant_entry = entry(tenant, step.records[tenant], step.rules, now)
            if state is not None and tenant_entry["state"] != state:
                continue
            if len(entries) == limit:
                return at
            entries.append(tenant_entry)
            at = at._replace(after=tenant)
        if step.cursor:
            return Cursor(at.partition, step.cursor)
        return Cursor(at.partition + 1) if at.partition + 1 < self._partitions else None
