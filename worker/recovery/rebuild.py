"""What Redis held of a partition, found again: the latest states, and the log behind them folded once more.

Pure: what was read of the topics goes in, records and what is missing on the topics comes out. A tenant's record
is its state as it was published, and the events after that position; positions that were dead letters are dead
letters still and change nothing.

Where the log no longer reaches back to its beginning, a fold from nothing is a guess. A record is published as soon as
it is made, and that is acknowledged before its offset is committed. So a tenant of which the states topic has nothing
had no record at the committed offset: there never was one, or its tombstone is gone by now. Its events before that
make nothing. And what a row of the audit says of a command before that offset stands, whatever the fold says.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.events import CommandEvent, RulesEvent
from schemas.names import rules_key
from schemas.operation import OperationRecord
from schemas.policy import Rules
from schemas.record import Record
from worker.batch import POSITION_HEADER, Batch, Decoded, Decoder, OperationKey, operations_of, tenants_of
from worker.deadletter import Ceiling, Failure, SourceRecord
from worker.ports import Output
from worker.recovery.audit import Judged, cancelled_by
from worker.recovery.found import Found, OtherLogError, beyond_the_end, made_anew
from worker.recovery.history import ImpossibleError, Version
from worker.start import checksum

# No worker folds what is further ahead of its clock.
_FUTURE_MS: Final = 60_000


class Rebuilt(NamedTuple):
    """What a partition is to hold, and what its topics lack since a worker died before all was acknowledged.

    Attributes:
        passed_over: as of `Rebuild`.
        now: the wall's time when it was made, ms.
    """

    next: int
    timestamp: int | None
    crc: int | None
    records: dict[str, Record]
    operations: dict[OperationKey, OperationRecord]
    rules: list[Rules]
    states: list[Output]
    transitions: list[Output]
    dead_letters: list[Output]
    passed_over: dict[str, int]
    now: int

    @property
    def swept(self) -> int:
        """The rules of which every tenant has certainly been told."""
        return min((record.rules_number for record in self.records.values()), default=len(self.rules) - 1)


class Rebuild:
    """The records of one partition, as they grow while its log is read from `Found.start` to `next`.

    Args:
        partition, partitions: the partition's number, and how many there are.
        found: what was read before.
        base: the version of each tenant to begin with, by default `Versions.base`.
        other_log: take the states as they are, since the log is not theirs; it is left to the workers whole.
        cut: go on from the end of a log that ends before what was applied. States from behind it are taken as they
            are, but for those that `Found.invented` tells to be somebody else's: they are passed over.
        deadletter_max_ratio: as for a lane.

    Attributes:
        states: what was published since, the last of each key.
        records: the tenants' records so far, None for one that is gone.
        rules: all rules so far.
        operations: the commands that are known so far.
        last: the last record read.
        recognised: whether the log holds a record from which a state stems.
        passed_over: tenants with states that are somebody else's, and the offset in each.

    Raises:
        OtherLogError: if the log ends before what was applied, and neither `other_log` nor `cut` is set.
        ImpossibleError: if the states topic is not whole.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        found: Found,
        *,
        base: Mapping[str, Version] | None = None,
        other_log: bool = False,
        cut: bool = False,
        deadletter_max_ratio: float = 0.5,
    ) -> None:
        if found.applied > found.end and not (other_log or cut):
            raise OtherLogError(beyond_the_end(partition, found))
        self.passed_over = found.ahead if cut and not other_log and found.invented else {}
        self.start = found.start
        self.next = found.start if other_log else min(max(found.applied, found.start), found.end)
        history = found.history
        self._partition = partition
        self._decoder = Decoder(partition, partitions)
        self._ceiling = Ceiling(deadletter_max_ratio)
        self._audit = found.audit
        self._aside = found.aside
        self._emit_from = max(found.start, found.committed or 0)
        self._dead_letters_from = found.end if found.committed is None else self._emit_from
        self._all_rules = history.rules()
        self.rules = self._all_rules if other_log else history.rules(before=found.start)
        if base is None:
            kept = (
                (tenant, versions.before(found.end) if tenant in self.passed_over else versions)
                for tenant, versions in history.tenants.items()
            )
            based = ((tenant, versions.base) for tenant, versions in kept if versions is not None)
            base = {tenant: version for tenant, version in based if version is not None}
        self._known = {tenant: version.offset for tenant, version in base.items()}
        self._vacant = found.vacant
        # Of these the topic lacks what it held, so that they are folded from the log's start for want of better.
        lost = self.passed_over.keys() | history.ahead.keys() | history.erased
        lost |= found.audit.asleep | found.audit.ruled
        self._known |= dict.fromkeys(lost - base.keys(), -1)
        self.records = {tenant: history.record(tenant, version) for tenant, version in base.items()}
        self._check_rules_of_records()
        self._published = {
            tenant: versions.highest.offset
            for tenant, versions in history.tenants.items()
            if tenant not in self.passed_over
        }
        # Wherever a state or an audit row stems from, the log must hold a record of that tenant.
        self._claimed = {command.offset: command.key[0] for command in found.audit.judged}
        self._claimed |= history.stems
        highest = ((tenant, versions.highest) for tenant, versions in history.tenants.items())
        self._claimed |= {version.offset: tenant for tenant, version in highest if version.value is not None}
        self.operations: dict[OperationKey, OperationRecord] = {}
        self._judged: dict[int, Judged] = {}
        self._take_judged(found.audit.judged, start=None if other_log else found.start)
        self._transitions: list[Output] = []
        self._dead_letters: list[Output] = []
        # Whoever reads the topic on takes the last of each key, and so does compaction.
        self.states = {tenant.encode(): self._true_state(tenant, base.get(tenant)) for tenant in self.passed_over}
        self.last: SourceRecord | None = None
        self.recognised = False

    def _true_state(self, tenant: str, base: Version | None) -> Output:
        """Return what a tenant's last state is as long as nothing is folded; a tombstone where it has none."""
        value = None if base is None else base.value
        position = f"{self._partition}:{max(self.next - 1, 0)}".encode()
        return Output(tenant.encode(), value, () if value is not None else ((POSITION_HEADER, position),))

    def _check_rules_of_records(self) -> None:
        newest = len(self._all_rules) - 1
        for tenant, record in self.records.items():
            if record is not None and record.rules_number > newest:
                raise ImpossibleError(
                    f"tenant {tenant} was folded under rules {record.rules_number} and the states topic holds only "
                    f"{newest}: restore Redis from its own backup or AOF"
                )

    def _take_judged(self, judged: Iterable[Judged], start: int | None) -> None:
        """Remember the commands that are not folded again, in their order; those in the log wait for their event."""
        for command in sorted(judged, key=lambda command: command.offset):
            tenant, operation_id = command.key
            if start is None or command.offset < start:
                record = self.records.get(tenant)
                claim = None if record is None else record.claims.get(("operation", operation_id))
                self.operations[command.key] = command.record(self._partition, None, claim)
            elif command.offset <= self._known_to(tenant) or command.offset < self._vacant:
                self._judged[command.offset] = command

    def _known_to(self, tenant: str) -> int:
        """Return the offset up to which a tenant's events are not folded."""
        return self._known.get(tenant, self._vacant - 1)

    def read(self, records: Sequence[SourceRecord]) -> None:
        """Take the next records of the log, up to `next`.

        Raises:
            OtherLogError: if one is not that from which a state was published.
            ImpossibleError: if the rules in the log are not those on the states topic.
        """
        fresh: list[Decoded] = []
        for record in records:
            self._recognise(record)
            if self._aside is not None and self._aside.holds(record):
                continue
            tenant = None if record.key is None else record.key.decode(errors="replace")
            if tenant is None or record.offset > self._known_to(tenant):
                fresh.append(self._decoder.decode(record))
            elif record.offset in self._judged or record.offset >= self._dead_letters_from:
                decoded = self._decoder.decode(record)
                if isinstance(decoded.event, Failure):
                    fresh.append(decoded)
                elif record.offset in self._judged:
                    self._remember(self._judged.pop(record.offset), decoded.event)
        if records:
            self.last = records[-1]
        if fresh:
            self._fold(fresh)

    def _recognise(self, record: SourceRecord) -> None:
        tenant = self._claimed.get(record.offset)
        if tenant is None:
            return
        if record.key != tenant.encode():
            raise OtherLogError(
                f"tenant {tenant} has a state from {self._partition}:{record.offset}, where the log holds another "
                f"tenant's record: {made_anew(self._partition)}"
            )
        self.recognised = True

    def _remember(self, command: Judged, event: Any) -> None:  # noqa: ANN401 - whatever event stands there
        if not isinstance(event, CommandEvent) or event.data.operation_id != command.key[1]:
            raise ImpossibleError(
                f"{self._partition}:{command.offset} is not the command {command.key[1]} of tenant {command.key[0]} "
                "that the transitions topic says was judged there"
            )
        record = self.records.get(command.key[0])
        claim = None if record is None else record.claims.get(("operation", command.key[1]))
        self.operations[command.key] = command.record(self._partition, event, claim)
        ended = cancelled_by(event, command)
        if ended is not None and ended in self.operations:
            self.operations[ended] = self.operations[ended]._replace(cancelled_at=command.at)

    def _fold(self, items: list[Decoded]) -> None:
        known = {key: self.operations[key].pack() if key in self.operations else None for key in operations_of(items)}
        unseen = dict.fromkeys(tenant for tenant in tenants_of(items) if tenant not in self.records)
        batch = Batch(self._partition, self.rules, self.records, unseen, known)
        for item in items:
            rows, letters = len(batch.transitions), len(batch.dead_letters)
            batch.fold(item)
            self._ceiling.count(failed=batch.failures[-1])
            if item.record.offset >= self._emit_from:
                self._transitions += [row for row in batch.transitions[rows:] if _id_of(row) not in self._audit.ids]
            if item.record.offset >= self._dead_letters_from:
                self._dead_letters += batch.dead_letters[letters:]
            if isinstance(item.event, RulesEvent):
                self._compare_rules(batch.rules)
        if self._ceiling.reached:
            raise ImpossibleError(
                f"our own code fails on most of the records up to {self._partition}:{items[-1].record.offset}: run the "
                "version that applied them"
            )
        published = {rules_key(rules.number).encode() for rules in self._all_rules}
        # A compacted topic needs the last of each key alone.
        self.states |= {state.key: state for state in batch.states if state.key and state.key not in published}
        self.rules = batch.rules
        self.records |= batch.records
        self.operations |= {key: operation for key, (operation, _) in batch.operations.items()}
        for item in items:
            if item.record.offset in self._judged and not isinstance(item.event, Failure):
                self._correct(self._judged.pop(item.record.offset), item.event)

    def _correct(self, command: Judged, event: Any) -> None:  # noqa: ANN401 - as above
        """Have a command be what its row tells, unless the fold says so too, or a later one has its id."""
        found = self.operations.get(command.key)
        if found is not None and (found.offset > command.offset or command.told_by(found)):
            return
        if found is not None and command.guessed and found.offset == command.offset:
            command = command._replace(before=found.previous_state)
        self._remember(command, event)

    def _compare_rules(self, rules: list[Rules]) -> None:
        newest = rules[-1]
        if newest.number < len(self._all_rules) and self._all_rules[newest.number].digest != newest.digest:
            raise OtherLogError(
                f"partition {self._partition}: rules {newest.number} in the log are not those on the states topic: "
                f"{made_anew(self._partition)}"
            )

    def finished(self, now: int) -> Rebuilt:
        """Return what the partition is to hold; `now` is the wall's time, ms.

        Raises:
            ImpossibleError: if a state is from the future of the log.
        """
        # Behind a log that was cut or made anew, no record is of an offset that is still to come.
        records = {
            tenant: record if record.offset < self.next else record._replace(offset=self.next - 1)
            for tenant, record in self.records.items()
            if record is not None
        }
        for tenant, record in records.items():
            if record.clock > now + _FUTURE_MS:
                raise ImpossibleError(
                    f"tenant {tenant} has a state of the time {record.clock}, {record.clock - now} ms ahead of this "
                    "clock, and no worker publishes such: set the clock, or send a tombstone for its key"
                )
        # Commands whose event the log should hold, and does not: what the row tells is all that is left of them.
        for command in reversed(self._judged.values()):
            self.operations.setdefault(command.key, command.record(self._partition, None, None))
        # Nor is a command, which a lane would take for one that is still to come.
        operations = {
            key: found if found.offset < self.next else found._replace(position=f"{self._partition}:{self.next - 1}")
            for key, found in self.operations.items()
        }
        last = self.last
        return Rebuilt(
            self.next,
            None if last is None else last.timestamp,
            None if last is None else checksum(last.key, last.value),
            records,
            operations,
            self.rules if len(self.rules) >= len(self._all_rules) else self._all_rules,
            [state for key, state in self.states.items() if not self._is_there(key.decode())],
            self._transitions,
            self._dead_letters,
            self.passed_over,
            now,
        )

    def _is_there(self, tenant: str) -> bool:
        """Tell whether a tenant's last state is on the topic already, or a later one."""
        record = self.records.get(tenant)
        return record is not None and record.offset <= self._published.get(tenant, -1)


def _id_of(row: Output) -> str:
    found: str = from_json(row.value or b"")["id"]
    return found
