"""The process itself: health, version, metrics, documentation. Nothing here needs a token."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api.describe import docs
from api.describe.openapi import document_of
from api.door.caller import ServicesDep
from api.operate.metrics import CONTENT_TYPE
from api.publish import answers
from schemas.build import build

router = APIRouter(include_in_schema=False)
_UNAVAILABLE = 503


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process answers."""
    return answers.document({"status": "alive"})


@router.get("/readyz")
async def readyz(services: ServicesDep) -> Response:
    """Say whether the process serves: 503 only while it starts or stops, whatever its dependencies do."""
    ready = services.status.ready
    return answers.document({"status": "ready" if ready else "not ready"}, 200 if ready else _UNAVAILABLE)


@router.get("/status")
async def status(services: ServicesDep) -> Response:
    """Show each dependency with its finding, and partitions that stand still; 503 if a dependency is bad."""
    return answers.document(services.status.document(), 200 if services.status.good else _UNAVAILABLE)


@router.get("/version")
async def version() -> Response:
    """Say which build this is."""
    return answers.document(build())


@router.get("/metrics")
async def metrics(services: ServicesDep) -> Response:
    """Give Prometheus its text."""
    return Response(services.metrics.render(), headers={"content-type": CONTENT_TYPE})


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Give the OpenAPI 3.1 document."""
    return answers.document(document_of(request.app))


@router.get("/docs")
async def documentation(request: Request) -> Response:
    """Give the same for people."""
    html = docs.page(document_of(request.app))
    return HTMLResponse(html, headers={"content-security-policy": docs.CONTENT_SECURITY_POLICY})
