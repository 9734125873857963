"""Sends a command: stores its receipt, publishes it and waits for the outcome."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import structlog

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import EventsLog, OutcomeUnknownError
from api.adapters.redis_store import Store
from api.commands.form import require_form
from api.commands.log_time import LogTime
from api.commands.operation_id import new_id
from api.commands.receipt import Receipt
from api.commands.replies import Replies
from api.errors.base import ApiError
from api.errors.problems import ProblemError
from api.observability.metrics import Metrics
from schemas.domain.state import StateName
from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import STRUCTURED_HEADERS, UndecodableError, decode, encode
from schemas.wire.events import CommandEvent
from schemas.wire.operation import REMEMBERED_MS, CommandType, OperationRecord, RefusalCode, decision_digest

SOURCE: Final = "urn:somabrain-sleep:api"

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


class LostAckError(ApiError):
    """It is unknown whether the command was published. If it was, `operation_id` finds its outcome."""

    def __init__(self, operation_id: str, finding: str) -> None:
        super().__init__(finding)
        self.operation_id = operation_id
        self.finding = finding


Outcome = OperationRecord | Receipt
"""The outcome from the log, or the receipt while there is none yet."""


class Submitted(NamedTuple):
    """What became of a command.

    Attributes:
        outcome: as far as it is known.
        waited: whether it was waited for until it came, or for as long as the caller wanted.
    """

    outcome: Outcome
    waited: bool


PROMPT_SECONDS: Final = 0.25
"""After this wait the receipt is confirmed, so that other requests can read the command's position."""
MOST_WAITING: Final = 1_000
"""Waiting callers of one tenant. A further caller is answered 202 as soon as its command is published."""


class Commands:
    """Publishes commands and waits for their outcomes.

    Args:
        log: publishes commands.
        store: holds receipts and outcomes.
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
        store: Store,
        replies: Replies,
        partitions: int,
        metrics: Metrics,
        log_time: LogTime,
        new_id: Callable[[int], str] = new_id,
    ) -> None:
        self._log = log
        self._store = store
        self._replies = replies
        self._partitions = partitions
        self._metrics = metrics
        self._log_time = log_time
        self._new_id = new_id
        self._waiting: Counter[str] = Counter()

    async def submit(self, order: Order, patience: int, published: Callable[[], None] = lambda: None) -> Submitted:
        """Publish a command and wait up to `patience` seconds for its outcome.

        Args:
            order: the command.
            patience: how long to wait; if `MOST_WAITING` callers of the tenant already wait, no wait.
            published: is called once the command is in the log, before the wait.

        Raises:
            ProblemError: if the log would refuse its form, or could not read it; nothing was published.
            UnavailableError: if nothing was published.
            LostAckError: if it is unknown whether the command was published.
        """
        try:
            submitted = await self._submit(order, patience, published)
        except UnavailableError:
            self._metrics.command(order.type, "unavailable")
            raise
        except LostAckError:
            self._metrics.command(order.type, "outcome_unknown")
            raise
        self._metrics.command(order.type, _result(submitted.outcome))
        return submitted

    async def _submit(self, order: Order, patience: int, published: Callable[[], None]) -> Submitted:
        self._log.require()
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
        not_after = self._log_time.not_after(partition_of(order.tenant, self._partitions))
        event = _event(order, receipt, self._replies.channel, not_after)
        command = _read(order.tenant, event)
        require_form(command)
        decision = decision_digest(command)
        with self._replies.expect(order.tenant, receipt.operation_id, decision) as waiting:
            receipt = await self._publish(receipt, event)
            published()
            waited = not patience or self._waiting[order.tenant] < MOST_WAITING
            patience = patience if waited else 0
            with self._metrics.waiting.track_inprogress(), self._counted(order.tenant):
                prompt = min(patience, PROMPT_SECONDS)
                record = await waiting.outcome(prompt) if prompt else None
                if record is None and not waiting.answered:
                    # Nobody else reads the receipt before this. A prompt answer saves the round trip.
                    await self._confirm(receipt)
                    record = await waiting.outcome(patience - prompt) if patience > prompt else None
            # A stop ends a wait early.
            waited = waited and (not patience or record is not None or not waiting.answered)
            if record is not None or (patience == 0 and order.operation_id is None):
                return Submitted(record or receipt, waited)
            known = await self._look_up(receipt, decision, now)
            conflicts = isinstance(known, OperationRecord) and known.code == _CONFLICT
            outcome = known if patience or conflicts else receipt
            return Submitted(outcome, waited or isinstance(outcome, OperationRecord))

    @contextmanager
    def _counted(self, tenant: str) -> Iterator[None]:
        self._waiting[tenant] += 1
        try:
            yield
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant]

    async def _publish(self, receipt: Receipt, event: bytes) -> Receipt:
        """Store the receipt, publish the event, and return the receipt with the event's position."""
        partition = partition_of(receipt.tenant_id, self._partitions)
        is_first = await self._store.put_receipt(receipt)
        try:
            offset = await self._log.publish(partition, receipt.tenant_id.encode(), event)
        except UnavailableError:
            if is_first:
                await self._drop(receipt)
            raise
        except OutcomeUnknownError as error:
            raise LostAckError(receipt.operation_id, str(error)) from error
        return receipt if offset is None else receipt._replace(position=f"{partition}:{offset}")

    async def _confirm(self, receipt: Receipt) -> None:
        try:
            await self._store.confirm_receipt(receipt)
        except UnavailableError as error:
            # The command is in the log anyway. A GET says `outcome_unknown` until its outcome is there.
            log.warning("receipt_not_confirmed", operation_id=receipt.operation_id, finding=error.finding)

    async def _drop(self, receipt: Receipt) -> None:
        try:
            await self._store.drop_receipt(receipt)
        except UnavailableError as error:
            log.warning("receipt_not_dropped", operation_id=receipt.operation_id, finding=error.finding)

    async def _look_up(self, receipt: Receipt, decision: str, now: int) -> Outcome:
        """Find an outcome whose message was lost. If the id was used for another decision, that is a conflict."""
        try:
            record = await self._store.operation(receipt.tenant_id, receipt.operation_id)
        except UnavailableError as error:
            log.warning("outcome_not_read", operation_id=receipt.operation_id, finding=error.finding)
            return receipt
        if not isinstance(record, OperationRecord):
            return receipt
        if record.decision == decision:
            return record
        if now >= record.finished_at + REMEMBERED_MS:
            return receipt  # The log has forgotten the earlier command, and takes this one as new.
        detail = f"{record.operation_id} was judged at {record.position}, with another decision; use another key"
        return record._replace(refused=True, code=_CONFLICT, detail=detail)


def _read(tenant: str, event: bytes) -> CommandEvent:
    """Return the command as the worker will read it.

    Raises:
        ProblemError: if the worker could not read it: the worker would dead-letter it, and never answer.
    """
    try:
        return cast("CommandEvent", decode(tenant.encode(), event, STRUCTURED_HEADERS))
    except UndecodableError as error:
        if error.code == "oversize":
            # JSON may grow when it is written again: 1e15 has 4 characters, its digits 18.
            raise ProblemError("body_too_large", f"the command makes an event too large: {error}") from None
        raise ProblemError("malformed_request", f"the command makes no event: {error}") from None


def _event(order: Order, receipt: Receipt, channel: str, not_after: int) -> bytes:
    """Return the CloudEvent of a command."""
    data: dict[str, Any] = {
        "operation_id": receipt.operation_id,
        **order.data,
        "actor": order.actor,
        "decision_id": order.decision_id,
        "reply_to": channel,
        "not_after": not_after,
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
    """Return the result of a command as the metrics name it."""
    if isinstance(outcome, Receipt):
        return "accepted"
    return outcome.code or "done"
