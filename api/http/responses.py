"""Turns outcomes of commands into responses."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from fastapi import Response
from pydantic_core import to_json

from api.adapters.dependency import UnavailableError
from api.commands.command_event import Order
from api.commands.receipt import Receipt
from api.commands.submit import Outcome, Submitted, UntoldOutcomeError
from api.errors.catalog import REFUSALS
from api.errors.problems import ProblemError
from api.http.dependencies import Caller
from api.http.prefer import Preference
from api.services import Services
from schemas.budgets import Budget
from schemas.domain.policy import FieldError
from schemas.wire.operation import OperationRecord, RefusalCode

_ACCEPTED: Final = 202
_RETRY_AFTER: Final = {"Retry-After": "1"}
_FIELDS: Final = {"ttl_out_of_range": "ttl_seconds"}


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Return a JSON response."""
    return Response(to_json(content), status, headers, "application/json")


def location(operation_id: str) -> dict[str, str]:
    """Return the `Location` header of a command's outcome."""
    return {"Location": f"/api/operations/{operation_id}"}


def preference_applied(preference: Preference, submitted: Submitted, *, async_mode: bool) -> dict[str, str]:
    """Return the `Preference-Applied` header, if a preference was applied."""
    answered = isinstance(submitted.outcome, OperationRecord)
    applied = preference.applied(async_mode=async_mode, answered=answered, waited=submitted.waited)
    return {} if applied is None else {"Preference-Applied": applied}


def accepted(services: Services, receipt: Outcome, headers: dict[str, str]) -> Response:
    """Return 202: the command is published, and its outcome is not known yet."""
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


async def submit(
    services: Services, caller: Caller, order: Order, patience: int, budget: Budget | None = None
) -> Submitted:
    """Publish a command and wait. An outcome that cannot be promised becomes a problem.

    Args:
        services: what publishes it.
        caller: its sender.
        order: the command.
        patience: how long to wait, in seconds.
        budget: what its cost is taken from, None if the cost was taken already.

    Raises:
        ProblemError: `quota_exceeded` or `outcome_unknown`.
        UnavailableError: if nothing was published.
    """
    pay = None if budget is None else partial(caller.pay, budget)
    try:
        # Waiting callers have a bound of their own, apart from requests in flight.
        submitted = await services.commands.submit(order, patience, pay, caller.identity.slot.release)
    except UntoldOutcomeError as error:
        caller.facts.update(operation_id=error.operation_id, finding=error.finding)
        raise ProblemError(
            "outcome_unknown",
            error.detail,
            headers=location(error.operation_id),
            more={"operation_id": error.operation_id},
        ) from None
    caller.facts["operation_id"] = submitted.outcome.operation_id
    return submitted


async def command(
    services: Services,
    caller: Caller,
    order: Order,
    preference: Preference,
    *,
    budget: Budget | None = None,
    async_mode: bool = False,
    look_up: Callable[[], Awaitable[Outcome | None]] | None = None,
) -> Response:
    """Publish a command and answer with its outcome, or with the result of `look_up`: 200, a problem, or 202.

    The cost is taken from `budget`, unless that was done already. If `look_up` returns None, or Redis does not answer,
    the answer is 202: the command is done anyway.

    Raises:
        ProblemError: `quota_exceeded`, the refusal, or `outcome_unknown`.
        UnavailableError: if nothing was published.
    """
    submitted = await submit(services, caller, order, preference.patience(async_mode=async_mode), budget)
    outcome = submitted.outcome
    headers = preference_applied(preference, submitted, async_mode=async_mode)
    if isinstance(outcome, Receipt):
        return accepted(services, outcome, headers)
    if outcome.code is not None:
        raise refusal(outcome, outcome.code)
    try:
        current = outcome if look_up is None else await look_up()
    except UnavailableError:
        current = None
    if current is None:
        return accepted(services, outcome, headers)
    return document(services.reads.document(current), headers=headers)
