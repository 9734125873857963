"""The list of one partition's listed tenants: rows of Redis, and then the records of `sleep.states`. Pure.

Of two records of a tenant, the one with the higher position counts. So a repeat after a crash, the repair of a foreign
append and what Redis lost and a worker folds again change nothing here. See docs/decisions/0039-stream-of-states.md.
"""

from collections import OrderedDict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from msgspec import Struct

from api.states import events
from api.states.events import ResetError
from api.states.rows import TenantRow
from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.domain.state import SleepState
from schemas.wire.listing import Rest, listed_until

GRACE_MS: Final = 60_000
"""How long an entry stays after its end: a clock of this process that is ahead by less loses no `gone`."""
YOUNG_MS: Final = 86_400_000
"""Clients resume within a day. Kafka removes a tombstone after nine, and nobody could tell what was removed."""


class Event(NamedTuple):
    """An event for clients: it replaces an earlier one with the same key, a tenant or the rules of a partition."""

    key: str
    body: bytes


class Entry(Struct, frozen=True, gc=False):
    """A listed tenant: the offset of its position, how it ends up awake, and its event."""

    offset: int
    rest: Rest | None
    body: bytes


class _Change(NamedTuple):
    """The latest record of a tenant: its offset in the states topic, and the highest position applied, else -1."""

    at: int
    offset: int


def rules_event_key(partition: int) -> str:
    """Return the key of the events with a partition's rules; no tenant id starts with an asterisk."""
    return f"*{partition}"


class PartitionList:
    """The listed tenants of one partition.

    Args:
        partition: its number.
        partitions: how many there are.
        remembered: of how many tenants the latest change is kept.

    Attributes:
        entries: the listed tenants, and those that ended a short time ago.
        next: the next offset of the states topic to be applied.
        highest: the position up to which all states are here, once the topic was read to its end; -1 for none.
        begun: whether the partition has ever had a record.
        doubts: tenants whose record may be an old one, with its offset in the states topic.
    """

    def __init__(self, partition: int, partitions: int, remembered: int) -> None:
        self.partition = partition
        self.entries: dict[str, Entry] = {}
        self.next = 0
        self.highest = -1
        self.begun = False
        self.doubts: dict[str, int] = {}
        self._partitions = partitions
        self._remembered = remembered
        self._changes: OrderedDict[str, _Change] = OrderedDict()
        self._ends: list[tuple[int, str]] = []
        self._covered = 0
        self._forgotten = -1
        # Ids below this cannot be resumed.
        self._floor = 0
        self._floor_found = False
        self._number = 0
        self._default = BUILT_IN_RULES.terms.schedule[SleepState.active]

    # From Redis

    def begin(self, progress_next: int | None, rules: Rules) -> None:
        """Begin with the first slice of rows.

        Args:
            progress_next: the first position that the rows may lack; None if the partition has no progress.
            rules: those in force.
        """
        self.begun = progress_next is not None
        self._covered = progress_next or 0
        self._number = rules.number
        self._default = rules.terms.schedule[SleepState.active]

    def add(self, row: TenantRow) -> None:
        """Add a row that is listed."""
        if row.value is not None:
            self._list(row, events.state(row.value))

    def rows_end(self, progress_next: int | None, rules: Rules, start: int) -> None:
        """End the rows: the topic is to be read from `start`."""
        self.highest = (progress_next or 0) - 1
        self.take_rules(rules)
        self.next = self._floor = start

    # From the topic

    def pass_over(self, at: int, timestamp: int, now: int) -> None:
        """Note that the record at an offset of the topic is about to be applied.

        Args:
            at: its offset.
            timestamp: its time, in milliseconds.
            now: the time, in milliseconds.
        """
        self.next = at + 1
        if not self._floor_found:
            self._floor_found = timestamp > now - YOUNG_MS
            self._floor = at if self._floor_found else self.next

    def caught_up(self) -> None:
        """Note that the topic was read to its end."""
        if not self._floor_found:
            self._floor, self._floor_found = self.next, True

    def take_rules(self, rules: Rules) -> Event | None:
        """Take rules, and return the event of new ones."""
        if rules.number <= self._number:
            return None
        self._number, self._default = rules.number, rules.terms.schedule[SleepState.active]
        return self.rules()

    def take(self, row: TenantRow, at: int, now: int) -> Event | None:
        """Take the record at an offset of the topic, and return the event that it makes, if any."""
        tenant, offset = row.tenant, row.offset
        known, change = self.entries.get(tenant), self._changes.get(tenant)
        last = max(-1 if known is None else known.offset, -1 if change is None else change.offset)
        self._note(tenant, at, last)
        if offset < self._covered or offset <= last:
            return None
        if last < 0 and offset <= self._forgotten:
            self.doubts.setdefault(tenant, at)
            return None
        return self._put(row, at, now)

    def _put(self, row: TenantRow, at: int, now: int) -> Event | None:
        tenant = row.tenant
        self.begun = True
        self.highest = max(self.highest, row.offset)
        self.doubts.pop(tenant, None)
        self._note(tenant, at, row.offset)
        if row.value is not None and listed_until(row.rest, self._default) > now:
            body = events.state(row.value)
            self._list(row, body)
            return Event(tenant, body)
        if self.entries.pop(tenant, None) is not None:
            return Event(tenant, events.gone(tenant, self.partition, row.offset))
        return None

    def _list(self, row: TenantRow, body: bytes) -> None:
        rest = row.rest
        if rest is not None:
            if rest.parameters == self._default:
                rest = Rest(self._default, rest.at)  # One set for all of them, instead of one each.
            heappush(self._ends, (rest.at, row.tenant))
        self.entries[row.tenant] = Entry(row.offset, rest, body)
        if len(self._ends) > 2 * len(self.entries) + 1_000:
            self._ends = [(entry.rest.at, name) for name, entry in self.entries.items() if entry.rest is not None]
            heapify(self._ends)

    def _note(self, tenant: str, at: int, offset: int) -> None:
        """Note a tenant's latest record, and forget the oldest of too many."""
        self._changes[tenant] = _Change(at, offset)
        self._changes.move_to_end(tenant)
        if len(self._changes) > self._remembered:
            name, change = self._changes.popitem(last=False)
            self._floor = max(self._floor, change.at + 1)
            if name not in self.entries:
                self._forgotten = max(self._forgotten, change.offset)

    def expire(self, now: int) -> None:
        """Remove entries that have ended."""
        while self._ends and self._ends[0][0] <= now - GRACE_MS:
            _, tenant = heappop(self._ends)
            entry = self.entries.get(tenant)
            if entry is not None and listed_until(entry.rest, self._default) <= now - GRACE_MS:
                del self.entries[tenant]
                if tenant not in self._changes:
                    self._forgotten = max(self._forgotten, entry.offset)

    # Doubts

    def settle(self, applied_to: int, rows: Mapping[str, TenantRow | None], now: int) -> list[Event]:
        """Take what Redis has of doubted tenants, once it has applied all that the topic has shown. Return the events.

        Args:
            applied_to: `next` of the progress, read before the rows.
            rows: of each tenant that was asked for, None without a record.
            now: the time, in milliseconds.
        """
        if applied_to <= self.highest:
            return []
        doubted = [row for tenant, row in rows.items() if self.doubts.pop(tenant, None) is not None and row is not None]
        # The present offset, since ids up to there may be given without these.
        return [event for row in doubted if (event := self._put(row, self.next, now)) is not None]

    # For clients

    @property
    def resumable(self) -> int:
        """The offset from which a client goes on that has all events until now."""
        return min(self.next, *self.doubts.values()) if self.doubts else self.next

    def rules(self) -> Event:
        """Return the event with the rules in force, and how far the states are here."""
        body = events.rules(self.partition, self._partitions, self._number, self.highest, self._default)
        return Event(rules_event_key(self.partition), body)

    def listed(self, tenant: str, now: int) -> bytes:
        """Return the event of a tenant, empty if it is not listed."""
        entry = self.entries.get(tenant)
        return b"" if entry is None or listed_until(entry.rest, self._default) <= now else entry.body

    def latest(self, tenant: str) -> bytes:
        """Return the latest event of a tenant that has changed, empty if that waits for Redis."""
        if (entry := self.entries.get(tenant)) is not None:
            return entry.body
        if tenant in self.doubts:
            return b""
        change = self._changes.get(tenant)
        offset = self.highest if change is None or change.offset < 0 else change.offset
        return events.gone(tenant, self.partition, offset)

    def changed(self, since: int) -> list[str]:
        """Return each tenant with a record at or after an offset of the topic, in the order of the latest ones.

        Raises:
            ResetError: if the offset is before what is remembered, or after the end.
        """
        if since > self.next:
            raise ResetError("beyond_end")
        if since < self._floor:
            raise ResetError("too_old")
        changed: list[str] = []
        for tenant, change in reversed(self._changes.items()):
            if change.at < since:
                break
            changed.append(tenant)
        changed.reverse()
        return changed
