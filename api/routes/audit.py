"""`/api/audit`: who slept a tenant, why, and who was refused."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from api.errors.problems import invalid_request
from api.http import responses
from api.http.dependencies import IdentityDep, ServicesDep
from api.openapi.document import describe
from api.security.rate_limits import payer_of
from api.topic_pages.audit import AuditQuery
from schemas.domain.policy import FieldError
from schemas.domain.values import NO_CONTROL_PATTERN, TENANT_PATTERN
from schemas.wire.platform_documents import AuditPage
from schemas.wire.transition import RowKind

router = APIRouter(prefix="/api/audit", tags=["audit"])
_LATEST_MS = 2**53


@router.get(
    "",
    operation_id="listAudit",
    summary="Transitions, outcomes and refusals, the newest first.",
    responses=describe(AuditPage, "Some rows of the audit, and where the next page goes on.", "kafka_unavailable"),
)
async def page(  # noqa: PLR0913, PLR0917 - its parameters
    services: ServicesDep,
    identity: IdentityDep,
    tenant: Annotated[
        str | None,
        StringConstraints(pattern=TENANT_PATTERN),
        Query(description="Only the rows of this tenant; without it those of all."),
    ] = None,
    from_: Annotated[
        int | None, Query(alias="from", ge=0, le=_LATEST_MS, description="Only rows whose `at` is not before this, ms.")
    ] = None,
    to: Annotated[
        int | None, Query(ge=0, le=_LATEST_MS, description="Only rows whose `at` is before this, ms.")
    ] = None,
    kind: Annotated[RowKind | None, Query(description="Only rows of this kind.")] = None,
    actor: Annotated[
        str | None,
        StringConstraints(max_length=256, pattern=NO_CONTROL_PATTERN),
        Query(description="Only commands of this actor."),
    ] = None,
    cursor: Annotated[str | None, Query(description="That of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many; a page may have fewer, or none.")] = 100,
) -> Response:
    """List rows page by page, until `cursor` is null. A page looks at 10,000 records at most."""
    if tenant is not None:
        identity.facts["tenant"] = tenant
    await identity.authorise("audit", tenant)
    if from_ is not None and to is not None and from_ >= to:
        raise invalid_request([FieldError("from", "must be before to")])
    holder = payer_of("audit", tenant, identity.principal)
    query = AuditQuery(tenant, from_, to, kind, actor)
    return responses.document(await services.audit.page(query, cursor, limit, holder))
