"""Replays the range of one partition: the recorded scenario, beside it an alternative one, and the audit. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from schemas.domain.deadlines import settle
from schemas.domain.record import Record
from schemas.domain.state import SleepState
from schemas.kafka.source_record import Failure, SourceRecord
from schemas.wire.events import RULES, RulesEvent
from schemas.wire.usual_breaker import AnyTenantEvent
from worker.fold.decoding import Decoder
from worker.fold.fold import At, Folded, fold
from worker.recovery.skipped_records import SkippedRecords
from worker.recovery.what_if.audit_check import AuditCheck
from worker.recovery.what_if.bounds import Range
from worker.recovery.what_if.effects import Effects
from worker.recovery.what_if.explanation import Document, explain_event
from worker.recovery.what_if.scenario import Alternative, AlternativeScenario, Scenario
from worker.recovery.what_if.starts import Start, Starts
from worker.recovery.what_if.state_changes import StateChange

_NONE: Final[tuple[StateChange, ...]] = ()


class PartitionReplay:
    """The replay of one partition. `read` takes the log from `range_.read_from` on, then `finish` ends it.

    Args:
        range_: what is replayed.
        partitions: how many partitions there are.
        starts: what the tenants begin with.
        skipped: the records that became dead letters; they change nothing, as when they were recorded.
        alternative: what is put in the place of what was recorded; nothing by default.
        tenants: the only tenants that are replayed, None for all.
        audited_to: the offset up to which all rows are certainly published; later ones are not compared.

    Attributes:
        effects: what it comes to, for each tenant.
        audit: the comparison with the published rows.
        recorded: the tenants under the recorded rules and policies.
        alternative: the tenants under what is put in their place; None before the range, and without an alternative.
        events: how many events of the range were folded.
        failed: on how many of them our own code failed; these change nothing.
    """

    def __init__(
        self,
        range_: Range,
        partitions: int,
        starts: Starts,
        skipped: SkippedRecords,
        *,
        alternative: Alternative = Alternative(),  # noqa: B008 - immutable
        tenants: Collection[str] | None = None,
        audited_to: int = 0,
    ) -> None:
        self.range = range_
        self.starts = starts
        self.effects = Effects()
        self.events = 0
        self.failed = 0
        self.recorded = Scenario(range_.partition, starts.rules)
        self.alternative: AlternativeScenario | None = None
        self.highest = starts.highest_timestamp()
        self._replacement = alternative
        self._tenants = None if tenants is None else frozenset(tenants)
        self._keys = None if tenants is None else frozenset(tenant.encode() for tenant in tenants)
        self._skipped = skipped
        self._decoder = Decoder(range_.partition, partitions)
        self._in_range = False
        self._knows_commands = False
        self.audit = AuditCheck(
            range_.partition,
            range_.read_from,
            range_.first,
            min(range_.next, audited_to),
            compares=self._folds,
            skipped=skipped,
        )
        for start in starts.at_once:
            self.recorded.begin(start)

    def _folds(self, tenant: str, offset: int) -> bool:
        """Return whether the event of a tenant at an offset is folded."""
        return (self._tenants is None or tenant in self._tenants) and offset > self.starts.applied_to(tenant)

    def read(self, records: Sequence[SourceRecord]) -> None:
        """Take the next records of the log; read the audit up to the last of them first."""
        if not self._knows_commands:
            self._know_commands()
        for record in records:
            if not self._in_range and record.offset >= self.range.first:
                self.enter_range()
            self.highest = max(self.highest, record.timestamp)
            self._read(record)
        if records:
            self.audit.pass_to(records[-1].offset + 1)
            self.recorded.forget(self.highest)
            if self.alternative is not None:
                self.alternative.forget(self.highest)

    def _know_commands(self) -> None:
        """Remember the commands of events before the fold by their rows, as a rebuild does."""
        self._knows_commands = True
        for command in self.audit.earlier.judged:
            if command.key in self.recorded.operations:
                continue  # Its claim says more: the TTL.
            if self._tenants is None or command.key[0] in self._tenants:
                self.recorded.operations[command.key] = command.record(self.range.partition, None, None)

    def _read(self, record: SourceRecord) -> None:
        if (start := self.starts.later.get(record.offset)) is not None:
            self._begin_later(start)
        elif self.wants(record):
            event = self._decoder.decode(record).event
            if isinstance(event, Failure):
                return
            if event.type == RULES:
                self._follow_rules(event)
            elif record.offset > self.starts.applied_to(event.subject):
                self._fold(event, self.at(record))

    def wants(self, record: SourceRecord) -> bool:
        """Return whether a record may change a tenant of this replay."""
        of_others = self._keys is not None and record.key is not None and record.key not in self._keys
        return not of_others and not self._skipped.contains(record)

    def at(self, record: SourceRecord) -> At:
        """Return the place of a record for the fold."""
        return At(self.range.partition, record.offset, record.timestamp, self.highest)

    def _follow_rules(self, event: RulesEvent) -> None:
        self.recorded.follow_rules(event)
        if self.alternative is not None:
            self.alternative.follow_rules(event)

    def enter_range(self) -> None:
        """Begin to compare: every tenant is counted from here on, and the alternative scenario branches off."""
        self._in_range = True
        if self._replacement:
            self.alternative = AlternativeScenario(self.recorded, self._replacement, self.starts.all_rules)
        absent = {} if self._tenants is None or self._replacement.policy is None else dict.fromkeys(self._tenants)
        for offset, start in self.starts.later.items():
            if offset >= self.range.first:
                absent.pop(start.tenant, None)
        records: dict[str, Record | None] = absent | self.recorded.records
        for tenant, record in records.items():
            self._enter(tenant, record, self.range.from_at)

    def _enter(self, tenant: str, record: Record | None, at: int) -> None:
        state = SleepState.active
        if record is not None:
            state = settle(record, self.recorded.rules[record.rules_number].terms_for(record.policy), at)[0].state
        self.effects.begin(tenant, state, at, alternative=self.alternative is not None)
        if self.alternative is not None:
            changes = self.alternative.enter(tenant, record, at)
            self.effects.follow(tenant, _NONE, [StateChange.of_change(change) for change in changes], None)

    def _begin_later(self, start: Start) -> None:
        """Begin with a tenant at its first record that the topic still holds."""
        self.recorded.begin(start)
        if self._in_range:
            if self.alternative is not None:
                self.alternative.operations |= start.operations
            self._enter(start.tenant, start.record, max(self.range.from_at, start.record.at))

    def _fold(self, event: AnyTenantEvent, at: At) -> None:
        recorded = self.recorded.fold(event, at)
        if not self._in_range:
            return
        self.events += 1
        self.failed += recorded is None
        replayed = None if self.alternative is None else self.alternative.fold(event, at)
        if recorded is not None:
            self.audit.folded(at.offset, recorded.rows)
        tenant = event.subject
        if tenant not in self.effects.tenants:
            self.effects.begin(tenant, SleepState.active, self.range.from_at, alternative=self.alternative is not None)
        left, right = _changes(recorded), _NONE if self.alternative is None else _changes(replayed)
        if left or right:
            self.effects.follow(tenant, left, right, at.position)
        effect = self.effects.tenants[tenant]
        effect.recorded.refusals += recorded is not None and recorded.refusal is not None
        if self.alternative is not None:
            effect.replayed.refusals += replayed is not None and replayed.refusal is not None

    def inexact(self) -> dict[str, int | None]:
        """Return the tenants whose record from before the range is not kept, as `Starts.inexact`."""
        chosen = self._tenants
        return {tenant: at for tenant, at in self.starts.inexact.items() if chosen is None or tenant in chosen}

    def explain(self, record: SourceRecord, event: AnyTenantEvent) -> Document | None:
        """Explain the next event, in the alternative scenario if there is one; None if it is not folded.

        Our own code may raise whatever it raises in a worker that makes a dead letter of the event.
        """
        if not self._in_range:
            self.enter_range()
        if not self.wants(record) or not self._folds(event.subject, record.offset):
            return None
        self.highest = max(self.highest, record.timestamp)
        scenario = self.recorded
        if self.alternative is not None:
            scenario, event = self.alternative, self.alternative.seen(event)
        before, at = scenario.records.get(event.subject), self.at(record)
        folded = fold(before, event, scenario.known_operations(event), scenario.rules, at)
        return explain_event(before, event, scenario.rules, at, folded)

    def finish(self) -> None:
        """Settle every tenant at the end of the range, and end the comparison with the audit."""
        if not self._in_range:
            self.enter_range()
        to_at = self.range.to_at
        for tenant, effect in self.effects.tenants.items():
            left = _settled(self.recorded, tenant, to_at)
            right = _NONE if self.alternative is None else _settled(self.alternative, tenant, to_at)
            if left or right:
                self.effects.follow(tenant, left, right, None)
            effect.recorded.until(to_at)
            effect.replayed.until(to_at)
        self.audit.finish()


def _changes(folded: Folded | None) -> Sequence[StateChange]:
    return StateChange.of_rows(folded.rows) if folded is not None and folded.rows else _NONE


def _settled(scenario: Scenario, tenant: str, at: int) -> Sequence[StateChange]:
    """Return what time has changed of a tenant since its last event, up to a time."""
    record = scenario.records.get(tenant)
    if record is None:
        return _NONE
    terms = scenario.rules[record.rules_number].terms_for(record.policy)
    return [StateChange.of_change(change) for change in settle(record, terms, at)[1]]
