"""`/api/permissions`: what the policy allows the token."""

from fastapi import APIRouter, Response

from api.http import responses
from api.http.dependencies import IdentityDep, ServicesDep
from api.openapi.document import describe
from api.security.permissions import COST, permissions_of
from schemas.wire.platform_documents import PermissionList

router = APIRouter(prefix="/api/permissions", tags=["permissions"])


@router.get(
    "",
    operation_id="listPermissions",
    summary="What the policy allows this token.",
    responses=describe(PermissionList, "Each action, for the token's own tenant, for any tenant, for the platform."),
)
async def of_token(services: ServicesDep, identity: IdentityDep) -> Response:
    """Ask the policy about each action. A request costs one read for each question, and is paid by the subject."""
    await identity.spend("read", None, COST)
    return responses.document(await permissions_of(identity.principal, services.authoriser))
