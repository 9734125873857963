"""The event of a command: what the API publishes, and what the worker will read."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

from pydantic import ValidationError

from api.commands.receipt import Receipt
from api.errors.problems import ProblemError
from schemas.domain.state import StateName
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS, UndecodableError, decode, encode
from schemas.wire.events import Cancel, CommandData, CommandEvent, Mode, Operation
from schemas.wire.operation import CommandType

SOURCE: Final = "urn:somabrain-sleep:api"

_FLAT: Final[dict[CommandType, type[CommandData]]] = {"operation": Operation, "cancel": Cancel, "mode": Mode}
"""Commands of which JSON gives back exactly what was written. A policy may be nested deeper than the decoder reads."""


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


def data_of(order: Order, receipt: Receipt, channel: str, not_after: int) -> dict[str, Any]:
    """Return the data of a command's event."""
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
    return data


def event_of(type_: str, receipt: Receipt, data: dict[str, Any]) -> bytes:
    """Return the CloudEvent of a command."""
    time = datetime.fromtimestamp(receipt.created_at / 1000, UTC).isoformat(timespec="milliseconds")
    return encode(
        type_=type_,
        id_=receipt.operation_id,
        source=SOURCE,
        subject=receipt.tenant_id,
        time=time.replace("+00:00", "Z"),
        data=data,
    )


def read_back(order: Order, data: dict[str, Any], event: bytes) -> CommandData:
    """Return the command's data as the worker will read them.

    The worker decodes the whole event. Of a flat command only the size and the data can be wrong: the other attributes
    are our own.

    Raises:
        ProblemError: if the worker could not read it: the worker would dead-letter it, and never answer.
    """
    if order.type in _FLAT and len(event) <= MAX_BYTES:
        with suppress(ValidationError):  # The decoder says what is wrong.
            return _FLAT[order.type].model_validate(data)
    try:
        return cast("CommandEvent", decode(order.tenant.encode(), event, STRUCTURED_HEADERS)).data
    except UndecodableError as error:
        if error.code == "oversize":
            # JSON may grow when it is written again: 1e15 has 4 characters, its digits 18.
            raise ProblemError("body_too_large", f"the command makes an event too large: {error}") from None
        raise ProblemError("malformed_request", f"the command makes no event: {error}") from None
