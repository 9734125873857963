"""`/api/deadletters`: records that could not be used, for operators."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from api.http import responses
from api.http.dependencies import IdentityDep, ServicesDep
from api.openapi.document import describe
from api.security.rate_limits import payer_of
from schemas.domain.values import NO_CONTROL_PATTERN
from schemas.wire.platform_documents import DeadLetterPage

router = APIRouter(prefix="/api/deadletters", tags=["platform"])


@router.get(
    "",
    operation_id="listDeadLetters",
    summary="Records that could not be used, the newest first.",
    responses=describe(DeadLetterPage, "Some dead letters, and where the next page goes on.", "kafka_unavailable"),
)
async def page(
    services: ServicesDep,
    identity: IdentityDep,
    code: Annotated[
        str | None,
        StringConstraints(max_length=128, pattern=NO_CONTROL_PATTERN),
        Query(description="Only those with this code."),
    ] = None,
    cursor: Annotated[str | None, Query(description="That of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many; a page may have fewer, or none.")] = 100,
) -> Response:
    """List dead letters page by page, until `cursor` is null. Their content is for `sleepctl deadletters list`."""
    await identity.authorise("inspect", None)
    holder = payer_of("inspect", None, identity.principal)
    return responses.document(await services.dead_letters.page(code, cursor, limit, holder))
