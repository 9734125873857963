"""The record with which the replay of each tenant begins. Pure.

Where the log no longer begins at offset 0, a fold from nothing would be a guess. A worker publishes a record as soon as
it makes it, and commits the offset only after the acknowledgement. So a tenant without a state on the topic had no
record at the committed offset: it never had one, or its tombstone has expired. Its events before that offset make
nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

from worker.recovery.errors import ContradictionError
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.plan import Action, ignored_states
from worker.recovery.states_history import Version, Versions


class PublishedAt(NamedTuple):
    """A state that the replay adopts at the event that made it, since earlier events may be gone."""

    tenant: str
    version: Version


class StartingPoints:
    """The record with which the replay of each tenant begins, and from which offset on its events are folded.

    Args:
        evidence: what the topics say.
        action: what was decided.
        versions: the version of each tenant to begin with; by default `Versions.base`.

    Attributes:
        versions: the version of each tenant to begin with.
        records: the records in these versions, None for a tombstone.
        ignored: tenants with a state from beyond the log's end that another program wrote, and its offset.
        new_at: tenants that had no record at an offset, and that offset.
        adopted: by offset, the states that the replay adopts there.

    Raises:
        ContradictionError: if a state cannot be read, or was folded under rules that the topic lacks.
    """

    def __init__(
        self, evidence: PartitionEvidence, action: Action, versions: Mapping[str, Version] | None = None
    ) -> None:
        self._evidence = evidence
        self._takes_all = action is Action.TAKE_STATES_AS_THEY_ARE
        self.ignored = {} if self._takes_all else ignored_states(evidence)
        self.new_at: dict[str, int] = {}
        self.adopted: dict[int, PublishedAt] = {}
        self.versions = self._choose_versions() if versions is None else versions
        history, audit = evidence.history, evidence.audit
        self._absent_until = evidence.absent_until
        # The topic has lost the states of these tenants, so the replay folds all their events that the log still holds.
        lost = self.ignored.keys() | history.ahead.keys() | history.erased | audit.asleep | audit.with_policy
        self._applied_to = {tenant: version.offset for tenant, version in self.versions.items()}
        self._applied_to |= dict.fromkeys(lost - self.versions.keys(), -1)
        # A commit may begin before the committed offset, and the topic holds only the last of its states.
        self._applied_to |= {tenant: min(offset, self._absent_until) - 1 for tenant, offset in self.new_at.items()}
        with_record = {tenant for tenant, version in self.versions.items() if version.value is not None}
        self._had_record = (lost | with_record) - self.new_at.keys()
        self.records = {tenant: history.record(tenant, version) for tenant, version in self.versions.items()}
        self._require_rules()

    def _choose_versions(self) -> dict[str, Version]:
        """Return the version to begin with; fill in `new_at` and `adopted`."""
        chosen: dict[str, Version] = {}
        end = self._evidence.end
        for tenant, published in self._evidence.history.tenants.items():
            versions = published.before(end) if tenant in self.ignored else published
            if versions is None:
                continue
            version = versions.base
            if version is None and (self._takes_all or versions.highest.offset >= end):
                version = versions.highest  # The log does not hold the event that made it.
            if version is not None:
                chosen[tenant] = version
            elif versions.new_at is not None:
                self.new_at[tenant] = versions.new_at
            self._adopt(tenant, version, versions)
        return chosen

    def _adopt(self, tenant: str, version: Version | None, versions: Versions) -> None:
        """Have the replay adopt a tenant's first unsettled state if events before it may be gone from the log.

        A commit publishes only a tenant's last state. The log may begin within such a commit. Or the topic may hold
        nothing of the commit in which the tenant was new.
        """
        first = versions.first
        begin = versions.new_at if version is None else version.offset + 1
        if first is None or begin is None or version not in (None, versions.settled):
            return
        if begin < self._evidence.start:
            self.adopted[first.offset] = PublishedAt(tenant, first)

    def _require_rules(self) -> None:
        newest = len(self._evidence.history.rules()) - 1
        for tenant, record in self.records.items():
            if record is not None and record.rules_number > newest:
                raise ContradictionError(
                    f"tenant {tenant} was folded under rules {record.rules_number} and the states topic has no rules "
                    f"after {newest}: restore Redis from its own backup or AOF"
                )

    def applied_to(self, tenant: str) -> int:
        """Return the offset of the last event that a tenant's first record includes; later events are folded."""
        return self._applied_to.get(tenant, self._absent_until - 1)

    def new_since(self, tenant: str) -> int | None:
        """Return the offset at which a tenant had no record; None if it had one, or nobody knows."""
        known = tenant in self.new_at or self._absent_until or not self._evidence.start
        return self.new_at.get(tenant, self._absent_until) if known and tenant not in self._had_record else None

    def highest_timestamp(self) -> int:
        """Return the highest timestamp, ms, before the first event that is folded, by commands and states; 0 for none.

        It matters only where timestamps went back by more than an hour.
        """
        evidence = self._evidence
        before = evidence.end if self._takes_all else evidence.start
        clocks = [
            record.clock
            for tenant, record in self.records.items()
            if record is not None and self.versions[tenant].offset < before
        ]
        judged = [command.at for command in evidence.audit.judged if command.offset < before]
        return max([*clocks, *judged], default=0)

    @property
    def published_to(self) -> dict[str, int]:
        """The offset of each tenant's highest published state, ignored states aside."""
        tenants = self._evidence.history.tenants.items()
        return {tenant: versions.highest.offset for tenant, versions in tenants if tenant not in self.ignored}
