"""The commands of a partition by the transitions topic: one row a command, from which its record is made again. Pure.

A row lacks what only the command itself says: target, TTL, trace id, and which operation a cancel ends. The log says
that as long as it holds the command. The tenant's claim says it as long as an operation lives. No topic holds the
detail of a refusal.
"""

from typing import Any, Final, NamedTuple, get_args

from pydantic_core import from_json

from schemas.domain.claim import Claim
from schemas.domain.sealing import NewerCodeError
from schemas.domain.state import BY_LABEL, SleepState
from schemas.kafka.source_record import SourceRecord
from schemas.wire.events import POLICY, CancelEvent, CommandEvent
from schemas.wire.operation import COMMAND_TYPES, FORGOTTEN_MS, REMEMBERED_MS, CommandType, OperationRecord, RefusalCode
from schemas.wire.state_record import parse_position
from worker.partition.startup_checks import OTHER_COUNT
from worker.ports import OperationKey
from worker.recovery.errors import ContradictionError
from worker.recovery.skipped_records import SkippedRecords

_CODES: Final = frozenset(get_args(RefusalCode))
_NOT_REMEMBERED: Final = ("duplicate_operation", "idempotency_conflict")


class JudgedCommand(NamedTuple):
    """A command by its audit row.

    Attributes:
        key, type: which command.
        offset: of its event.
        at: when it was judged, log time in ms.
        code: why it was refused, None if it was not.
        before, after: the tenant's state.
        before_is_guess: whether `before` may be wrong: the earlier row that said whether that state was enforced is
            gone.
        repeated_at: when its id came again last and was recognised, log time in ms; None for never.
        repeated_highest: the highest time of any row up to that repeat, ms.
    """

    key: OperationKey
    type: CommandType
    offset: int
    at: int
    code: RefusalCode | None
    before: SleepState
    after: SleepState
    actor: str
    reason: str | None
    decision: str
    before_is_guess: bool
    repeated_at: int | None = None
    repeated_highest: int = 0

    def agrees_with(self, operation: OperationRecord) -> bool:
        """Return whether a command's record has the same offset, time and outcome."""
        outcome = operation.offset, operation.created_at, operation.code, operation.state
        before = self.before_is_guess or operation.previous_state is self.before
        return before and outcome == (self.offset, self.at, self.code, self.after)

    def record(self, partition: int, event: CommandEvent | None, claim: Claim | None) -> OperationRecord:
        """Return the command's record.

        Args:
            partition: the number of the partition.
            event: the command itself, None if the log no longer holds it.
            claim: the claim of a living operation, else None.
        """
        data = None if event is None else event.data
        target, expires_at = getattr(data, "target", None), None
        if self.code is None and (ttl_ms := getattr(data, "ttl_ms", None)) is not None:
            expires_at = self.at + ttl_ms
        state = None if target is None else BY_LABEL[target]
        if claim is not None:
            state, expires_at = claim.state, claim.expires_at
        elif event is None and self.type == "operation" and self.code is None and self.repeated_at is not None:
            # The log no longer says when it expired. A worker that still recognised its id had not forgotten it.
            earliest_end = max(self.repeated_at - REMEMBERED_MS, self.repeated_highest - FORGOTTEN_MS) + 1
            expires_at = earliest_end if earliest_end > self.at else None
        return OperationRecord(
            operation_id=self.key[1],
            tenant_id=self.key[0],
            type=self.type,
            refused=self.code is not None,
            cancelled_at=None,
            target_state=state,
            created_at=self.at,
            expires_at=expires_at,
            code=self.code,
            detail=None,
            state=self.after,
            previous_state=self.before,
            position=f"{partition}:{self.offset}",
            actor=self.actor,
            reason=self.reason,
            trace_id=None if data is None else data.trace_id,
            decision=self.decision,
        )


class Audit:
    """A partition of the transitions topic, read from its start.

    Args:
        partition: its number.
        ids_from: the ids of rows from this offset of the events topic on are stored; earlier rows were acknowledged.
        skipped: learns of every position from which a row stems.

    Attributes:
        partition: its number.
        judged: every command, in the order of its first row. An id that was forgotten may come again.
        ids: the ids of rows from `ids_from` on.
        asleep: tenants that slept at `ids_from` and so had a record: waking a tenant writes a row.
        with_policy: tenants that got a policy before `ids_from` and so keep their record for good.
        stems: the tenant of each offset from which the tenant's first row stems.
        newest: the highest offset of the events topic from which a row stems, -1 for none.
    """

    def __init__(self, partition: int, ids_from: int, skipped: SkippedRecords | None = None) -> None:
        self.partition = partition
        self.judged: list[JudgedCommand] = []
        self.ids: set[str] = set()
        self.asleep: set[str] = set()
        self.with_policy: set[str] = set()
        self.stems: dict[int, str] = {}
        self.newest = -1
        self._ids_from = ids_from
        self._highest = 0
        self._skipped = skipped
        # The index in `judged` of each id's last command: a row that a worker sent twice is no new command.
        self._last: dict[OperationKey, int] = {}
        # The offset and `enforced` of each tenant's last row: the next command met that `enforced`.
        self._enforced: dict[str, tuple[int, bool]] = {}

    def read(self, record: SourceRecord) -> None:
        """Take the next record of the topic.

        Raises:
            ContradictionError: if no worker wrote it, or a worker with another partition count did.
        """
        try:
            self._read(from_json(record.value or b"null"))
        except NewerCodeError as error:
            raise ContradictionError(f"transitions topic {self.partition}:{record.offset}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ContradictionError(
                f"transitions topic {self.partition}:{record.offset}: no worker wrote this record: {error}"
            ) from error

    def _read(self, row: dict[str, Any]) -> None:
        partition, offset = parse_position(row["position"])
        if partition != self.partition:
            raise ContradictionError(
                f"position {row['position']} is on transitions partition {self.partition}: {OTHER_COUNT}"
            )
        was_sent_before = offset < self.newest
        self.newest = max(self.newest, offset)
        self._highest = max(self._highest, row["at"])
        if offset >= self._ids_from:
            self.ids.add(row["id"])
        tenant, enforced = row["tenant"], row["enforced"]
        if self._skipped is not None:
            self._skipped.mark_folded(offset, tenant.encode())
        last_offset, enforced_before = self._enforced.get(tenant, (-1, None))
        if tenant not in self._enforced:
            self.stems[offset] = tenant
        # Rows that a worker sent again after a crash are the same; the first copy came in order.
        if offset < last_offset or (row["operation_id"] is not None and row["kind"] == "transition"):
            return
        if row["operation_id"] is not None:
            self._judge(row, offset, enforced_before=enforced_before, was_sent_before=was_sent_before)
        self._enforced[tenant] = offset, enforced
        if offset < self._ids_from:
            sleeps = BY_LABEL[row["to"]] is not SleepState.active
            (self.asleep.add if sleeps else self.asleep.discard)(tenant)
            if row["event_type"] == POLICY and row["kind"] == "outcome":
                self.with_policy.add(tenant)

    def _judge(self, row: dict[str, Any], offset: int, *, enforced_before: bool | None, was_sent_before: bool) -> None:
        key = row["tenant"], row["operation_id"]
        event_type, code = row["event_type"], row["code"]
        if event_type not in COMMAND_TYPES:
            raise NewerCodeError("command type", event_type)
        if code is not None and code not in _CODES:
            raise NewerCodeError("refusal code", code)
        last = self._last.get(key)
        if code in _NOT_REMEMBERED:
            if last is not None and not was_sent_before:
                self.judged[last] = self.judged[last]._replace(repeated_at=row["at"], repeated_highest=self._highest)
            return
        if last is not None and self.judged[last].offset >= offset:
            return
        self._last[key] = len(self.judged)

        def state(label: str, *, enforced: bool) -> SleepState:
            return BY_LABEL[label] if enforced else SleepState.active

        self.judged.append(
            JudgedCommand(
                key=key,
                type=COMMAND_TYPES[event_type],
                offset=offset,
                at=row["at"],
                code=code,
                before=state(row["from"], enforced=row["enforced"] if enforced_before is None else enforced_before),
                after=state(row["to"], enforced=row["enforced"]),
                actor=row["actor"],
                reason=row["reason"],
                decision=row["decision"],
                before_is_guess=enforced_before is None and row["from"] != SleepState.active.label,
            )
        )


def cancelled_by(event: CommandEvent, command: JudgedCommand) -> OperationKey | None:
    """Return the operation that a command cancelled, None if it cancelled none."""
    if isinstance(event, CancelEvent) and command.code is None:
        return event.subject, event.data.cancels
    return None
