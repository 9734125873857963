"""Checks of a command's form: what the log would refuse in any state of the tenant is refused before it is published.

The fold repeats these checks, since other producers write to the log too.
"""

from typing import Final

from api.errors.problems import ProblemError
from schemas.domain.policy import FieldError, InvalidDocumentError, Policy, parse_policy
from schemas.domain.values import MAX_SECONDS
from schemas.wire.events import CommandData, Mode, Operation, PolicyChange

_LONGEST_MS: Final = MAX_SECONDS * 1000
"""No policy's `max_ttl_seconds` is above this."""


def require_form(data: CommandData) -> None:
    """Refuse a command that the log must refuse.

    Raises:
        ProblemError: with the code that the log would give: `ttl_out_of_range` or `invalid_policy`.
    """
    match data:
        case Operation(ttl_ms=ttl_ms):
            _require_ttl(ttl_ms, "an operation")
        case Mode(target="active", override=False, ttl_ms=ttl_ms):
            if ttl_ms is not None:
                raise _ttl("mode active without override takes no TTL: it removes the mode")
        case Mode(target=target, override=override, ttl_ms=ttl_ms):
            if ttl_ms is not None or (override and target != "active"):
                _require_ttl(ttl_ms, "a pin")
        case PolicyChange(policy=policy):
            if policy is not None:
                require_policy(policy)
        case _:
            pass  # Whether a cancel finds its operation depends on state.


def require_policy(document: object) -> Policy:
    """Return a policy that is valid in itself.

    Raises:
        ProblemError: `invalid_policy`, with the fields that are wrong.
    """
    try:
        return parse_policy(document)
    except InvalidDocumentError as error:
        raise ProblemError("invalid_policy", str(error), errors=error.errors) from None


def _require_ttl(ttl_ms: int | None, what: str) -> None:
    if ttl_ms is None:
        raise _ttl(f"{what} needs a TTL")
    if not 1 <= ttl_ms <= _LONGEST_MS:
        raise _ttl(f"the TTL must be from 0.001 to {MAX_SECONDS} seconds, and at most the policy's max_ttl_seconds")


def _ttl(reason: str) -> ProblemError:
    return ProblemError("ttl_out_of_range", reason, errors=[FieldError("ttl_seconds", reason)])
