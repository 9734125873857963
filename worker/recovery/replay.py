"""The records of a partition, made again from its published states and its log. Pure.

What was read of the topics goes in. Records come out, and the outputs that the topics lack. A tenant's record is its
published state and the events after that. A position that became a dead letter is one again, and changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace
from pydantic_core import from_json

from schemas.kafka.source_record import Failure, SourceRecord
from schemas.names import rules_key
from schemas.wire.events import RulesEvent
from schemas.wire.state_record import NEW_HEADER, POSITION_HEADER
from worker.fold.dead_letter import Ceiling
from worker.fold.decoding import Decoded, Decoder, operations_of, tenants_of
from worker.fold.piece import Piece, new_since
from worker.partition.startup_checks import checksum
from worker.ports import Output
from worker.recovery.commands import Commands
from worker.recovery.errors import ContradictionError
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.log_identity import LogIdentity
from worker.recovery.partition_content import PartitionContent
from worker.recovery.plan import Action
from worker.recovery.starting_points import StartingPoints
from worker.recovery.states_history import Version

# No worker folds an event that is further ahead of its clock.
_FUTURE_MS: Final = 60_000


class Replay:
    """The records of one partition, while its log is read from `start` to `next`.

    Args:
        evidence: what the topics say.
        action: what was decided.
        versions: the version of each tenant to begin with; by default `Versions.base`.
        deadletter_max_ratio: as for a lane.

    Attributes:
        start, next: the first event to read, and the offset after the last one.
        records: the tenants' records so far, None for a record that was removed.
        states: the states that were published since, the last of each key.
        rules: all rules so far.
        commands: the commands so far.
        highest: the highest timestamp so far, ms.
        last: the last event read.
        identity: whether the log is the one from which the states stem.
        starts: with which record each tenant began.

    Raises:
        ContradictionError: if a state cannot be read, or the states topic lacks rules.
    """

    def __init__(
        self,
        evidence: PartitionEvidence,
        action: Action,
        *,
        versions: Mapping[str, Version] | None = None,
        deadletter_max_ratio: float = 0.5,
    ) -> None:
        takes_all = action is Action.TAKE_STATES_AS_THEY_ARE
        self._evidence = evidence
        self._partition = evidence.partition
        self.start = evidence.start
        self.next = self.start if takes_all else min(max(evidence.applied, self.start), evidence.end)
        self._published_rules = evidence.history.rules()
        self.rules = self._published_rules if takes_all else evidence.history.rules(before=self.start)
        self.starts = StartingPoints(evidence, action, versions)
        self.records = dict(self.starts.records)
        self.highest = self.starts.highest_timestamp()
        self.identity = LogIdentity(evidence)
        self.last: SourceRecord | None = None
        self.commands = Commands(self._partition, self.records)
        self._add_judged(reads_log=not takes_all)
        self._decoder = Decoder(self._partition, evidence.partitions)
        self._ceiling = Ceiling(deadletter_max_ratio)
        self._emit_from = max(self.start, evidence.committed or 0)
        self._dead_letters_from = evidence.end if evidence.committed is None else self._emit_from
        self._published_to = self.starts.published_to
        self._transitions: list[Output] = []
        self._dead_letters: list[Output] = []
        # The last of each key counts, for readers of the topic and for compaction.
        self.states = {tenant.encode(): self._replacement(tenant) for tenant in self.starts.ignored}

    def _add_judged(self, *, reads_log: bool) -> None:
        """Remember the commands before the log, and wait for those whose row is final."""
        adopted = {state.tenant: offset for offset, state in self.starts.adopted.items()}
        absent_until = self._evidence.absent_until
        for command in sorted(self._evidence.audit.judged, key=lambda command: command.offset):
            tenant, _ = command.key
            if not reads_log or command.offset < self.start:
                self.commands.add_row(command)
            elif command.offset <= max(self.starts.applied_to(tenant), adopted.get(tenant, -1), absent_until - 1):
                self.commands.expect(command)

    def _replacement(self, tenant: str) -> Output:
        """Return the state to send after an ignored one as long as no event is folded; else a tombstone."""
        version = self.starts.versions.get(tenant)
        if version is not None and version.value is not None:
            return Output(tenant.encode(), version.value)
        position = f"{self._partition}:{max(self.next - 1, 0)}".encode()
        return Output(tenant.encode(), None, ((POSITION_HEADER, position),))

    def read(self, records: Sequence[SourceRecord]) -> None:
        """Take the next events, up to `next`.

        Raises:
            OtherLogError: if the states do not stem from this log.
            ContradictionError: if the audit does not fit the log, or our own code fails on most events.
        """
        unfolded: list[tuple[Decoded, int]] = []
        for record in records:
            self.highest = max(self.highest, record.timestamp)
            self.identity.check_record(record)
            if self._evidence.skipped is not None and self._evidence.skipped.contains(record):
                continue
            tenant = None if record.key is None else record.key.decode(errors="replace")
            awaited = self.commands.is_awaited(record.offset)
            if tenant is None or record.offset > self.starts.applied_to(tenant):
                unfolded.append((self._decoder.decode(record), self.highest))
            elif awaited or record.offset >= self._dead_letters_from:
                decoded = self._decoder.decode(record)
                if isinstance(decoded.event, Failure):
                    unfolded.append((decoded, self.highest))
                elif awaited:
                    self.commands.take_event(record.offset, decoded.event)
            if unfolded and self.commands.is_awaited(record.offset):
                # The next event must meet this command as its row says.
                self._fold(unfolded)
                unfolded = []
        if records:
            self.last = records[-1]
        if unfolded:
            self._fold(unfolded)

    def _fold(self, unfolded: list[tuple[Decoded, int]]) -> None:
        """Fold decoded events, each with the highest timestamp up to it."""
        items = [item for item, _ in unfolded]
        unseen = dict.fromkeys(tenant for tenant in tenants_of(items) if tenant not in self.records)
        operations = self.commands.packed(operations_of(items))
        batch = Piece(self._partition, self.rules, self.records, unseen, operations)
        for item, highest in unfolded:
            self._fold_one(batch, item, highest)
        if self._ceiling.reached:
            raise ContradictionError(
                f"our own code fails on most of the records up to {self._partition}:{items[-1].record.offset}: run the "
                "version that applied them"
            )
        published = {rules_key(rules.number).encode() for rules in self._published_rules}
        self.states |= {state.key: state for state in batch.published_rules if state.key and state.key not in published}
        self.states |= {
            tenant.encode(): self._with_new_header(tenant, state) for tenant, state in batch.published.items()
        }
        self.rules = batch.rules
        self.records |= batch.records
        self.commands.operations |= batch.operations
        for item in items:
            if self.commands.is_awaited(item.record.offset) and not isinstance(item.event, Failure):
                self.commands.correct(item.record.offset, item.event)

    def _fold_one(self, batch: Piece, item: Decoded, highest: int) -> None:
        offset = item.record.offset
        transitions, dead_letters = len(batch.transitions), len(batch.dead_letters)
        batch.highest = highest
        batch.fold(item)
        self._adopt_published(offset, batch)
        self._ceiling.count(failed=batch.failures[-1])
        if offset >= self._emit_from:
            sent = self._evidence.audit.ids
            self._transitions += [row for row in batch.transitions[transitions:] if _id_of(row) not in sent]
        if offset >= self._dead_letters_from:
            self._dead_letters += batch.dead_letters[dead_letters:]
        if isinstance(item.event, RulesEvent):
            self.identity.check_rules(batch.rules[-1])

    def _adopt_published(self, offset: int, batch: Piece) -> None:
        """Go on from the state that was published of this event if earlier events may be gone."""
        adopted = self.starts.adopted.get(offset)
        if adopted is None:
            return
        tenant, version = adopted
        published, folded = self._evidence.history.record(tenant, version), batch.records.get(tenant)
        if (published and published.version) != (folded and folded.version):
            # The tenant's rows so far belong to another history.
            self._transitions = [row for row in self._transitions if row.key != tenant.encode()]
        batch.records[tenant] = published

    def _with_new_header(self, tenant: str, state: Output) -> Output:
        """Return a state with the header of a new tenant if the tenant certainly had no record before."""
        headers = tuple(header for header in state.headers if header[0] != NEW_HEADER)
        offset = self.starts.new_since(tenant)
        if offset is not None and offset < self.next:
            headers += tuple(new_since(self._partition, offset))
        return state._replace(headers=headers)

    def finished(self, now: int) -> PartitionContent:
        """Return what the partition is to hold.

        Args:
            now: the wall clock's time, ms.

        Raises:
            ContradictionError: if a tenant's clock is more than a minute ahead of `now`.
        """
        # The log was truncated or recreated: a record must not name an offset that is still to come.
        records = {
            tenant: record if record.offset < self.next else replace(record, offset=self.next - 1)
            for tenant, record in self.records.items()
            if record is not None
        }
        for tenant, record in records.items():
            if record.clock > now + _FUTURE_MS:
                raise ContradictionError(
                    f"tenant {tenant} has a state of the time {record.clock}, {record.clock - now} ms ahead of this "
                    "clock, and no worker publishes such a state: set the clock, or send a tombstone for its key"
                )
        last, newer = self.last, len(self.rules) >= len(self._published_rules)
        return PartitionContent(
            partition=self._partition,
            partitions=self._evidence.partitions,
            next=self.next,
            timestamp=None if last is None else last.timestamp,
            crc=None if last is None else checksum(last.key, last.value),
            records=records,
            operations=self.commands.remembered(records, self.next, self.highest),
            rules=self.rules if newer else self._published_rules,
            states=[state for key, state in self.states.items() if not self._is_published(key.decode())],
            transitions=self._transitions,
            dead_letters=self._dead_letters,
            ignored=self.starts.ignored,
            highest=self.highest,
        )

    def _is_published(self, tenant: str) -> bool:
        """Return whether the topic already holds a tenant's last state, or a later one."""
        record = self.records.get(tenant)
        return record is not None and record.offset <= self._published_to.get(tenant, -1)


def _id_of(row: Output) -> str:
    id_: str = from_json(row.value or b"")["id"]
    return id_
