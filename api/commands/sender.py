"""The sender of a command, and the command's id."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header

from api.commands.command_event import Order
from api.http.dependencies import Caller, CallerDep
from api.http.idempotency import HEADER, parse_key
from schemas.domain.state import StateName
from schemas.wire.operation import CommandType
from schemas.wire.operation_ids import operation_id_of


class Sender(NamedTuple):
    """An authenticated caller that sends a command; `operation_id` is None without an idempotency key."""

    caller: Caller
    operation_id: str | None

    def order(
        self,
        type_: CommandType,
        decision_id: str,
        data: dict[str, Any],
        *,
        target_state: StateName | None = None,
        reason: str | None = None,
        trace_id: str | None = None,
    ) -> Order:
        """Return the command; `decision_id` is that of the decision that allows it.

        Without a `trace_id` of its own it gets that of the request's `traceparent`.
        """
        return Order(
            type=type_,
            tenant=self.caller.tenant,
            actor=self.caller.principal.subject,
            decision_id=decision_id,
            data=data,
            target_state=target_state,
            reason=reason,
            trace_id=trace_id or self.caller.facts.get("trace_id"),
            operation_id=self.operation_id,
        )


async def sender(
    caller: CallerDep,
    idempotency_key: Annotated[
        list[str] | None,
        Header(
            alias=HEADER,
            description="Sent again with the same key, a command is answered as the first was. 1 to 128 characters.",
        ),
    ] = None,
) -> Sender:
    """Return the sender of this command.

    Raises:
        ProblemError: as `caller`; `invalid_request` for a wrong key.
    """
    key = parse_key(idempotency_key or ())
    subject = caller.principal.subject
    return Sender(caller, None if key is None else operation_id_of(caller.tenant, subject, key))


SenderDep = Annotated[Sender, Depends(sender)]
