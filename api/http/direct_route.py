"""Routes that resolve their dependencies by a plan which is made once, when the application is built.

FastAPI walks through a route's dependencies at each request, builds models of its parameters and keeps two exit stacks:
about a third of the time that a command takes in the API. The routes here are declared and documented as any other;
they may use less: coroutines and asynchronous generators, text from headers and the path, and the request itself.
"""

from collections.abc import AsyncGenerator, Callable
from inspect import isasyncgenfunction
from typing import Any, Final, NamedTuple

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.errors.base import ApiError

_TEXT: Final = (str, str | None)
_TEXTS: Final = list[str] | None

Values = dict[Callable[..., Any], Any]
"""What the dependencies of one request came to, by the dependency."""


class UnplannedError(ApiError, TypeError):
    """A route declares more than `DirectRoute` resolves; the message names it."""


class _Headers(Headers):
    """The headers of a request, read once; the framework's read all lines at each look-up."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._lines: dict[str, list[str]] = {}
        for name, value in raw:
            self._lines.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))

    def __getitem__(self, key: str) -> str:
        return self._lines[key.lower()][0]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._lines

    def getlist(self, key: str) -> list[str]:
        """Return the values of a header, one for each line."""
        return self._lines.get(key.lower(), [])


class DirectRequest(Request):
    """A request whose headers are read once."""

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        if not hasattr(self, "_headers"):
            self._headers = _Headers(self.scope["headers"])
        return self._headers


class _Step(NamedTuple):
    """How one dependency, or the endpoint, is called.

    Attributes:
        call: the function.
        generates: whether it is a generator, which ends after the request.
        arguments: the name of each argument, and the dependency that it is.
        request: the name of the argument that is the request.
        headers: the name of each argument from a header, the header, and whether all its lines are wanted.
        path: the names of the arguments from the path.
    """

    call: Callable[..., Any]
    generates: bool
    arguments: tuple[tuple[str, Callable[..., Any]], ...]
    request: str | None
    headers: tuple[tuple[str, str, bool], ...]
    path: tuple[str, ...]

    def arguments_of(self, request: Request, values: Values) -> dict[str, Any]:
        """Return the arguments of this call."""
        arguments: dict[str, Any] = {}
        for name, dependency in self.arguments:
            arguments[name] = values[dependency]
        if self.request is not None:
            arguments[self.request] = request
        for name, header, every in self.headers:
            lines = request.headers.getlist(header)
            if every:
                arguments[name] = lines or None
            else:
                arguments[name] = lines[0] if lines else None
        for name in self.path:
            arguments[name] = request.path_params[name]
        return arguments


def _step_of(dependant: Dependant) -> _Step:
    call = dependant.call
    if call is None or dependant.query_params or dependant.cookie_params or dependant.body_params:
        raise UnplannedError(f"{call} takes a query, a cookie or a body")
    headers = []
    for field in dependant.header_params:
        annotation = field.field_info.annotation
        if annotation not in (*_TEXT, _TEXTS):
            raise UnplannedError(f"{call} takes the header {field.alias} as {annotation}")
        headers.append((field.name, field.alias, annotation == _TEXTS))
    for field in dependant.path_params:
        if field.field_info.annotation is not str:
            raise UnplannedError(f"{call} takes {field.name} of the path as {field.field_info.annotation}")
    return _Step(
        call,
        isasyncgenfunction(call),
        tuple((sub.name, sub.call) for sub in dependant.dependencies if sub.name is not None and sub.call is not None),
        dependant.request_param_name or dependant.http_connection_param_name,
        tuple(headers),
        tuple(field.name for field in dependant.path_params),
    )


def _steps(dependant: Dependant, known: dict[Callable[..., Any], _Step]) -> dict[Callable[..., Any], _Step]:
    """Return the steps of a dependant's dependencies in the order in which FastAPI resolves them, each once."""
    for dependency in dependant.dependencies:
        if dependency.call is not None and dependency.call not in known:
            _steps(dependency, known)
            known[dependency.call] = _step_of(dependency)
    return known


class DirectRoute(APIRoute):
    """A route of FastAPI that resolves its dependencies by its own plan.

    Raises:
        UnplannedError: if a dependency declares something that the plan does not resolve.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        super().__init__(*arguments, **options)
        self._resolved = tuple(_steps(self.dependant, {}).values())
        self._answering = _step_of(self.dependant)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. What an endpoint raises is answered by the application's handlers."""
        if self.methods is None or scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        response = await self.respond(DirectRequest(scope, receive, send))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Return the answer to a request; what an endpoint raises passes through."""
        values: Values = {}
        opened: list[AsyncGenerator[Any, None]] = []
        try:
            for step in self._resolved:
                made = step.call(**step.arguments_of(request, values))
                if step.generates:
                    values[step.call] = await anext(made)
                    opened.append(made)
                else:
                    values[step.call] = await made
            response: Response = await self._answering.call(**self._answering.arguments_of(request, values))
        except BaseException as error:
            await _end(opened, error)
            raise
        await _end(opened)
        return response


async def _end(opened: list[AsyncGenerator[Any, None]], error: BaseException | None = None) -> None:
    """End generators, the last one first: what `AsyncExitStack` does, without its contexts.

    Args:
        opened: the generators.
        error: what each of them is told; none may swallow it.

    Raises:
        BaseException: what a generator raises instead; the generators before it are told of that.
    """
    while opened:
        generator = opened.pop()
        try:
            await (anext(generator) if error is None else generator.athrow(error))
        except StopAsyncIteration:
            continue
        except BaseException as raised:
            if raised is error:
                continue
            await _end(opened, raised)
            raise
        raise RuntimeError(f"{generator} did not end")
