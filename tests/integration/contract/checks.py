"""A check of ours for schemathesis: the code of a refusal, where its own checks look at the status; and a filter."""

from collections.abc import Mapping
from typing import Any, Final

import schemathesis
from schemathesis.generation import GenerationMode

JUDGED_BY_THE_LOG: Final = frozenset(
    {
        "forbidden",
        "idempotency_conflict",
        "invalid_policy",
        "not_running",
        "too_many_operations",
        "ttl_out_of_range",
        "unknown_operation",
        "version_conflict",
    }
)


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:  # noqa: ANN401 - schemathesis's own
    """Leave out integers beyond 64 bits: the document says `int64` for clients, the log takes what fits a double."""
    pending: list[Any] = [case.body]
    while pending:
        match pending.pop():
            case dict() as members:
                pending.extend(members.values())
            case list() as items:
                pending.extend(items)
            case int() as number if not -(2**63) <= number < 2**63:
                return False
            case _:
                pass
    return True


@schemathesis.check
def a_valid_request_is_refused_by_the_log_alone(
    _context: Any,  # noqa: ANN401 - schemathesis's own
    response: Any,  # noqa: ANN401 - as above
    case: Any,  # noqa: ANN401 - as above
) -> None:
    """The API accepts what the schema calls valid."""
    if response.status_code < 400 or case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    document: Mapping[str, Any] = response.json()
    # What a report looks like depends on the format in the path, which OpenAPI cannot say of a body.
    if case.operation.path == "/api/breakers/{format}" and document["code"] == "invalid_request":
        return
    # Nor that one time is before another.
    if document["code"] == "invalid_request" and [error["field"] for error in document["errors"]] == ["from"]:
        return
    # No JSON Schema says how many days a month has, or that no event occurred before 1970.
    if document["code"] == "invalid_request" and all(_of_time(error["field"]) for error in document["errors"]):
        return
    assert document["code"] in JUDGED_BY_THE_LOG, document


def _of_time(field: str) -> bool:
    """Tell whether a field is a time: the calendar is not in the schema."""
    return field.rpartition(".")[2] in {"time", "occurred_at"}
