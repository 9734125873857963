"""`/api/tenants`: all tenants, for operators."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.http import responses
from api.http.dependencies import IdentityDep, ServicesDep
from api.openapi.document import describe
from schemas.domain.state import StateName
from schemas.wire.platform_documents import TenantPage

router = APIRouter(prefix="/api/tenants", tags=["tenants"])


@router.get(
    "",
    operation_id="listTenants",
    summary="All tenants, page by page.",
    responses=describe(TenantPage, "Some tenants as they are now, and how many there are in each state."),
)
async def page(
    services: ServicesDep,
    identity: IdentityDep,
    state: Annotated[StateName | None, Query(description="Only those in this state now.")] = None,
    open_ended: Annotated[bool, Query(description="Only those with a pin or a sleep without an end.")] = False,  # noqa: FBT002 - a query parameter has a name
    cursor: Annotated[str | None, Query(description="That of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many; a page may have fewer.")] = 100,
) -> Response:
    """List tenants in no particular order; pages follow each other until `cursor` is null."""
    await identity.authorise("list", None)
    return responses.document(await services.tenants.page(state, cursor, limit, open_ended=open_ended))
