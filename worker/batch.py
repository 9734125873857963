"""One batch of a partition's log: decoded, folded and encoded, with no I/O and no clock.

A record on which anything here raises becomes a dead letter and changes nothing, so the working set holds at
any moment the result of whole events only.
"""

import traceback
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pydantic_core import to_json

from schemas.cloudevents import UndecodableError, decode
from schemas.deadlines import is_open_ended, next_deadline, retires_at
from schemas.events import CancelEvent, Command, Event, RulesEvent, TenantEvent, TimerEvent
from schemas.names import OPERATION_KEPT_MS, rules_key
from schemas.operation import OperationRecord
from schemas.partition import partition_of
from schemas.policy import InvalidDocumentError, Rules, parse_rules
from schemas.public import state_record
from schemas.record import Record, pack
from worker.deadletter import Failure, SourceRecord, dead_letter
from worker.machine import At, Folded, fold
from worker.ports import Output
from worker.stored import LaneStoppedError, operation_of, record_of

POSITION_HEADER: Final = "sleep.position"
OperationKey = tuple[str, str]


class Decoded(NamedTuple):
    """A record of the log with the event in it, or with the reason why there is none."""

    record: SourceRecord
    event: Event | Failure


class Written(NamedTuple):
    """What the store is to write for one tenant; None as `packed` removes the record, None as `due` the timer."""

    packed: bytes | None
    due: int | None
    open_ended: bool


class Decoder:
    """Turns records into events. Knows the partition of each key that it saw lately, since the hash is slow."""

    _REMEMBERED: Final = 100_000

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._ours: set[str] = set()

    def decode(self, record: SourceRecord) -> Decoded:
        """Return the record with its event, or with why it is a dead letter."""
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError as error:
            return Decoded(record, Failure(error.code, str(error)))
        except Exception:  # noqa: BLE001 - whatever our decoder trips over must not stop the partition
            return Decoded(record, Failure("decode_failed", traceback.format_exc(), ours=True))
        if not isinstance(event, RulesEvent) and event.subject not in self._ours:
            owner = partition_of(event.subject, self._partitions)
            if owner != self._partition:
                message = f"{event.subject} belongs to partition {owner}: set the producer's partitioner to murmur2"
                return Decoded(record, Failure("wrong_partition", message))
            if len(self._ours) >= self._REMEMBERED:
                self._ours.clear()
            self._ours.add(event.subject)
        return Decoded(record, event)


def tenants_of(decoded: Iterable[Decoded]) -> list[str]:
    """Return the tenants whose records the batch needs, each once."""
    return list(
        dict.fromkeys(item.event.subject for item in decoded if not isinstance(item.event, RulesEvent | Failure))
    )


def operations_of(decoded: Iterable[Decoded]) -> list[OperationKey]:
    """Return the commands of which the batch needs to know whether they are remembered, each once."""
    keys: dict[OperationKey, None] = {}
    for item in decoded:
        event = item.event
        if isinstance(event, RulesEvent | Failure) or not isinstance(event.data, Command):
            continue
        keys[event.subject, event.data.operation_id] = None
        if isinstance(event, CancelEvent):
            keys[event.subject, event.data.cancels] = None
    return list(keys)


class Batch:
    """The working set of one batch.

    Args:
        partition: the partition's number.
        rules: every version of the rules so far.
        remembered: the tenants' records that the lane knows from its own last commits.
        packed: the records loaded for this batch, as the store holds them.
        operations: the remembered commands loaded for this batch, as the store holds them.
    """

    def __init__(
        self,
        partition: int,
        rules: list[Rules],
        remembered: Mapping[str, Record | None],
        packed: Mapping[str, bytes | None],
        operations: Mapping[OperationKey, bytes | None],
    ) -> None:
        self.partition = partition
        self.rules = rules
        self.states: list[Output] = []
        self.transitions: list[Output] = []
        self.dead_letters: list[Output] = []
        self.answers: list[tuple[str, bytes]] = []
        self.failures: list[bool] = []
        self.timers_folded: list[tuple[str, int]] = []
        self.timer_lags: list[int] = []
        self.records: dict[str, Record | None] = {}
        self.before: dict[str, Record | None] = {}
        self.published: set[str] = set()
        self.operations: dict[OperationKey, tuple[OperationRecord, int]] = {}
        self.leftovers: list[OperationKey] = []
        self._remembered = remembered
        self._packed = packed
        self._loaded_operations = operations

    def fold(self, item: Decoded) -> None:
        """Fold one record of the log, or make a dead letter of it.

        Raises:
            LaneStoppedError: if what the store holds for it cannot be read; that is not the record's fault.
        """
        record, event = item
        if isinstance(event, Failure):
            failure: Failure | None = event
        else:
            try:
                failure = None
                if isinstance(event, RulesEvent):
                    failure = self._rules(record, event)
                else:
                    self._tenant(record, event)
            except LaneStoppedError:
                raise
            except Exception:  # noqa: BLE001 - DESIGN section 4: what we fail on is set aside, up to a ceiling
                failure = Failure("fold_failed", traceback.format_exc(), ours=True)
        if failure is not None:
            self.dead_letters.append(dead_letter(record, failure))
        self.failures.append(failure is not None and failure.ours)

    def _rules(self, record: SourceRecord, event: RulesEvent) -> Failure | None:
        number = len(self.rules)
        try:
            rules = parse_rules(number, event.data.rules)
        except InvalidDocumentError as error:
            return Failure("invalid_rules", str(error))
        at = At(self.partition, record.offset, record.timestamp)
        document = {"number": number, "rules": rules.document, "position": at.position, "at": at.timestamp}
        self.states.append(Output(rules_key(number).encode(), to_json(document)))
        self.rules = [*self.rules, rules]
        return None

    def _tenant(self, record: SourceRecord, event: TenantEvent) -> None:
        tenant = event.subject
        before = self._record(tenant, record.offset)
        at = At(self.partition, record.offset, record.timestamp)
        folded = fold(before, event, self._known(event, record.offset), self.rules, at)
        # All that can raise comes first, so that a poison record leaves the working set as it was.
        key = tenant.encode()
        transitions = [Output(key, to_json(row.as_json())) for row in folded.rows]
        state = self._state(tenant, key, folded, at) if folded.published else None
        answer = self._answer(event, folded)

        self.before.setdefault(tenant, before)
        self.records[tenant] = folded.record
        self.transitions += transitions
        if state is not None:
            self.states.append(state)
            self.published.add(tenant)
        for operation in folded.operations:
            kept_ms = max(operation.finished_at - at.timestamp, 0) + OPERATION_KEPT_MS
            self.operations[tenant, operation.operation_id] = operation, kept_ms
        if answer is not None:
            self.answers.append(answer)
        if isinstance(event, TimerEvent):
            self.timers_folded.append((tenant, record.timestamp))
            self.timer_lags.append(record.timestamp - event.data.due_at)

    def _record(self, tenant: str, offset: int) -> Record | None:
        if tenant in self.records:
            return self.records[tenant]
        if tenant in self._remembered:
            return self._remembered[tenant]
        packed = self._packed[tenant]
        return None if packed is None else record_of(self.partition, tenant, packed, self.rules, offset)

    def _known(self, event: TenantEvent, offset: int) -> dict[str, OperationRecord]:
        if not isinstance(event.data, Command):
            return {}
        known: dict[str, OperationRecord] = {}
        for operation_id in (event.data.operation_id, getattr(event.data, "cancels", None)):
            if operation_id is None:
                continue
            key = event.subject, operation_id
            if key in self.operations:
                known[operation_id] = self.operations[key][0]
            elif (packed := self._loaded_operations[key]) is not None:
                operation = operation_of(self.partition, *key, packed)
                if operation.offset < offset:
                    known[operation_id] = operation
                else:
                    # Left behind by what Redis has lost, or by another log: this log has not told of it yet.
                    self.leftovers.append(key)
        return known

    def _state(self, tenant: str, key: bytes, folded: Folded, at: At) -> Output:
        if folded.record is None:
            return Output(key, None, ((POSITION_HEADER, at.position.encode()),))
        terms = self.rules[-1].terms_for(folded.record.policy)
        return Output(key, to_json(state_record(tenant, self.partition, folded.record, terms)))

    @staticmethod
    def _answer(event: TenantEvent, folded: Folded) -> tuple[str, bytes] | None:
        if folded.answer is None or not isinstance(event.data, Command) or event.data.reply_to is None:
            return None
        return event.data.reply_to, folded.answer.pack()

    def written(self) -> dict[str, Written]:
        """Return what the store is to write for each tenant that the batch touched."""
        return {tenant: written_of(record, self.rules) for tenant, record in self.records.items()}


def written_of(record: Record | None, rules: list[Rules]) -> Written:
    """Return what the store is to hold of a tenant with this record."""
    if record is None:
        return Written(None, None, open_ended=False)
    terms = rules[record.rules_number].terms_for(record.policy)
    due = next_deadline(record, terms)
    if due is None:
        due = retires_at(record, terms)
    return Written(pack(record, terms.schedule), due, is_open_ended(record, terms))


def count_changes(before: Mapping[str, Record | None], after: Mapping[str, Record | None]) -> dict[str, int]:
    """Return by how much the number of tenants in each state changed."""
    moved: dict[str, int] = {}
    for tenant, record in after.items():
        earlier = before[tenant]
        if earlier is not None:
            moved[earlier.state.label] = moved.get(earlier.state.label, 0) - 1
        if record is not None:
            moved[record.state.label] = moved.get(record.state.label, 0) + 1
    return {state: difference for state, difference in moved.items() if difference}
