"""Routes without a token: health, version, metrics and documentation of the process."""

from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic_core import to_json

from api.http import responses
from api.http.dependencies import ServicesDep
from api.openapi import docs_page as docs
from api.openapi.document import document_of
from schemas.build_info import build
from schemas.http.pages import Page

router = APIRouter(include_in_schema=False)
_UNAVAILABLE = 503


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process responses."""
    return responses.document({"status": "alive"})


@router.get("/readyz")
async def readyz(services: ServicesDep) -> Response:
    """Say whether the process serves: 503 only while it starts or stops, whatever its dependencies do."""
    ready = services.status.ready
    return responses.document({"status": "ready" if ready else "not ready"}, 200 if ready else _UNAVAILABLE)


@router.get("/status")
async def status(services: ServicesDep) -> Response:
    """Show each dependency with its finding, and stalled partitions; 503 if a dependency is bad."""
    return _response(await services.pages("status"))


@router.get("/version")
async def version() -> Response:
    """Show the build."""
    return responses.document(build())


@router.get("/metrics")
async def metrics(services: ServicesDep) -> Response:
    """Return the metrics in the text format of Prometheus."""
    return _response(await services.pages("metrics"))


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI 3.1 document."""
    body = _rendered_once(request.app, "openapi_json", lambda: to_json(document_of(request.app)))
    return Response(body, media_type="application/json")


@router.get("/docs")
async def documentation(request: Request) -> Response:
    """Return the documentation of the API as a page."""
    html = _rendered_once(request.app, "docs_html", lambda: docs.page(document_of(request.app)).encode())
    return HTMLResponse(html, headers={"content-security-policy": docs.CONTENT_SECURITY_POLICY})


def _response(page: Page) -> Response:
    return Response(page.body, page.status, headers={"content-type": page.media_type})


def _rendered_once(app: FastAPI, name: str, make: Callable[[], bytes]) -> bytes:
    """Return a document that is rendered once, since it does not change while the process runs."""
    if not hasattr(app.state, name):
        setattr(app.state, name, make())
    content: bytes = getattr(app.state, name)
    return content
