"""A check of ours for schemathesis: the code of a refusal, where its own checks look at the status alone."""

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


@schemathesis.check
def a_valid_request_is_refused_by_the_log_alone(
    _context: Any,  # noqa: ANN401 - schemathesis's own
    response: Any,  # noqa: ANN401 - as above
    case: Any,  # noqa: ANN401 - as above
) -> None:
    """What the schema calls valid passes the door."""
    if response.status_code < 400 or case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    document: Mapping[str, Any] = response.json()
    assert document["code"] in JUDGED_BY_THE_LOG, document
