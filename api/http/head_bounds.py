"""Bounds query parameters and drops cookies before the framework parses them.

A head may have 64 KiB. These can hold thousands of query parameters or cookies, and the framework parses them before
the token is verified.
"""

from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors.problems import invalid_request
from schemas.domain.policy import FieldError

MOST_PARAMETERS: Final = 64
"""Query parameters of a request. No route has more than seven."""


class LeanHead:
    """Middleware that refuses too many query parameters, and drops cookies, which nothing here reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"cookie"]
            if (response := too_many_parameters(scope)) is not None:
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def too_many_parameters(scope: Scope) -> Response | None:
    """Return the refusal of a request that has too many query parameters; None if it has few."""
    if scope["query_string"].count(b"&") < MOST_PARAMETERS:
        return None
    problem = invalid_request([FieldError("(query)", f"has more than {MOST_PARAMETERS} parameters")])
    facts = scope["sleep.facts"]
    facts["code"] = problem.code
    return problem.response(facts["request_id"])
