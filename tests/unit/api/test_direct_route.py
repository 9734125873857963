"""Routes that resolve their dependencies by a plan: as FastAPI does, and nothing that they cannot."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Query, Request, Response
from fastapi.routing import APIRoute

from api.http.direct_route import DirectRoute, UnplannedError

STEPS: list[str] = []


async def opened(request: Request) -> AsyncIterator[str]:
    """Open something for the time of the endpoint."""
    STEPS.append(f"open {request.method}")
    try:
        yield "opened"
    finally:
        STEPS.append("close")


async def shared(x_name: Annotated[str | None, Header()] = None) -> str:
    """Return a header."""
    STEPS.append("shared")
    return x_name or "nobody"


async def first(shared: Annotated[str, Depends(shared)], prefer: Annotated[list[str] | None, Header()] = None) -> str:
    """Return what two others came to."""
    STEPS.append("first")
    return f"{shared} {prefer}"


async def endpoint(
    item: str,
    first: Annotated[str, Depends(first)],
    opened: Annotated[str, Depends(opened, scope="function")],
    again: Annotated[str, Depends(shared)],
) -> Response:
    """Answer with all of it."""
    STEPS.append("endpoint")
    if item == "wrong":
        raise ValueError(item)
    return Response(f"{item} {first} {opened} {again}")


def client_of(route_class: type[APIRoute]) -> httpx.AsyncClient:
    """Return a client of an application with one route of a class."""
    router = APIRouter(prefix="/items", route_class=route_class)
    router.post("/{item}")(endpoint)
    app = FastAPI()
    app.include_router(router)

    @app.exception_handler(ValueError)
    async def answer(_: Request, error: ValueError) -> Response:
        STEPS.append("answer")
        return Response(f"no {error}", 422)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


@pytest.mark.parametrize("item", ["one", "wrong"])
@pytest.mark.parametrize("headers", [[], [("X-Name", "acme"), ("Prefer", "a"), ("Prefer", "b"), ("X-Name", "other")]])
async def test_a_request_is_served_as_fastapi_serves_it(item: str, headers: list[tuple[str, str]]) -> None:
    """Each dependency once, in the same order; what was opened is closed before the answer."""
    results = []
    for route_class in (APIRoute, DirectRoute):
        STEPS.clear()
        async with client_of(route_class) as client:
            answer = await client.post(f"/items/{item}", headers=headers)
        results.append((answer.status_code, answer.text, [*STEPS]))
    assert results[0] == results[1]
    assert results[1][2][:5] == ["shared", "first", "open POST", "endpoint", "close"]


async def test_another_method_is_answered_as_before() -> None:
    """With those that there are."""
    async with client_of(DirectRoute) as client:
        answer = await client.get("/items/one")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def _query(limit: Annotated[int, Query()] = 1) -> Response:
    return Response(str(limit))


async def _cookie(session: Annotated[str | None, Cookie()] = None) -> Response:
    return Response(session)


async def _number(x_number: Annotated[int, Header()]) -> Response:
    return Response(str(x_number))


async def _path(number: int) -> Response:
    return Response(str(number))


async def _body(document: dict[str, Any]) -> Response:
    return Response(str(document))


@pytest.mark.parametrize("declared", [_query, _cookie, _number, _path, _body])
def test_what_a_plan_cannot_resolve_is_refused_at_once(declared: Callable[..., object]) -> None:
    """When the application is built, and not at the first request."""
    router = APIRouter(route_class=DirectRoute)
    with pytest.raises(UnplannedError):
        router.post("/{number}" if declared is _path else "/")(declared)


async def _first_opened() -> AsyncIterator[str]:
    try:
        yield "first"
    except Exception as error:
        STEPS.append(f"first {error}")
        raise


async def _then_opened(first: Annotated[str, Depends(_first_opened, scope="function")]) -> AsyncIterator[str]:
    try:
        yield f"{first} then"
    except ValueError as error:
        STEPS.append(f"then {error}")
        raise ValueError("another") from error


async def test_what_is_opened_is_told_of_the_error_the_last_first() -> None:
    """An error that one raises instead goes to those before it, and is answered."""
    results = []
    for route_class in (APIRoute, DirectRoute):
        STEPS.clear()
        router, app = APIRouter(route_class=route_class), FastAPI()

        @router.get("/")
        async def fail(opened: Annotated[str, Depends(_then_opened, scope="function")]) -> Response:
            raise ValueError(opened)

        @app.exception_handler(ValueError)
        async def answer(_: Request, error: ValueError) -> Response:
            return Response(str(error), 422)

        app.include_router(router)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            results.append(((await client.get("/")).text, [*STEPS]))
    assert results[0] == results[1] == ("another", ["then first then", "first another"])


async def _endless() -> AsyncIterator[str]:
    yield "once"
    yield "twice"


async def test_what_does_not_end_is_a_defect() -> None:
    """As for FastAPI."""
    router, app = APIRouter(route_class=DirectRoute), FastAPI()

    @router.get("/")
    async def succeed(opened: Annotated[str, Depends(_endless, scope="function")]) -> Response:
        return Response(opened)

    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        with pytest.raises(RuntimeError, match="did not end"):
            await client.get("/")
