"""A piece of a batch: events of one partition, folded and encoded. Pure: no I/O and no clock.

If the fold of an event raises, the event becomes a dead letter and changes nothing. So a piece never holds half of an
event's results.
"""

import traceback
from collections.abc import Mapping

from pydantic_core import to_json

from schemas.domain.policy import InvalidDocumentError, Rules, parse_rules
from schemas.domain.record import Record
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.names import rules_key
from schemas.wire.cloudevents import Headers
from schemas.wire.events import RULES, TIMER, CommandEvent, RulesEvent
from schemas.wire.operation import OperationRecord, forgotten_until
from schemas.wire.state_record import NEW_HEADER, POSITION_HEADER
from schemas.wire.tenant_view import encoded_state
from schemas.wire.usual_breaker import AnyTenantEvent
from worker.fold.dead_letter import dead_letter
from worker.fold.decoding import Decoded, is_command, operations_named
from worker.fold.fold import At, Folded, fold
from worker.fold.refused import Refused
from worker.fold.written import Written, claims_of, pack_operation, written_of
from worker.partition.stored_records import LaneStoppedError, operation_of, record_of
from worker.ports import OperationKey, Output


class Piece:
    """The results of the events that one commit writes together.

    Args:
        partition: the partition's number.
        rules: every version of the rules so far.
        cached: records of tenants that the lane knows from its own last commits.
        packed: records of tenants that were loaded for this piece, packed.
        operations: commands that were loaded for this piece, packed; None for a command that is not remembered.
        highest: the highest timestamp of any event before the piece, ms.

    Attributes:
        bytes: the size of the outputs so far, keys and headers included.
        records: the record of each tenant after the piece, None if the tenant has none.
        before: the record of each of these tenants before the piece.
        published_rules: new rules, as state records.
        published: the last state record of each tenant whose state is published, in the order of their positions.
        failures: for each event, whether our own code failed on it.
        leftovers: commands in the store that the log has not reached yet.
        highest: the highest timestamp of any event so far, ms.
    """

    def __init__(
        self,
        partition: int,
        rules: list[Rules],
        cached: Mapping[str, Record | None],
        packed: Mapping[str, bytes | None],
        operations: Mapping[OperationKey, bytes | None],
        highest: int = 0,
    ) -> None:
        self.partition = partition
        self.rules = rules
        self.bytes = 0
        self.transitions: list[Output] = []
        self.dead_letters: list[Output] = []
        self.answers: list[tuple[str, bytes]] = []
        self.failures: list[bool] = []
        self.refusals: list[Refused] = []
        self.timers_folded: list[tuple[str, int]] = []
        self.timer_lags: list[int] = []
        self.records: dict[str, Record | None] = {}
        self.before: dict[str, Record | None] = {}
        self.published: dict[str, Output] = {}
        self.operations: dict[OperationKey, OperationRecord] = {}
        self.receipts: dict[OperationKey, None] = {}
        self.leftovers: list[OperationKey] = []
        self.unreadable: list[Unreadable] = []
        self.highest = highest
        self._new: Headers | None = None
        self.published_rules: list[Output] = []
        self._cached = cached
        self._packed = packed
        self._loaded_operations = operations

    @property
    def states(self) -> list[Output]:
        """The records for the states topic: new rules, then tenants in the order of their positions."""
        return [*self.published_rules, *self.published.values()]

    def fold(self, item: Decoded) -> None:
        """Fold one event, or make a dead letter of it.

        Raises:
            LaneStoppedError: if a record in the store cannot be read. The event is not to blame.
        """
        record, event, _ = item
        self.highest = max(self.highest, record.timestamp)
        if self._new is None:
            self._new = new_since(self.partition, record.offset)
        if isinstance(event, Failure):
            failure: Failure | None = event
        else:
            try:
                failure = None
                if event.type == RULES:
                    failure = self._rules(record, event)
                else:
                    self._tenant(record, event)
            except LaneStoppedError:
                raise
            except Exception:  # noqa: BLE001 - specification.md#dead-letters
                failure = Failure("fold_failed", traceback.format_exc(), ours=True)
        if failure is not None:
            self._add(self.dead_letters, dead_letter(record, failure))
            if isinstance(record, Unreadable) and record.batch:
                self.unreadable.append(record)
        self.failures.append(failure is not None and failure.ours)

    def _rules(self, record: SourceRecord, event: RulesEvent) -> Failure | None:
        number = len(self.rules)
        try:
            rules = parse_rules(number, event.data.rules)
        except InvalidDocumentError as error:
            return Failure("invalid_rules", str(error))
        at = At(self.partition, record.offset, record.timestamp)
        document = {"number": number, "rules": rules.document, "position": at.position, "at": at.timestamp}
        self._add(self.published_rules, Output(rules_key(number).encode(), to_json(document)))
        self.rules = [*self.rules, rules]
        return None

    def _tenant(self, record: SourceRecord, event: AnyTenantEvent) -> None:
        tenant = event.subject
        before = self.records[tenant] if tenant in self.records else self._stored(tenant, record.offset)
        at = At(self.partition, record.offset, record.timestamp, self.highest)
        command = event if is_command(event) else None
        known = self._known_operations(command, record.offset) if command is not None else {}
        folded = fold(before, event, known, self.rules, at)
        # Everything that can raise comes first, so that an event that fails leaves the piece as it was.
        key = tenant.encode()
        transitions = [Output(key, row.encode()) for row in folded.rows] if folded.rows else []
        state = self._state(tenant, key, folded, at) if folded.published else None
        answer = None if folded.answer is None else folded.answer.pack()

        self.before.setdefault(tenant, before)
        self.records[tenant] = folded.record
        if transitions:
            self._add(self.transitions, *transitions)
        if state is not None:
            self._publish(tenant, state)
        if command is not None:
            self._judged(command, folded, answer)
        if folded.refusal is not None:
            code, detail = folded.refusal
            self.refusals.append(Refused(code, event.type, tenant, event.source, at.position, detail))
        if event.type == TIMER:
            self.timers_folded.append((tenant, record.timestamp))
            self.timer_lags.append(record.timestamp - event.data.due_at)

    def _judged(self, command: CommandEvent, folded: Folded, answer: bytes | None) -> None:
        """Note what is to be remembered of a command, and the packed answer for its caller."""
        for operation in folded.operations:
            self.operations[command.subject, operation.operation_id] = operation
        self.receipts[command.subject, command.data.operation_id] = None
        if answer is not None and command.data.reply_to is not None:
            self.answers.append((command.data.reply_to, answer))
            self.bytes += len(answer)

    def _stored(self, tenant: str, offset: int) -> Record | None:
        """Return a tenant's record before the piece."""
        if tenant in self._cached:
            return self._cached[tenant]
        packed = self._packed[tenant]
        return None if packed is None else record_of(self.partition, tenant, packed, self.rules, offset)

    def _known_operations(self, command: CommandEvent, offset: int) -> dict[str, OperationRecord]:
        known: dict[str, OperationRecord] = {}
        for key in operations_named(command):
            operation_id = key[1]
            if key in self.operations:
                known[operation_id] = self.operations[key]
            elif (packed := self._loaded_operations[key]) is not None:
                operation = operation_of(self.partition, *key, packed)
                if operation.offset < offset:
                    known[operation_id] = operation
                else:
                    # Redis kept the command although it lost the commit, or the command is from another log.
                    self.leftovers.append(key)
        return known

    def _state(self, tenant: str, key: bytes, folded: Folded, at: At) -> Output:
        if folded.record is None:
            return Output(key, None, ((POSITION_HEADER, at.position.encode()),))
        terms = self.rules[-1].terms_for(folded.record.policy)
        return Output(key, encoded_state(tenant, self.partition, folded.record, terms))

    def _publish(self, tenant: str, state: Output) -> None:
        """Publish a state record of a tenant instead of an earlier one in this piece."""
        if self.before[tenant] is None:
            state = Output(state.key, state.value, (*state.headers, *(self._new or ())))
        earlier = self.published.pop(tenant, None)
        if earlier is not None:
            self.bytes -= _size(earlier)
        self.published[tenant] = state
        self.bytes += _size(state)

    def _add(self, outputs: list[Output], *more: Output) -> None:
        outputs += more
        for output in more:
            self.bytes += _size(output)

    @property
    def forget_to(self) -> int:
        """Commands that ended at this time or before are forgotten now, ms."""
        return forgotten_until(self.highest)

    def packed_operations(self) -> dict[OperationKey, bytes]:
        """Return the packed form of each command that the piece decided or ended."""
        return {key: pack_operation(operation, self.records[key[0]]) for key, operation in self.operations.items()}

    def ended(self) -> list[OperationKey]:
        """Return the commands that are over after the piece: those that lived before it, and those that never lived."""
        ended: dict[OperationKey, None] = {}
        for tenant, record in self.records.items():
            before = self.before[tenant]
            if before is not None and (record is None or before.claims is not record.claims):
                for source, operation_id in sorted(before.claims.keys() - claims_of(record).keys()):
                    if source == "operation":
                        ended[tenant, operation_id] = None
        for key, operation in self.operations.items():
            if not operation.lives_in(claims_of(self.records[key[0]])):
                ended[key] = None
        return list(ended)

    def written(self) -> dict[str, Written]:
        """Return what the store writes for each tenant of the piece."""
        return {tenant: written_of(record, self.rules) for tenant, record in self.records.items()}


def new_since(partition: int, offset: int) -> Headers:
    """Return the header that says: before this offset the tenant had no record."""
    return ((NEW_HEADER, f"{partition}:{offset}".encode()),)


def _size(output: Output) -> int:
    """Return the size of an output in bytes."""
    key, value, headers = output
    size = len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name) + len(content)
    return size
