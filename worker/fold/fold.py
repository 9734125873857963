"""The fold: one event of the log onto one tenant's record. Pure: the same log gives the same results.

The six steps are those of specification.md#the-fold. Steps 2 and 3, before the event, are in `schemas.domain.advance`.
What an event does to the claims is in `worker.fold.event_handlers`. The decision is in `schemas.domain.decision`.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.domain.advance import advance
from schemas.domain.claim import Cause
from schemas.domain.deadlines import retires_at
from schemas.domain.decision import Change, decide
from schemas.domain.policy import Rules
from schemas.domain.record import Record, new_record
from schemas.domain.state import BY_LABEL, LABELS, SleepState
from schemas.domain.values import time_ms
from schemas.wire.events import BREAKER, CANCEL, TIMER, CommandEvent
from schemas.wire.operation import OperationRecord, RefusalCode, decision_digest, type_of
from schemas.wire.tenant_view import shows_the_same
from schemas.wire.transition import Transition
from schemas.wire.usual_breaker import AnyBreakerEvent, AnyTenantEvent, occurred
from worker.fold.event_handlers import APPLY, EventOutcome, Refusal, Step


class At(Struct, frozen=True, gc=False):
    """The place of an event in the log, and its timestamp in milliseconds.

    `highest` is the highest timestamp of any earlier record of the partition.
    """

    partition: int
    offset: int
    timestamp: int
    highest: int = 0

    @property
    def position(self) -> str:
        """The place in the form `partition:offset`."""
        return f"{self.partition}:{self.offset}"


class Folded(Struct, frozen=True, gc=False):
    """The result of an event.

    Attributes:
        record: the tenant's record after the event, None if the tenant has none.
        published: whether the states topic gets the record (a tombstone if the record is None).
        rows: audit rows, in order.
        operations: command records to remember.
        answer: the outcome for the caller of a command, None for an event that is no command.
        refusal: why the event was refused, None if it was not.
    """

    record: Record | None
    published: bool
    rows: tuple[Transition, ...] = ()
    operations: tuple[OperationRecord, ...] = ()
    answer: OperationRecord | None = None
    refusal: Refusal | None = None


def fold(
    record: Record | None,
    event: AnyTenantEvent,
    known: Mapping[str, OperationRecord],
    rules: list[Rules],
    at: At,
) -> Folded:
    """Fold one event.

    Args:
        record: the tenant's record, None if the tenant has none.
        event: the event, whose subject is the tenant.
        known: remembered commands with the id of the event, and with the id that it cancels.
        rules: every version of the rules so far; the last version is in force.
        at: the place and time of the event in the log.
    """
    folding = _Folding(record, event, rules, at)
    # By the type, not by the class: `isinstance` of a pydantic model that it is not takes as long as a decision.
    if event.type == BREAKER:
        return folding.breaker(event)
    if event.type == TIMER:
        return folding.timer()
    return folding.command(event, known)


class _Origin(Struct, frozen=True, gc=False):
    """The columns of an audit row that say who asked for the change, and why."""

    operation_id: str | None = None
    actor: str | None = None
    reason: str | None = None
    decision_id: str | None = None


_NOBODY: Final = _Origin()
"""The origin of what time or new rules have changed."""


class _Folding:
    """The fold of one event: `base` is the record after steps 1 to 3, `rows` are the audit rows so far."""

    __slots__ = ("at", "base", "before", "event", "now", "origin", "rows", "rules", "terms")

    def __init__(self, before: Record | None, event: AnyTenantEvent, rules: list[Rules], at: At) -> None:
        self.before = before
        self.event = event
        self.rules = rules
        self.at = at
        self.origin = _NOBODY
        self.rows: tuple[Transition, ...] = ()
        if before is None:
            # Nothing to advance: it has no claims, and the rules in force.
            self.now = at.timestamp
            self.base, self.terms = new_record(rules[-1], at.timestamp), rules[-1].terms
            return
        self.now = max(before.clock, at.timestamp)
        self.base, self.terms, changes = advance(before, rules, self.now)
        for change, under in changes:
            self._transition(change, under)

    def timer(self) -> Folded:
        """Retire the record if it is due; otherwise keep it as it was, unless a deadline has passed."""
        if self.before is None:
            return Folded(None, published=False)
        retires = retires_at(self.base, self.terms)
        if retires is not None and self.now >= retires:
            return Folded(None, published=True, rows=self.rows)
        if self._shows_the_same(self.before, self.base):
            return Folded(replace(self.before, rules_number=self.base.rules_number), published=False)
        return Folded(self._stamped(self.base), published=True, rows=self.rows)

    def breaker(self, event: AnyBreakerEvent) -> Folded:
        """Apply a breaker's state. If the data has no time, the time of the event is used."""
        data = event.data
        if data.cause is not None:
            self.origin = _Origin(reason=data.cause)
        if data.occurred_at is None and event.time is not None:
            data = occurred(data, time_ms(event.time))
        step = APPLY[BREAKER](self.base, self.terms, data, self.now, self.at.timestamp)
        if isinstance(step, Refusal):
            return self._refused(step, None)
        return self._finished(self._decided(step))

    def command(self, event: CommandEvent, known: Mapping[str, OperationRecord]) -> Folded:
        """Answer a repeated command with its first outcome; apply any other command, and remember its outcome."""
        data = event.data
        self.origin = _Origin(data.operation_id, data.actor, data.reason, data.decision_id)
        digest = decision_digest(event)
        first = known.get(data.operation_id)
        if first is not None and first.is_known(self.now, max(self.at.highest, self.at.timestamp)):
            # What Redis holds of the command depends on when it was committed. The answer must not depend on that.
            first = first if first.lives_in(self.base.claims) else first.without_texts()
            refusal = _repeated(first, event, digest)
            same = refusal.code == "duplicate_operation"
            answer = first if same else self._outcome(event, digest, self.base, refusal=refusal)
            return replace(self._refused(refusal, digest), answer=answer)

        step: Step
        # By the timestamp of this log record: an earlier record with a time ahead must not make the command late.
        if data.not_after is not None and self.at.timestamp > data.not_after:
            text = f"the log took it at {self.at.timestamp}, after its not_after {data.not_after}; send it again"
            step = Refusal("too_late", text)
        else:
            step = APPLY[event.type](self.base, self.terms, data, self.now, self.at.timestamp)
        if isinstance(step, Refusal):
            outcome = self._outcome(event, digest, self.base, refusal=step)
            return replace(self._refused(step, digest), operations=(outcome,), answer=outcome)

        self.terms = self.rules[-1].terms_for(step.record.policy)
        record = self._decided(step)
        self._judged("outcome", record.decided, digest, None)
        outcome = self._outcome(event, digest, record, expires_at=step.expires_at)
        operations = [outcome]
        if event.type == CANCEL and (cancelled := known.get(event.data.cancels)) is not None:
            operations.append(cancelled._replace(cancelled_at=self.now))
        return replace(self._finished(record), operations=tuple(operations), answer=outcome)

    def _decided(self, step: EventOutcome) -> Record:
        """Step 5: decide again, unless there is nothing to decide."""
        if step.cause is None:
            return step.record
        record, change = decide(step.record, self.terms, self.now, step.cause)
        if change is not None:
            self._transition(change, self.rules[-1])
        return record

    def _refused(self, refusal: Refusal, digest: str | None) -> Folded:
        """Write the refusal to the audit. Steps 1 to 3 stay in effect; a tenant without a record gets none."""
        self._judged("refusal", self.base.decided, digest, refusal.code)
        if self.before is None:
            return Folded(None, published=False, rows=self.rows, refusal=refusal)
        return replace(self._finished(self.base), refusal=refusal)

    def _finished(self, record: Record) -> Folded:
        """Give the record a new version if a reader sees a difference, otherwise only the new clock."""
        if self.before is not None and self._shows_the_same(self.before, record):
            unchanged = record if record.clock == self.now else replace(record, clock=self.now)
            return Folded(unchanged, published=False, rows=self.rows)
        return Folded(self._stamped(record), published=True, rows=self.rows)

    def _stamped(self, record: Record) -> Record:
        return replace(record, at=self.now, clock=self.now, offset=self.at.offset, version=record.version + 1)

    def _shows_the_same(self, before: Record, after: Record) -> bool:
        if before.rules_number == after.rules_number:
            return shows_the_same(before, after, self.terms, self.terms)
        return shows_the_same(before, after, self.rules[before.rules_number].terms_for(before.policy), self.terms)

    def _outcome(
        self,
        event: CommandEvent,
        digest: str,
        record: Record,
        *,
        expires_at: int | None = None,
        refusal: Refusal | None = None,
    ) -> OperationRecord:
        data = event.data
        target = getattr(data, "target", None)
        return OperationRecord(
            operation_id=data.operation_id,
            tenant_id=event.subject,
            type=type_of(event),
            refused=refusal is not None,
            cancelled_at=None,
            target_state=None if target is None else BY_LABEL[target],
            created_at=self.now,
            expires_at=expires_at,
            code=None if refusal is None else refusal.code,
            detail=None if refusal is None else refusal.detail,
            state=record.state,
            previous_state=self.base.state,
            position=self.at.position,
            actor=data.actor,
            reason=data.reason,
            trace_id=data.trace_id,
            decision=digest,
        )

    def _transition(self, change: Change, rules: Rules) -> None:
        """Add the audit row of a change under these rules."""
        self._row(
            "transition",
            change.before,
            change.after,
            cause=change.cause,
            enforced=change.enforced,
            at=change.at,
            rules=rules,
        )

    def _judged(
        self, kind: Literal["outcome", "refusal"], after: SleepState, decision: str | None, code: RefusalCode | None
    ) -> None:
        """Add the audit row of a command's outcome, or of a refusal."""
        self._row(
            kind,
            self.base.decided,
            after,
            enforced=self.terms.policy.enforce,
            at=self.now,
            rules=self.rules[-1],
            decision=decision,
            code=code,
        )

    def _row(  # noqa: PLR0913 - the columns of an audit row
        self,
        kind: Literal["transition", "outcome", "refusal"],
        before: SleepState,
        after: SleepState,
        *,
        enforced: bool,
        at: int,
        rules: Rules,
        cause: Cause | None = None,
        decision: str | None = None,
        code: RefusalCode | None = None,
    ) -> None:
        origin, position = self.origin, self.at.position
        row = Transition(
            id=f"{position}:{len(self.rows)}",
            kind=kind,
            tenant=self.event.subject,
            cause=cause,
            event_id=self.event.id,
            event_type=self.event.type,
            operation_id=origin.operation_id,
            actor=origin.actor,
            reason=origin.reason,
            code=code,
            decision=decision,
            decision_id=origin.decision_id,
            enforced=enforced,
            at=at,
            position=position,
            rules=rules.digest,
            before=LABELS[before],
            after=LABELS[after],
        )
        self.rows += (row,)


def _repeated(first: OperationRecord, event: CommandEvent, digest: str) -> Refusal:
    if first.type == type_of(event) and first.decision == digest:
        return Refusal("duplicate_operation", f"{first.operation_id} was judged at {first.position}")
    return Refusal(
        "idempotency_conflict",
        f"{first.operation_id} was used at {first.position} for another decision; take a new id",
    )
