"""`/api/breakers/{format}`: what breakers report in the formats of their libraries."""

import structlog
from fastapi import APIRouter, Response

from api.http.dependencies import IdentityDep, ServicesDep
from api.http.direct_route import DirectRoute
from api.http.report_bodies import ReportsDep
from api.openapi.document import BODY, accepts, problems, takes_reports
from api.routes.breakers import publish_events
from schemas.wire.documents import AcceptedEvents

router = APIRouter(prefix="/api/breakers", tags=["breakers"], route_class=DirectRoute)
_ACCEPTED = 202
log = structlog.get_logger(__name__)


@router.post(
    "/{format}",
    operation_id="publishBreakerReports",
    summary="Publish what a library or Alertmanager reports of breakers.",
    status_code=_ACCEPTED,
    responses=accepts(AcceptedEvents, "All of them are in the log.")
    | problems(*BODY, "not_found", "outcome_unknown", "kafka_unavailable"),
    openapi_extra=takes_reports(),
)
async def publish(services: ServicesDep, identity: IdentityDep, reports: ReportsDep, format: str) -> Response:  # noqa: A002, ARG001 - the name in the path; read with the body
    """Publish what breakers report: the whole document or nothing.

    `accepted` counts events; a document without a change of a breaker has none. `SLEEP_HTTP_FORMATS` says where the
    tenant, the breaker and the instance are found. By default the tenant is that of the token or of `X-Tenant-Id`. The
    instance is in the header `X-Breaker-Instance`, and gobreaker's name is in `X-Breaker-Name`. Alertmanager has all of
    them in labels.
    """
    response = await publish_events(services, identity, reports.reading.events)
    services.metrics.skipped(reports.format, reports.reading.skipped)
    if truncated := reports.reading.skipped.get("truncated"):
        log.warning("alerts_truncated", subject=identity.principal.subject, alerts=truncated)
    return response
