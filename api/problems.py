"""Every error that a caller sees: one table of codes, one form (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from api.dependency import UnavailableError
from schemas.operation import RefusalCode
from schemas.policy import FieldError, field_errors

PROBLEM_TYPE: Final = "application/problem+json"
_RETRY_AFTER: Final = {"Retry-After": "1"}


class Kind(NamedTuple):
    """What is the same in every problem of one code."""

    status: int
    title: str


REFUSALS: Final[dict[RefusalCode, Kind]] = {
    "ttl_out_of_range": Kind(422, "The TTL is out of range"),
    "invalid_policy": Kind(422, "The policy is invalid"),
    "idempotency_conflict": Kind(422, "The id was used for another decision"),
    "too_many_operations": Kind(409, "The tenant has too many live operations"),
    "not_running": Kind(409, "The operation is not running"),
    "version_conflict": Kind(412, "The policy has another version"),
    "too_late": Kind(503, "The command reached the log too late"),
    # The rest never answer a command of this API; the table is whole so that none of them could be a crash.
    "duplicate_operation": Kind(409, "The command was sent before"),
    "clock_skew": Kind(422, "The event's time is too far ahead"),
    "stale_event": Kind(409, "A later event was seen before"),
    "too_many_claims": Kind(409, "The tenant has too many breaker claims"),
}

KINDS: Final[dict[str, Kind]] = {
    **{str(code): kind for code, kind in REFUSALS.items()},
    "malformed_request": Kind(400, "The request is malformed"),
    "unauthenticated": Kind(401, "Authentication is needed"),
    "invalid_token": Kind(401, "The token is not accepted"),
    "forbidden": Kind(403, "Policy does not allow this"),
    "not_found": Kind(404, "There is no such resource"),
    "unknown_operation": Kind(404, "The operation is unknown"),
    "method_not_allowed": Kind(405, "The resource does not know this method"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body must be JSON"),
    "invalid_request": Kind(422, "The request is invalid"),
    "precondition_required": Kind(428, "If-Match is needed"),
    "internal_error": Kind(500, "Something failed here"),
    "outcome_unknown": Kind(503, "It is unknown whether the command was published"),
    "kafka_unavailable": Kind(503, "Kafka does not answer"),
    "redis_unavailable": Kind(503, "Redis does not answer"),
    "opa_unavailable": Kind(503, "The authorisation policy does not answer"),
    "jwks_unavailable": Kind(503, "The keys of the token's issuer do not answer"),
    "http_error": Kind(400, "The request was refused"),
}


class ProblemError(Exception):
    """An answer that is a problem.

    Args:
        code: a key of `KINDS`; decides type, title and status.
        detail: what happened this time and what to do, without a secret.
        errors: the fields that are wrong.
        headers: more headers of the answer.
        more: more members of the document.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem document of RFC 9457."""
        kind = KINDS[self.code]
        document: dict[str, Any] = {
            "type": f"urn:somabrain-sleep:problem:{self.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "instance": f"urn:uuid:{request_id}",
            "code": self.code,
        }
        if self.errors:
            document["errors"] = [error._asdict() for error in self.errors]
        return document | self.more

    def response(self, request_id: str) -> Response:
        """Return the answer that a caller gets."""
        return Response(to_json(self.document(request_id)), self.status, self.headers, PROBLEM_TYPE)


def invalid_request(errors: Sequence[FieldError]) -> ProblemError:
    """Return the problem of a request whose fields are wrong."""
    named = ", ".join(dict.fromkeys(error.field for error in errors))
    return ProblemError("invalid_request", f"wrong or missing: {named}", errors=errors)


def invalid_fields(error: ValidationError) -> ProblemError:
    """Return the problem of a body that pydantic refuses."""
    return invalid_request(field_errors(error))


def unavailable(error: UnavailableError) -> ProblemError:
    """Return the problem of a dependency that does not answer; the finding is for the log and `/status`."""
    code = f"{error.dependency}_unavailable"
    return ProblemError(code, "nothing was published; try again", headers=_RETRY_AFTER)


def of_http(error: HTTPException) -> ProblemError:
    """Return the problem of an error that the framework raised, such as an unknown path."""
    codes = {404: "not_found", 405: "method_not_allowed"}
    return ProblemError(codes.get(error.status_code, "http_error"), str(error.detail), headers=error.headers)


def request_id_of(request: Request) -> str:
    """Return the id that the edge gave this request."""
    return str(request.scope["sleep.facts"]["request_id"])


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer any error of ours or of the framework; the one place where errors become HTTP.

    Raises:
        Exception: the error itself where it is none of these; the edge answers it with 500.
    """
    match error:
        case ProblemError():
            problem = error
        case UnavailableError():
            problem = unavailable(error)
            request.scope["sleep.facts"]["finding"] = error.finding
        case HTTPException():
            problem = of_http(error)
        case RequestValidationError():
            problem = invalid_request(
                [FieldError(".".join(map(str, found["loc"][1:])), found["msg"]) for found in error.errors()]
            )
        case _:
            raise error
    request.scope["sleep.facts"]["code"] = problem.code
    return problem.response(request_id_of(request))
