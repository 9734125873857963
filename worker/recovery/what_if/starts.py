"""The record with which the replay of each tenant begins, by the states topic. Pure.

A tenant begins with its last published record before the warm-up, and all later events are folded. If compaction has
removed that record, the tenant begins with the first record that the topic holds. If that one is from within the range,
the tenant is *inexact*: its events before it are not folded.

A commit publishes only the last state of a tenant. So a tenant may also be inexact where retention has cut the log
within a commit. The versions of its records show that: each publishing event counts one.
"""

from typing import NamedTuple

from schemas.domain.claim import Claim
from schemas.domain.policy import Rules
from schemas.domain.record import Record
from schemas.domain.state import LABELS
from schemas.wire.events import OPERATION, Operation, OperationEvent
from schemas.wire.operation import OperationRecord, decision_digest
from worker.ports import OperationKey
from worker.recovery.errors import ContradictionError
from worker.recovery.states_history import StatesHistory, Version, Versions
from worker.recovery.what_if.bounds import COMMIT_OFFSETS, Range


class Start(NamedTuple):
    """The record with which a tenant begins, and its live operations."""

    tenant: str
    record: Record
    operations: dict[OperationKey, OperationRecord]


class Starts:
    """What the replay of a partition begins with.

    Args:
        history: the states of the tenants, with `range_.warm_up` as the dividing offset, read to the end.
        range_: what is replayed.

    Attributes:
        at_once: what the tenants begin with where the fold begins; a tenant without a record is absent.
        later: by offset, what a tenant begins with there.
        all_rules: every version of the rules that the topic holds, by number.
        rules: those from before the fold begins.
        inexact: the tenants without a kept record from before the range, and the offset of the record that each begins
            with; None if the topic has none, so that such a tenant begins without a record.

    Raises:
        ContradictionError: if a state cannot be read, or was folded under rules that the topic lacks.
    """

    def __init__(self, history: StatesHistory, range_: Range) -> None:
        self.at_once: list[Start] = []
        self.later: dict[int, Start] = {}
        self.inexact: dict[str, int | None] = {}
        self.all_rules: list[Rules] = history.rules()
        self.rules: list[Rules] = history.rules(before=range_.read_from)
        self._partition = range_.partition
        self._range = range_
        self._applied_to: dict[str, int] = {}
        for tenant, versions in history.tenants.items():
            version = self._version(tenant, versions)
            if version is None:
                continue
            self._applied_to[tenant] = version.offset
            record = history.record(tenant, version)
            if record is not None:
                self._begin(version.offset, tenant, record)
        self.inexact |= dict.fromkeys(history.erased - history.tenants.keys())

    def _begin(self, offset: int, tenant: str, record: Record) -> None:
        if record.rules_number >= len(self.all_rules):
            raise ContradictionError(
                f"tenant {tenant} was folded under rules {record.rules_number} and the states topic has no rules "
                f"after {len(self.all_rules) - 1}: replay a later range"
            )
        operations = {
            (tenant, key): self._operation(tenant, record, claim)
            for (source, key), claim in record.claims.items()
            if source == "operation"
        }
        start = Start(tenant, record, operations)
        if offset < self._range.read_from:
            self.at_once.append(start)
        elif offset < self._range.next:
            self.later[offset] = start

    def _version(self, tenant: str, versions: Versions) -> Version | None:
        """Return the version to begin with, None for a tenant that had no record."""
        settled, first, new_at = versions.settled, versions.first, versions.new_at
        if settled is not None and not self._is_cut(settled, first):
            return settled
        if first is None:
            return settled
        if settled is None and new_at is not None and new_at >= self._range.read_from:
            self._applied_to[tenant] = min(new_at, self._range.warm_up) - 1
            return None
        if first.offset >= self._range.first:
            self.inexact[tenant] = first.offset
        return first

    def _is_cut(self, settled: Version, first: Version | None) -> bool:
        """Return whether retention may have cut the log within the commit that published `first`."""
        start = self._range.log_start
        if first is None or not settled.offset < start <= first.offset < start + COMMIT_OFFSETS:
            return False
        before, after = settled.document(), first.document()
        return before is None or after is None or after["version"] != before["version"] + 1

    def _operation(self, tenant: str, record: Record, claim: Claim) -> OperationRecord:
        """Return the command of a live operation, from its claim.

        The claim lacks the trace id and the position, and says the state only now. A fold reads none of these.
        """
        target = LABELS[claim.state or 0]
        ttl_ms = None if claim.expires_at is None else claim.expires_at - claim.since
        data = {"operation_id": claim.key, "actor": claim.actor or "", "target": target, "ttl_ms": ttl_ms}
        event = OperationEvent(
            specversion="1.0",
            id=claim.key,
            source="urn:somabrain-sleep:replay",
            type=OPERATION,
            subject=tenant,
            data=Operation.model_validate(data),
        )
        return OperationRecord(
            operation_id=claim.key,
            tenant_id=tenant,
            type="operation",
            refused=False,
            cancelled_at=None,
            target_state=claim.state,
            created_at=claim.since,
            expires_at=claim.expires_at,
            code=None,
            detail=None,
            state=record.state,
            previous_state=record.state,
            position=f"{self._partition}:{record.offset}",
            actor=claim.actor,
            reason=claim.reason,
            trace_id=None,
            decision=decision_digest(event),
        )

    def applied_to(self, tenant: str) -> int:
        """Return the offset of the last event that a tenant's first record includes, -1 for none."""
        return self._applied_to.get(tenant, -1)

    def highest_timestamp(self) -> int:
        """Return the highest timestamp, ms, before the warm-up that the records show; 0 for none."""
        return max((start.record.clock for start in self.at_once), default=0)
