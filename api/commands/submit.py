"""Sends a command: pays for it, publishes it, waits for the outcome, and stores its receipt where nobody waits."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import EventsLog, OutcomeUnknownError
from api.adapters.redis_receipts import Receipts
from api.commands.command_event import Order, data_of, event_of, read_back
from api.commands.form import require_form
from api.commands.log_time import LogTime
from api.commands.operation_id import new_id
from api.commands.receipt import Receipt
from api.commands.replies import Replies, Waiting
from api.errors.base import ApiError
from api.errors.problems import ProblemError
from api.observability.metrics import Metrics
from schemas.kafka.partitioner import partition_of
from schemas.wire.operation import OperationRecord, RefusalCode, digest_of

_CONFLICT: Final[RefusalCode] = "idempotency_conflict"

log = structlog.get_logger(__name__)


class UntoldOutcomeError(ApiError):
    """The command may be in the log, and no 202 can be promised. `operation_id` finds its outcome once it is folded.

    Args:
        operation_id: that of the command.
        finding: the reason, for the log.
        detail: the reason for callers.
    """

    def __init__(self, operation_id: str, finding: str, detail: str) -> None:
        super().__init__(finding)
        self.operation_id = operation_id
        self.finding = finding
        self.detail = detail


_NO_ACK: Final = "no acknowledgement came; look at the operation before you send the command again"
_NO_RECEIPT: Final = (
    "the command is in the log, but Redis did not answer; look at the operation before you send the command again"
)


Outcome = OperationRecord | Receipt
"""The outcome from the log, or the receipt while there is none yet."""
Pay = Callable[[Receipt | None], Awaitable[bool]]
"""Takes a command's cost from its budget, writes the receipt if there is one, and tells whether it was written."""


class Submitted(NamedTuple):
    """What became of a command.

    Attributes:
        outcome: as far as it is known.
        waited: whether it was waited for until it came, or for as long as the caller wanted.
    """

    outcome: Outcome
    waited: bool


PROMPT_SECONDS: Final = 0.25
"""After this wait the receipt is written, so that other requests find the command."""
MOST_WAITING: Final = 1_000
"""Waiting callers of one tenant. A further caller is answered 202 as soon as its command is published."""


class Commands:
    """Publishes commands and waits for their outcomes.

    Args:
        log: publishes commands.
        receipts: stores receipts, and reads outcomes whose message was lost.
        replies: receives outcomes.
        partitions: number of partitions of the events topic.
        metrics: counts commands.
        log_time: the time of the log.
        new_id: makes an operation id from a time.
    """

    def __init__(
        self,
        *,
        log: EventsLog,
        receipts: Receipts,
        replies: Replies,
        partitions: int,
        metrics: Metrics,
        log_time: LogTime,
        new_id: Callable[[int], str] = new_id,
    ) -> None:
        self._log = log
        self._receipts = receipts
        self._replies = replies
        self._partitions = partitions
        self._metrics = metrics
        self._log_time = log_time
        self._new_id = new_id
        self._waiting: Counter[str] = Counter()

    async def submit(
        self, order: Order, patience: int, pay: Pay | None = None, published: Callable[[], None] = lambda: None
    ) -> Submitted:
        """Publish a command and wait up to `patience` seconds for its outcome.

        Args:
            order: the command.
            patience: how long to wait; if `MOST_WAITING` callers of the tenant already wait, no wait.
            pay: takes the command's cost before anything else is done; None if it was taken already.
            published: is called once the command is in the log, before the wait.

        Raises:
            ProblemError: if `pay` or the log would refuse it, or the log could not read it; nothing was published.
            UnavailableError: if nothing was published.
            UntoldOutcomeError: if it is unknown whether the command was published, or Redis did not take the receipt
                that a 202 needs.
        """
        try:
            submitted = await self._submit(order, patience, pay or self._put, published)
        except UnavailableError:
            self._metrics.command(order.type, "unavailable")
            raise
        except UntoldOutcomeError:
            self._metrics.command(order.type, "outcome_unknown")
            raise
        self._metrics.command(order.type, _result(submitted.outcome))
        return submitted

    async def _submit(self, order: Order, patience: int, pay: Pay, published: Callable[[], None]) -> Submitted:
        now = self._log_time.now()
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
        # While a caller waits, nobody else knows the id. Most answers come soon and need no receipt.
        noted = await pay(None if patience else receipt)
        try:
            self._log.require()
            partition = partition_of(order.tenant, self._partitions)
            not_after = self._log_time.not_after(partition)
            type_ = f"sleep.{order.type}.v1"
            data = data_of(order, receipt, self._replies.channel, not_after)
            event = event_of(type_, receipt, data)
            command = read_back(order, data, event)
            require_form(command)
            decision = digest_of(type_, command)
            with self._replies.expect(order.tenant, receipt.operation_id, decision) as waiting:
                receipt = await self._publish(partition, receipt, event, noted=noted)
                published()
                return await self._outcome(receipt, waiting, patience, decision, noted=noted)
        except (ProblemError, UnavailableError):
            if noted:
                await self._withdraw(receipt)
            raise

    async def _put(self, receipt: Receipt | None) -> bool:
        return receipt is not None and await self._receipts.put(receipt)

    async def _publish(self, partition: int, receipt: Receipt, event: bytes, *, noted: bool) -> Receipt:
        """Publish the event, and return the receipt with the event's position."""
        try:
            offset = await self._log.publish(partition, receipt.tenant_id.encode(), event)
        except OutcomeUnknownError as error:
            if not noted:
                await self._try_to_note(receipt)
            raise UntoldOutcomeError(receipt.operation_id, str(error), _NO_ACK) from error
        return receipt if offset is None else receipt._replace(position=f"{partition}:{offset}")

    async def _outcome(
        self, receipt: Receipt, waiting: Waiting, patience: int, decision: str, *, noted: bool
    ) -> Submitted:
        """Wait for the outcome of a published command. Without one, store the receipt, or find the record.

        Raises:
            UntoldOutcomeError: if there is no outcome, and no receipt of this command in Redis.
        """
        waited = not patience or self._waiting[receipt.tenant_id] < MOST_WAITING
        patience = patience if waited else 0
        if patience:
            self._count_waiting(receipt.tenant_id, 1)
            try:
                record = await waiting.outcome(PROMPT_SECONDS)
                if record is None and not waiting.answered:
                    noted = await self._try_to_note(receipt)
                    record = await waiting.outcome(patience - PROMPT_SECONDS)
            finally:
                self._count_waiting(receipt.tenant_id, -1)
            if record is not None:
                return Submitted(record, waited)
            waited = not waiting.answered  # A stop ends a wait early.
        try:
            known = await self._receipts.note(receipt)
        except UnavailableError as error:
            if not noted:
                raise UntoldOutcomeError(receipt.operation_id, error.finding, _NO_RECEIPT) from error
            log.warning("outcome_not_read", operation_id=receipt.operation_id, finding=error.finding)
            known = None
        if known is not None:
            known = _judged(known, decision)
            # A caller that does not wait gets 202, also for a repeat.
            if patience or known.code == _CONFLICT:
                return Submitted(known, waited=True)
        return Submitted(receipt, waited)

    async def _try_to_note(self, receipt: Receipt) -> bool:
        """Store a receipt; tell whether a `GET` now finds the command."""
        try:
            await self._receipts.note(receipt)
        except UnavailableError as error:
            log.warning("receipt_not_written", operation_id=receipt.operation_id, finding=error.finding)
            return False
        return True

    async def _withdraw(self, receipt: Receipt) -> None:
        try:
            await self._receipts.withdraw(receipt)
        except UnavailableError as error:
            log.warning("receipt_not_withdrawn", operation_id=receipt.operation_id, finding=error.finding)

    def _count_waiting(self, tenant: str, by: int) -> None:
        self._metrics.waiting.inc(by)
        self._waiting[tenant] += by
        if not self._waiting[tenant]:
            del self._waiting[tenant]


def _judged(record: OperationRecord, decision: str) -> OperationRecord:
    """Return an outcome whose message was lost. If the id was used for another decision, that is a conflict."""
    if record.decision == decision:
        return record
    detail = f"{record.operation_id} was judged at {record.position}, with another decision; use another key"
    return record._replace(refused=True, code=_CONFLICT, detail=detail)


def _result(outcome: Outcome) -> str:
    """Return the result of a command as the metrics name it."""
    if isinstance(outcome, Receipt):
        return "accepted"
    return outcome.code or "done"
