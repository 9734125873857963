"""All that a reader knows of tenants. One thread writes it, and any thread may ask, without a lock.

What belongs together is in one object, which is replaced by one assignment. Single tenants are put into its dictionary
and removed from it, each by one operation.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sleep_client.protocol.names import check_tenant
from sleep_client.reading.errors import BadStreamError, NotReady, NotWatched
from sleep_client.reading.listed import Listed
from sleep_client.reading.partitions import partition_of
from sleep_client.reading.snapshot import PartitionRules, Snapshot
from sleep_client.reading.tenant_state import TenantState

_GRACE_MS: Final = 60_000
"""How long a tenant stays after it is no longer listed. Answers do not depend on it, unless time goes back by more."""


class _Defaults:
    """The answers for tenants that are not listed: fresh and stale, by partition."""

    __slots__ = ("_by_partition", "_common", "partitions")

    def __init__(self, rules: Mapping[int, PartitionRules]) -> None:
        self.partitions = next(iter(rules.values())).partitions
        answers = {
            number: tuple(TenantState("active", each.default.shown, stale=stale) for stale in (False, True))
            for number, each in rules.items()
        }
        self._by_partition = answers
        first = next(iter(answers.values()))
        # Mostly all partitions have the same rules. Then no name has to be hashed.
        self._common = first if all(answer == first for answer in answers.values()) else None

    def of(self, tenant: str, *, stale: bool) -> TenantState:
        """Return the answer for a tenant."""
        answers = self._common or self._by_partition[partition_of(tenant, self.partitions)]
        return answers[stale]


class _Known:
    """What belongs together: the listed tenants, and the rules."""

    __slots__ = ("defaults", "records", "rules")

    def __init__(self, records: dict[str, Listed], rules: dict[int, PartitionRules]) -> None:
        self.records = records
        self.rules = rules
        self.defaults = _Defaults(rules)


class Tenants:
    """All that is known.

    Args:
        watched: the tenants of the reader, None for all.
        initial: the answer while nothing is known; None raises.

    Attributes:
        stale: whether answers say that they are stale.
        woken: whether every tenant is taken for awake, at the last default active set.
    """

    def __init__(self, watched: Collection[str] | None, initial: TenantState | None) -> None:
        self.stale = True
        self.woken = False
        self._watched = None if watched is None else frozenset(watched)
        self._initial = None if initial is None else initial._replace(stale=True)
        self._known: _Known | None = None
        self._forgotten = False
        self._why = "the reader has no states yet"
        self._expired_at = 0

    # Answers, from any thread

    def at(self, tenant: str, now: int) -> TenantState:
        """Return the state of a tenant at a time in milliseconds of the log.

        Raises:
            NotReady: if nothing is known.
            NotWatched: if the tenant is not one of the reader's.
            ValueError: if no tenant can have this name.
        """
        known = self._known
        if known is None:
            return self._unknown(tenant)
        try:
            listed = known.records.get(tenant)
        except TypeError:
            listed = None
        if listed is None:
            self._check(tenant)
        elif not self.woken:
            state = listed.at(now, self.stale)
            if state is not None:
                return state
        return known.defaults.of(tenant, stale=self.stale)

    def leaves_at(self, tenant: str, states: Collection[str], now: int) -> int | None:
        """Return when a tenant will be in none of these states, by its forecast; None if that is not known."""
        known = self._known
        listed = None if known is None else known.records.get(tenant)
        return None if listed is None else listed.leaves_at(states, now)

    def _unknown(self, tenant: str) -> TenantState:
        self._check(tenant)
        if self._initial is None:
            raise NotReady(self._why)
        return self._initial

    def _check(self, tenant: str) -> None:
        check_tenant(tenant)
        if self._watched is not None and tenant not in self._watched:
            raise NotWatched(f"tenant {tenant} is not in `tenants` of this reader")

    # Changes, from one thread

    @property
    def complete(self) -> bool:
        """Whether a snapshot was taken."""
        return self._known is not None

    def explain(self, why: str) -> None:
        """Say why nothing is known, for `NotReady`."""
        self._why = why

    def forget(self, why: str) -> None:
        """Know nothing any more, whatever was given for the time before. The first reason counts."""
        if self._forgotten:
            return
        self._forgotten = True
        self._why = why
        self._initial = None
        self._known = None

    def is_watched(self, tenant: str) -> bool:
        """Tell whether a tenant is one of the reader's."""
        return self._watched is None or tenant in self._watched

    def rules_of(self, partition: int) -> PartitionRules | None:
        """Return the rules of a partition that are known."""
        return None if self._known is None else self._known.rules.get(partition)

    def put(self, tenant: str, listed: Listed) -> bool:
        """Take the state of a tenant, unless a newer one is known. Return whether it was taken."""
        if self._known is None or _is_newer(self._known.records.get(tenant), listed.offset):
            return False
        self._known.records[tenant] = listed
        return True

    def remove(self, tenant: str, offset: int) -> bool:
        """Remove a tenant as of an offset, unless a newer state is known. Return whether it was there."""
        if self._known is None or _is_newer(self._known.records.get(tenant), offset):
            return False
        return self._known.records.pop(tenant, None) is not None

    def set_rules(self, rules: PartitionRules, now: int) -> bool:
        """Take the rules of a partition. Return whether its default active set is another one.

        Tenants that are not listed at `now` take it at once. Listed ones keep their own until their state comes.

        Raises:
            BadStreamError: if there are more partitions, or fewer, than before.
        """
        known = self._known
        if known is None:
            return False
        if rules.partitions != known.defaults.partitions:
            raise BadStreamError(f"there were {known.defaults.partitions} partitions, and now are {rules.partitions}")
        before = known.rules.get(rules.partition)
        everything = {**known.rules, rules.partition: rules}
        if before is not None and before.default.numbers == rules.default.numbers:
            known.rules = everything
            return False
        records = {}
        for tenant, listed in known.records.items():
            if partition_of(tenant, rules.partitions) != rules.partition:
                records[tenant] = listed
            elif listed.until > now:
                records[tenant] = listed.under(rules.default)
        self._known = _Known(records, everything)
        return True

    def replace(self, snapshot: Snapshot) -> None:
        """Take a snapshot, in place of all that is known.

        A tenant that it lacks stays if its state is newer than the snapshot: Redis may have gone back. Of two states of
        a tenant the newer one counts.

        Raises:
            BadStreamError: if the snapshot is not complete.
        """
        self._require_complete(snapshot.rules)
        records = snapshot.records
        known = self._known
        partitions = next(iter(snapshot.rules.values())).partitions
        if known is not None and known.defaults.partitions == partitions:
            for tenant, listed in known.records.items():
                brought = records.get(tenant)
                rules = snapshot.rules[partition_of(tenant, partitions)]
                if listed.offset > (rules.offset if brought is None else brought.offset):
                    records[tenant] = listed.under(rules.default)
        self._known = _Known(records, dict(snapshot.rules))

    def _require_complete(self, rules: Mapping[int, PartitionRules]) -> None:
        counts = {each.partitions for each in rules.values()}
        if len(counts) != 1:
            raise BadStreamError("a snapshot has no rules, or they name different numbers of partitions")
        (count,) = counts
        wanted: Iterable[int] = range(count)
        if self._watched is not None:
            wanted = {partition_of(tenant, count) for tenant in self._watched}
        if lacking := set(wanted) - rules.keys():
            raise BadStreamError(f"a snapshot lacks the rules of partition {min(lacking)}")

    def expire(self, now: int) -> None:
        """Remove tenants that are no longer listed, at most once in a minute."""
        known = self._known
        if known is None or 0 <= now - self._expired_at < _GRACE_MS:
            return
        self._expired_at = now
        for tenant in [name for name, listed in known.records.items() if listed.until <= now - _GRACE_MS]:
            del known.records[tenant]


def _is_newer(known: Listed | None, offset: int) -> bool:
    return known is not None and known.offset > offset
