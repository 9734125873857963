"""How outcomes of commands become answers."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import Response
from pydantic_core import to_json

from api.describe.kinds import REFUSALS
from api.describe.problems import ProblemError
from api.door.caller import Caller
from api.door.prefer import Preference
from api.operate.dependency import UnavailableError
from api.publish.commands import LostAckError, Order, Outcome
from api.publish.receipt import Receipt
from api.services import Services
from schemas.operation import OperationRecord, RefusalCode
from schemas.policy import FieldError

_ACCEPTED: Final = 202
_RETRY_AFTER: Final = {"Retry-After": "1"}
_FIELDS: Final = {"ttl_out_of_range": "ttl_seconds"}


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Return a JSON answer; content is anything that JSON can hold."""
    return Response(to_json(content), status, headers, "application/json")


def location(operation_id: str) -> dict[str, str]:
    """Return the header that says where a command's outcome is found."""
    return {"Location": f"/api/operations/{operation_id}"}


def preference_applied(preference: Preference, *, async_mode: bool, answered: bool) -> dict[str, str]:
    """Return the header that says which preference was followed, if any was."""
    applied = preference.applied(async_mode=async_mode, answered=answered)
    return {} if applied is None else {"Preference-Applied": applied}


def accepted(services: Services, receipt: Outcome, headers: dict[str, str]) -> Response:
    """Return 202: the command is published, its outcome is found later."""
    headers = headers | location(receipt.operation_id) | _RETRY_AFTER
    return document(services.reads.document(receipt), _ACCEPTED, headers)


def refusal(record: OperationRecord, code: RefusalCode, errors: list[FieldError] | None = None) -> ProblemError:
    """Return the problem of a command that the log refused."""
    detail = record.detail or REFUSALS[code].title
    if errors is None and code in _FIELDS:
        errors = [FieldError(_FIELDS[code], detail)]
    return ProblemError(
        code,
        detail,
        errors=errors or (),
        headers=location(record.operation_id),
        more={"operation_id": record.operation_id},
    )


async def submit(services: Services, caller: Caller, order: Order, patience: int) -> Outcome:
    """Publish a command and wait; a lost ack becomes its problem.

    Raises:
        ProblemError: `outcome_unknown`.
        UnavailableError: if nothing was published.
    """
    try:
        outcome = await services.commands.submit(order, patience)
    except LostAckError as error:
        caller.facts.update(operation_id=error.operation_id, finding=error.finding)
        raise ProblemError(
            "outcome_unknown",
            "no acknowledgement came; look at the operation before you send the command again",
            headers=location(error.operation_id),
            more={"operation_id": error.operation_id},
        ) from None
    caller.facts["operation_id"] = outcome.operation_id
    return outcome


async def command(
    services: Services,
    caller: Caller,
    order: Order,
    preference: Preference,
    *,
    async_mode: bool = False,
    shown: Callable[[], Awaitable[Outcome | None]] | None = None,
) -> Response:
    """Publish a command and answer with its outcome, or with what `shown` then finds: 200, a problem, or 202.

    Where `shown` finds nothing, or Redis does not answer it, the answer is 202: the command is done all the same.

    Raises:
        ProblemError: the refusal, or `outcome_unknown`.
        UnavailableError: if nothing was published.
    """
    outcome = await submit(services, caller, order, preference.patience(async_mode=async_mode))
    answered = isinstance(outcome, OperationRecord)
    headers = preference_applied(preference, async_mode=async_mode, answered=answered)
    if isinstance(outcome, Receipt):
        return accepted(services, outcome, headers)
    if outcome.code is not None:
        raise refusal(outcome, outcome.code)
    try:
        present = outcome if shown is None else await shown()
    except UnavailableError:
        present = None
    if present is None:
        return accepted(services, outcome, headers)
    return document(services.reads.document(present), headers=headers)
