"""How a command goes: receipt, publish, wait for what the log says."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import structlog

from api.clock import Clock, new_id
from api.describe.problems import ProblemError
from api.operate.dependency import UnavailableError
from api.operate.metrics import Metrics
from api.publish.log import EventsLog, OutcomeUnknownError
from api.publish.receipt import Receipt
from api.publish.replies import Replies
from api.read.store import Store
from schemas.cloudevents import STRUCTURED_HEADERS, UndecodableError, decode, encode
from schemas.events import CommandEvent
from schemas.operation import REMEMBERED_MS, CommandType, OperationRecord, RefusalCode, decision_digest
from schemas.partition import partition_of
from schemas.state import StateName

SOURCE: Final = "urn:somabrain-sleep:api"
NOT_AFTER_MS: Final = 30_000
"""A command that reaches the log later than this after its request is refused there."""

_CONFLICT: Final[RefusalCode] = "idempotency_conflict"

log = structlog.get_logger(__name__)


class Order(NamedTuple):
    """A command as a caller gives it; `data` holds what its type has of its own, absent fields left out.

    `operation_id` is None unless a key of the caller's fixes it.
    """

    type: CommandType
    tenant: str
    actor: str
    decision_id: str
    data: dict[str, Any]
    target_state: StateName | None = None
    reason: str | None = None
    trace_id: str | None = None
    operation_id: str | None = None


class LostAckError(Exception):
    """It is unknown whether the command was published; `operation_id` finds it if it was."""

    def __init__(self, operation_id: str, finding: str) -> None:
        super().__init__(finding)
        self.operation_id = operation_id
        self.finding = finding


Outcome = OperationRecord | Receipt
"""What the log said, or the receipt where it has not spoken yet."""


PROMPT_SECONDS: Final = 0.25
"""An answer that takes longer than this is waited for with the receipt confirmed, for others to read."""


class Commands:
    """Publishes commands and waits for their outcomes.

    Args:
        log: publishes.
        store: keeps receipts and finds outcomes.
        replies: hears outcomes.
        partitions: number of partitions of the events topic.
        metrics: counts.
        clock: the time, in milliseconds.
        new_id: makes an operation id from the time.
    """

    def __init__(
        self,
        *,
        log: EventsLog,
        store: Store,
        replies: Replies,
        partitions: int,
        metrics: Metrics,
        clock: Clock,
        new_id: Callable[[int], str] = new_id,
    ) -> None:
        self._log = log
        self._store = store
        self._replies = replies
        self._partitions = partitions
        self._metrics = metrics
        self._clock = clock
        self._new_id = new_id

    async def submit(self, order: Order, patience: int) -> Outcome:
        """Publish a command and wait up to `patience` seconds for its outcome.

        Raises:
            UnavailableError: if nothing was published.
            LostAckError: if nobody can tell.
        """
        try:
            outcome = await self._submit(order, patience)
        except UnavailableError:
            self._metrics.command(order.type, "unavailable")
            raise
        except LostAckError:
            self._metrics.command(order.type, "outcome_unknown")
            raise
        self._metrics.command(order.type, _result(outcome))
        return outcome

    async def _submit(self, order: Order, patience: int) -> Outcome:
        self._log.require()
        now = self._clock()
        receipt = Receipt(
            operation_id=order.operation_id or self._new_id(now),
            tenant_id=order.tenant,
            type=order.type,
            target_state=order.target_state,
            created_at=now,
            actor=order.actor,
            reason=order.reason,
            trace_id=order.trace_id,
        )
        event = _event(order, receipt, self._replies.channel)
        decision = _decision(order.tenant, event)
        with self._replies.expect(order.tenant, receipt.operation_id, decision) as waiting:
            receipt = await self._publish(receipt, event)
            with self._metrics.waiting.track_inprogress():
                prompt = min(patience, PROMPT_SECONDS)
                record = await waiting.outcome(prompt) if prompt else None
                if record is None and not waiting.answered:
                    # Only now will anyone else look at the receipt; a prompt answer saves the round trip.
                    await self._confirm(receipt)
                    record = await waiting.outcome(patience - prompt) if patience > prompt else None
            if record is not None or (patience == 0 and order.operation_id is None):
                return record or receipt
            found = await self._look_up(receipt, decision, now)
            conflicts = isinstance(found, OperationRecord) and found.code == _CONFLICT
            return found if patience or conflicts else receipt

    async def _publish(self, receipt: Receipt, event: bytes) -> Receipt:
        """Write the receipt and the event; return the receipt with the event's position."""
        partition = partition_of(receipt.tenant_id, self._partitions)
        ours = await self._store.put_receipt(receipt)
        try:
            offset = await self._log.publish(partition, receipt.tenant_id.encode(), event)
        except UnavailableError:
            if ours:
                await self._drop(receipt)
            raise
        except OutcomeUnknownError as error:
            raise LostAckError(receipt.operation_id, str(error)) from error
        return receipt if offset is None else receipt._replace(position=f"{partition}:{offset}")

    async def _confirm(self, receipt: Receipt) -> None:
        try:
            await self._store.confirm_receipt(receipt)
        except UnavailableError as error:
            # The command is in the log all the same; a GET says `outcome_unknown` until its outcome is there.
            log.warning("receipt_not_confirmed", operation_id=receipt.operation_id, finding=error.finding)

    async def _drop(self, receipt: Receipt) -> None:
        try:
            await self._store.drop_receipt(receipt)
        except UnavailableError as error:
            log.warning("receipt_not_dropped", operation_id=receipt.operation_id, finding=error.finding)

    async def _look_up(self, receipt: Receipt, decision: str, now: int) -> Outcome:
        """Find an outcome whose message was lost. Another decision's says what became of a repeat of its id."""
        try:
            found = await self._store.operation(receipt.tenant_id, receipt.operation_id)
        except UnavailableError as error:
            log.warning("outcome_not_read", operation_id=receipt.operation_id, finding=error.finding)
            return receipt
        if not isinstance(found, OperationRecord):
            return receipt
        if found.decision == decision:
            return found
        if now >= found.finished_at + REMEMBERED_MS:
            return receipt  # The log has forgotten it, and judges ours as a new one.
        detail = f"{found.operation_id} was judged at {found.position}, with another decision; use another key"
        return found._replace(refused=True, code=_CONFLICT, detail=detail)


def _decision(tenant: str, event: bytes) -> str:
    """Return the digest by which the log tells repeats, having read the event as the worker will.

    Raises:
        ProblemError: where the worker would set the event aside, so that nobody would ever answer.
    """
    try:
        read = decode(tenant.encode(), event, STRUCTURED_HEADERS)
    except UndecodableError as error:
        if error.code == "oversize":
            # JSON may grow in the writing: 1e15 has 4 characters, its digits 18.
            raise ProblemError("body_too_large", f"the command makes an event too large: {error}") from None
        raise ProblemError("malformed_request", f"the command makes no event: {error}") from None
    return decision_digest(cast("CommandEvent", read))


def _event(order: Order, receipt: Receipt, channel: str) -> bytes:
    """Return the CloudEvent of a command."""
    data: dict[str, Any] = {
        "operation_id": receipt.operation_id,
        **order.data,
        "actor": order.actor,
        "decision_id": order.decision_id,
        "reply_to": channel,
        "not_after": receipt.created_at + NOT_AFTER_MS,
    }
    if order.reason is not None:
        data["reason"] = order.reason
    if order.trace_id is not None:
        data["trace_id"] = order.trace_id
    time = datetime.fromtimestamp(receipt.created_at / 1000, UTC)
    return encode(
        type_=f"sleep.{order.type}.v1",
        id_=receipt.operation_id,
        source=SOURCE,
        subject=order.tenant,
        time=f"{time:%Y-%m-%dT%H:%M:%S}.{receipt.created_at % 1000:03d}Z",
        data=data,
    )


def _result(outcome: Outcome) -> str:
    """Return how a command ended, as the metrics call it."""
    if isinstance(outcome, Receipt):
        return "accepted"
    return outcome.code or "done"
