"""`/api/partitions` and `/api/history`: the platform as a whole, for operators."""

from fastapi import APIRouter, Response

from api.http import responses
from api.http.dependencies import IdentityDep, ServicesDep
from api.openapi.document import describe
from schemas.wire.platform_documents import CountsHistory, PartitionList

router = APIRouter(tags=["platform"])


@router.get(
    "/api/partitions",
    operation_id="listPartitions",
    summary="The partitions, their owners and their lag.",
    responses=describe(PartitionList, "Each partition of the events topic.", "kafka_unavailable"),
)
async def partitions(services: ServicesDep, identity: IdentityDep) -> Response:
    """List all partitions of the events topic."""
    await identity.authorise("inspect", None)
    return responses.document(await services.partitions.document())


@router.get(
    "/api/history",
    operation_id="readHistory",
    summary="The numbers of tenants by state over the last hour.",
    responses=describe(CountsHistory, "A sample every ten seconds, as this process has read them."),
)
async def history(services: ServicesDep, identity: IdentityDep) -> Response:
    """Show an hour of the numbers in `GET /api/tenants`. Each process has its own, from its start on."""
    await identity.authorise("list", None)
    return responses.document(services.history.document())
