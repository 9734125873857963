"""Problem responses (RFC 9457) for all errors. `api/errors/catalog.py` has the table of codes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.adapters.dependency import UnavailableError
from api.errors.base import ApiError
from api.errors.catalog import KINDS
from schemas.domain.policy import FieldError, field_errors
from schemas.http.early_answers import PROBLEM_TYPE, TYPE_PREFIX
from schemas.wire.validation_errors import reason_of

METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
"""The HTTP methods that a resource may support."""
_SERVED_AS: Final = {"HEAD": "GET"}
_NOT_FOUND: Final = 404
_METHOD_NOT_ALLOWED: Final = 405
_RETRY_AFTER: Final = {"Retry-After": "1"}
_ERRORS_IN_DETAIL: Final = 3
_READING: Final = frozenset({"GET", "HEAD"})
_MARK: Final = "publishes_nothing"
_AWAY: Final = {
    "kafka": "Kafka is unavailable",
    "redis": "Redis does not answer",
    "opa": "the authorisation policy gives no decision",
    "jwks": "the keys of the token's issuer cannot be read",
}
"""The detail for callers of an unavailable dependency."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def type_of(code: str) -> str:
    """Return the problem type of a code: a registered type, or else one of this API."""
    return KINDS[code].type or f"{TYPE_PREFIX}{code}"


class ProblemError(ApiError):
    """A response that is a problem.

    Args:
        code: a key of `KINDS`, which has the type, title and status.
        detail: what happened and what to do, without a secret.
        errors: the wrong fields.
        headers: further headers of the response.
        more: further members of the document.
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
        """Return the HTTP response."""
        return Response(to_json(self.document(request_id)), self.status, self.headers, PROBLEM_TYPE)


def invalid_request(errors: Sequence[FieldError]) -> ProblemError:
    """Return the problem of a request with wrong fields. Its detail names the first ones."""
    detail = "; ".join(f"{error.field}: {error.reason}" for error in errors[:_ERRORS_IN_DETAIL])
    unnamed = len(errors) - _ERRORS_IN_DETAIL
    return ProblemError("invalid_request", f"{detail}; and {unnamed} more" if unnamed > 0 else detail, errors=errors)


def invalid_fields(error: ValidationError, model: object = None) -> ProblemError:
    """Return the problem of a body that pydantic refuses; `model` is the expected one."""
    return invalid_request(field_errors(error, model))


def unavailable(error: UnavailableError, *, reads: bool) -> ProblemError:
    """Return the problem of an unavailable dependency. Its finding is for the log and `/status` only.

    Args:
        error: the error, before anything was published.
        reads: whether the request publishes nothing anyway.
    """
    what = error.detail or _AWAY[error.dependency]
    advice = "try again" if reads else "nothing was published, try again"
    return ProblemError(f"{error.dependency}_unavailable", f"{what}; {advice}", headers=_RETRY_AFTER)


def publishes_nothing(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a POST that only reads, so that nobody is told that nothing was published."""
    endpoint.__dict__[_MARK] = True
    return endpoint


def only_reads(method: str, endpoint: object) -> bool:
    """Tell whether a request publishes nothing anyway: by its method, or by the mark of its endpoint."""
    return method in _READING or hasattr(endpoint, _MARK)


def of_http(request: Request, error: HTTPException) -> ProblemError:
    """Return the problem of a framework's error, such as an unknown path."""
    if error.status_code == _METHOD_NOT_ALLOWED:
        return ProblemError("method_not_allowed", str(error.detail), headers={"Allow": _allowed(request)})
    code = "not_found" if error.status_code == _NOT_FOUND else "http_error"
    return ProblemError(code, str(error.detail), headers=error.headers)


def _allowed(request: Request) -> str:
    """Return all methods of the path. The framework names only those of the first route."""
    routes = request.app.router.routes
    return ", ".join(
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": _SERVED_AS.get(method, method)})[0] is Match.FULL
            for route in routes
        )
    )


def request_id_of(request: Request) -> str:
    """Return the request id."""
    return str(request.scope["sleep.facts"]["request_id"])


async def on_problem(request: Request, error: Exception) -> Response:
    """Return the response to an error of this package or of the framework.

    Raises:
        Exception: any other error, which the middleware answers with 500.
    """
    match error:
        case ProblemError():
            problem = error
        case UnavailableError():
            problem = unavailable(error, reads=only_reads(request.method, request.scope.get("endpoint")))
            request.scope["sleep.facts"]["finding"] = error.finding
        case HTTPException():
            problem = of_http(request, error)
        case RequestValidationError():
            problem = invalid_request(
                [FieldError(".".join(map(str, finding["loc"][1:])), reason_of(finding)) for finding in error.errors()]
            )
        case _:
            raise error
    request.scope["sleep.facts"]["code"] = problem.code
    return problem.response(request_id_of(request))
