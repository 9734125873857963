"""Every error that a caller sees, in one form (RFC 9457); `api/describe/kinds.py` is the table of codes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.describe.kinds import KINDS
from api.operate.dependency import UnavailableError
from schemas.policy import FieldError, field_errors

PROBLEM_TYPE: Final = "application/problem+json"
METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
"""The methods of HTTP that a resource here could know."""
_NOT_FOUND: Final = 404
_METHOD_NOT_ALLOWED: Final = 405
_RETRY_AFTER: Final = {"Retry-After": "1"}


def type_of(code: str) -> str:
    """Return the problem type of a code: a registered one where it fits, else one of our own."""
    return KINDS[code].type or f"urn:somabrain-sleep:problem:{code}"


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
            "type": type_of(self.code),
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


def of_http(request: Request, error: HTTPException) -> ProblemError:
    """Return the problem of an error that the framework raised, such as an unknown path."""
    if error.status_code == _METHOD_NOT_ALLOWED:
        return ProblemError("method_not_allowed", str(error.detail), headers={"Allow": _allowed(request)})
    code = "not_found" if error.status_code == _NOT_FOUND else "http_error"
    return ProblemError(code, str(error.detail), headers=error.headers)


def _allowed(request: Request) -> str:
    """Return all methods of the path; the framework names those of the first route alone."""
    routes = request.app.router.routes
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


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
            problem = of_http(request, error)
        case RequestValidationError():
            problem = invalid_request(
                [FieldError(".".join(map(str, found["loc"][1:])), found["msg"]) for found in error.errors()]
            )
        case _:
            raise error
    request.scope["sleep.facts"]["code"] = problem.code
    return problem.response(request_id_of(request))
