"""The application: FastAPI, and a short way through it for the requests that services send all day.

A request passes a dozen middlewares and routers of FastAPI, of Starlette and of ours before its route is called. That
took as long as the route itself. A `DirectRoute` with a fixed path needs none of them, so it is found by method and
path, and called by one function. All other requests, and all other methods of these paths, pass FastAPI as before.
"""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.adapters.dependency import UnavailableError
from api.errors.problems import ProblemError
from api.http.direct_route import DirectRequest, DirectRoute
from api.http.head_bounds import too_many_parameters
from api.http.middleware import Exchange
from api.observability.metrics import Metrics
from api.security.refused_budget import answer_problem
from schemas.clock import Clock

ANSWERED: Final = (ProblemError, UnavailableError, HTTPException, RequestValidationError)
"""Errors that are answered with a problem of their own. Any other one is a defect, and is answered with 500."""


class Facade(FastAPI):
    """FastAPI, with a short way to direct routes.

    Args:
        metrics: count each request.
        clock: the wall clock.
        options: FastAPI's own.
    """

    def __init__(self, metrics: Metrics, clock: Clock, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(**options)
        self._metrics = metrics
        self._clock = clock
        self._direct: dict[tuple[str, str], DirectRoute] = {}
        for error in ANSWERED:
            self.add_exception_handler(error, answer_problem)

    def include(self, router: APIRouter) -> None:
        """Add the routes of a router: documented by FastAPI, and on the short way where they can be."""
        self.include_router(router)
        for route in router.routes:
            if isinstance(route, DirectRoute) and not route.param_convertors:
                self._direct |= {(method, route.path): route for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or run from the start of the application to its end."""
        route = self._direct.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await super().__call__(scope, receive, send)
        else:
            await self._serve(route, scope, receive, send)

    async def _serve(self, route: DirectRoute, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on the short way."""
        exchange = Exchange(scope, self._clock)
        scope["app"] = self
        try:
            try:
                response = too_many_parameters(scope) or await _answer(route, DirectRequest(scope, receive, send))
            except Exception as error:  # noqa: BLE001 - `failed` logs it
                response = exchange.failed(scope["path"], error)
            exchange.begin_answer(response.status_code, response.raw_headers)
            await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": response.body})
        finally:
            exchange.account(scope, self._metrics)


async def _answer(route: DirectRoute, request: Request) -> Response:
    """Return the answer of a route, or the problem that it raised."""
    request.scope.update(route=route, endpoint=route.endpoint, path_params={})
    try:
        return await route.respond(request)
    except ANSWERED as error:
        return await answer_problem(request, error)
