"""The tenants of a partition, folded under the recorded rules or others. Pure.

A scenario holds what a worker would hold after the same events: records, the commands that the partition remembers, and
the rules. It makes no outputs.
"""

from typing import Any, Final, NamedTuple

from schemas.domain.advance import POLICY_CHANGED, advance, with_policy
from schemas.domain.decision import Change, decide
from schemas.domain.policy import InvalidDocumentError, Policy, Rules, parse_rules
from schemas.domain.record import Record, new_record
from schemas.wire.events import POLICY, TIMER, CommandEvent, RulesEvent, Timer, TimerEvent
from schemas.wire.operation import OperationRecord
from schemas.wire.usual_breaker import AnyTenantEvent
from worker.fold.decoding import is_command, operations_named
from worker.fold.fold import At, Folded, fold
from worker.fold.written import claims_of
from worker.ports import OperationKey
from worker.recovery.what_if.starts import Start

_FEW_OPERATIONS: Final = 1_000
"""Below so many commands nothing is gained by removing those that the partition has forgotten."""


class Alternative(NamedTuple):
    """What a replay puts in the place of what was recorded.

    Attributes:
        rules: a valid rules document in the place of all rules in the range; None for the recorded ones.
        policy: the policy of every replayed tenant in the place of all its policies in the range; None likewise.
    """

    rules: dict[str, Any] | None = None
    policy: Policy | None = None

    def __bool__(self) -> bool:
        """Whether anything differs from what was recorded."""
        return self.rules is not None or self.policy is not None


class Scenario:
    """The tenants of a partition.

    Args:
        partition: its number.
        rules: every version of the rules so far, by number.

    Attributes:
        records: the record of each tenant that has one.
        operations: the commands that the partition remembers; it may have forgotten some of them.
        rules: every version of the rules so far; the last is in force.
    """

    def __init__(self, partition: int, rules: list[Rules]) -> None:
        self.partition = partition
        self.rules = rules
        self.records: dict[str, Record] = {}
        self.operations: dict[OperationKey, OperationRecord] = {}
        self._most_operations = _FEW_OPERATIONS

    def begin(self, start: Start) -> None:
        """Give a tenant the record with which it begins."""
        self.records[start.tenant] = start.record
        self.operations |= start.operations

    def fold(self, event: AnyTenantEvent, at: At) -> Folded | None:
        """Fold an event; None if our own code fails on it, so that it changes nothing, as in a worker."""
        tenant = event.subject
        known = self.known_operations(event)
        try:
            folded = fold(self.records.get(tenant), event, known, self.rules, at)
        except Exception:  # noqa: BLE001 - specification.md#dead-letters
            return None
        if folded.record is None:
            self.records.pop(tenant, None)
        else:
            self.records[tenant] = folded.record
        for operation in folded.operations:
            self.operations[tenant, operation.operation_id] = operation
        return folded

    def known_operations(self, event: AnyTenantEvent) -> dict[str, OperationRecord]:
        """Return the remembered commands that an event names, by id."""
        if not is_command(event):
            return {}
        return {key[1]: self.operations[key] for key in operations_named(event) if key in self.operations}

    def follow_rules(self, event: RulesEvent) -> bool:
        """Take new rules; return whether they are valid. Invalid ones change nothing."""
        try:
            self.rules = [*self.rules, parse_rules(len(self.rules), event.data.rules)]
        except InvalidDocumentError:
            return False
        return True

    def forget(self, highest: int) -> None:
        """Remove the commands that the partition has forgotten, if they are many.

        Args:
            highest: the partition's highest timestamp so far, ms.
        """
        if len(self.operations) <= self._most_operations:
            return
        self.operations = {
            key: operation
            for key, operation in self.operations.items()
            if not operation.is_forgotten(highest) or operation.lives_in(claims_of(self.records.get(key[0])))
        }
        self._most_operations = max(2 * len(self.operations), _FEW_OPERATIONS)


class AlternativeScenario(Scenario):
    """The scenario under other rules or another policy, from the beginning of the range on.

    Args:
        recorded: the recorded scenario there.
        alternative: what differs.
        all_rules: every version of the recorded rules. The other rules get the next number, so that no record's number
            is mistaken for theirs.
    """

    def __init__(self, recorded: Scenario, alternative: Alternative, all_rules: list[Rules]) -> None:
        other = alternative.rules
        rules = recorded.rules if other is None else [*all_rules, parse_rules(len(all_rules), other)]
        super().__init__(recorded.partition, rules)
        self._alternative = alternative
        self.operations = dict(recorded.operations)

    def enter(self, tenant: str, record: Record | None, at: int) -> list[Change]:
        """Bring a tenant of the recorded scenario under the other rules or policy.

        Args:
            tenant: its name.
            record: its record in the recorded scenario, None for none.
            at: when, ms.

        Returns:
            What changes by that, with what time had changed before.
        """
        changes: list[Change] = []
        now = at
        if record is not None:
            now = max(record.clock, at)
            record, _, advanced = advance(record, self.rules, now)
            changes = [change for change, _ in advanced]
        if (policy := self._alternative.policy) is not None:
            record = with_policy(record or new_record(self.rules[-1], now), policy)
            record, change = decide(record, self.rules[-1].terms_for(policy), now, POLICY_CHANGED)
            changes += [change] if change is not None else []
        if record is not None:
            self.records[tenant] = record
        return changes

    def follow_rules(self, event: RulesEvent) -> bool:
        """Pass over new rules if others are in their place."""
        return self._alternative.rules is not None or super().follow_rules(event)

    def fold(self, event: AnyTenantEvent, at: At) -> Folded | None:
        """Fold an event. Of a policy command only the time counts if another policy is in its place."""
        return super().fold(self.seen(event), at)

    def seen(self, event: AnyTenantEvent) -> AnyTenantEvent:
        """Return what this scenario folds in the place of an event."""
        if self._alternative.policy is None or event.type != POLICY:
            return event
        return _timer_of(event)


def _timer_of(event: CommandEvent) -> TimerEvent:
    """Return a timer in the place of a command, so that expirations are noticed at the same event."""
    return TimerEvent(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=TIMER,
        subject=event.subject,
        data=Timer(due_at=0),
    )
