"""What the transitions topic tells of commands: a row a command, from which its record is made again.

A row lacks what only the command itself says (target, TTL, trace id, what a cancel ends): that is in the log as
long as the log holds it, and in the tenant's claim as long as an operation lives. The wording of a refusal is
kept nowhere but in Redis.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from pydantic_core import from_json

from schemas.claim import Claim
from schemas.events import POLICY, CancelEvent, CommandEvent
from schemas.operation import CommandType, OperationRecord, RefusalCode
from schemas.published import parse_position
from schemas.state import BY_LABEL, SleepState
from worker.batch import OperationKey
from worker.deadletter import SourceRecord
from worker.recovery.aside import SetAside
from worker.recovery.history import ImpossibleError
from worker.start import OTHER_COUNT

_TYPES: Final[Mapping[str, CommandType]] = {
    "sleep.operation.v1": "operation",
    "sleep.cancel.v1": "cancel",
    "sleep.mode.v1": "mode",
    "sleep.policy.v1": "policy",
}
_NOT_REMEMBERED: Final = ("duplicate_operation", "idempotency_conflict")


class Judged(NamedTuple):
    """A command as its audit row tells of it: what came of it, where, and when (log time, ms).

    `guessed` says that `before` may be another: whether the state before was enforced is told by an earlier row, and
    that is gone.
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
    guessed: bool

    def told_by(self, found: OperationRecord) -> bool:
        """Tell whether a command's record says the same: where and when it was judged, and what came of it."""
        said = found.offset, found.created_at, found.code, found.state
        before = self.guessed or found.previous_state is self.before
        return before and said == (self.offset, self.at, self.code, self.after)

    def record(self, partition: int, event: CommandEvent | None, claim: Claim | None) -> OperationRecord:
        """Return the command's record.

        Args:
            partition: where the row was found.
            event: the command itself, None where the log no longer holds it.
            claim: the claim of an operation that lives, else None.
        """
        data = None if event is None else event.data
        target, expires_at = getattr(data, "target", None), None
        if self.code is None and (ttl_ms := getattr(data, "ttl_ms", None)) is not None:
            expires_at = self.at + ttl_ms
        state = None if target is None else BY_LABEL[target]
        if claim is not None:
            state, expires_at = claim.state, claim.expires_at
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
        ids_from: the ids of rows from this offset of the events topic on are kept; what is before it was acknowledged.
        aside: told of every position that a row stems from.

    Attributes:
        judged: every command, in the order of its first row; an id that was forgotten may come again.
        ids: the ids of rows from `ids_from` on.
        asleep: tenants that slept at `ids_from`, and so had a record: whoever wakes writes a row first.
        ruled: tenants that were given a policy before `ids_from`, and so have a record for good.
        newest: the highest offset of the events topic that a row stems from, -1 for none.
    """

    def __init__(self, partition: int, ids_from: int, aside: SetAside | None = None) -> None:
        self.judged: list[Judged] = []
        self.ids: set[str] = set()
        self.asleep: set[str] = set()
        self.ruled: set[str] = set()
        self.newest = -1
        self._partition = partition
        self._ids_from = ids_from
        self._aside = aside
        # Where the last command of each id was judged: a row that a worker sent twice is no new one.
        self._last: dict[OperationKey, int] = {}
        # Of each tenant the `enforce` that its last row tells, which the next command found, and that row's offset.
        self._enforced: dict[str, tuple[int, bool]] = {}

    def read(self, record: SourceRecord) -> None:
        """Take the next record of the topic.

        Raises:
            ImpossibleError: if it is none of ours, or of another partition count.
        """
        try:
            self._read(from_json(record.value or b"null"))
        except (ValueError, KeyError, TypeError) as error:
            raise ImpossibleError(
                f"transitions topic {self._partition}:{record.offset}: not a record of ours: {error}"
            ) from error

    def _read(self, row: dict[str, Any]) -> None:
        partition, offset = parse_position(row["position"])
        if partition != self._partition:
            raise ImpossibleError(
                f"position {row['position']} is on transitions partition {self._partition}: {OTHER_COUNT}"
            )
        self.newest = max(self.newest, offset)
        if offset >= self._ids_from:
            self.ids.add(row["id"])
        tenant, enforced = row["tenant"], row["enforced"]
        if self._aside is not None:
            self._aside.folded(offset, tenant.encode())
        last_offset, enforced_before = self._enforced.get(tenant, (-1, None))
        # What a worker sent twice after a crash is the same twice, and the first time it came in order.
        if offset < last_offset or (row["operation_id"] is not None and row["kind"] == "transition"):
            return
        if row["operation_id"] is not None:
            self._judge(row, offset, enforced_before=enforced_before)
        self._enforced[tenant] = offset, enforced
        if offset < self._ids_from:
            sleeps = BY_LABEL[row["to"]] is not SleepState.active
            (self.asleep.add if sleeps else self.asleep.discard)(tenant)
            if row["event_type"] == POLICY and row["kind"] == "outcome":
                self.ruled.add(tenant)

    def _judge(self, row: dict[str, Any], offset: int, *, enforced_before: bool | None) -> None:
        key = row["tenant"], row["operation_id"]
        if row["code"] in _NOT_REMEMBERED or self._last.get(key, -1) >= offset:
            return
        self._last[key] = offset

        def state(label: str, *, enforced: bool) -> SleepState:
            return BY_LABEL[label] if enforced else SleepState.active

        self.judged.append(
            Judged(
                key=key,
                type=_TYPES[row["event_type"]],
                offset=offset,
                at=row["at"],
                code=cast("RefusalCode | None", row["code"]),
                before=state(row["from"], enforced=row["enforced"] if enforced_before is None else enforced_before),
                after=state(row["to"], enforced=row["enforced"]),
                actor=row["actor"],
                reason=row["reason"],
                decision=row["decision"],
                guessed=enforced_before is None and row["from"] != SleepState.active.label,
            )
        )


def cancelled_by(event: CommandEvent, judged: Judged) -> OperationKey | None:
    """Return the operation that a command ended, if it is a cancel that did."""
    if isinstance(event, CancelEvent) and judged.code is None:
        return event.subject, event.data.cancels
    return None
