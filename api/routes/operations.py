"""`/api/operations`: the outcome of any command."""

from fastapi import APIRouter, Response

from api.commands.receipt import Receipt
from api.errors.problems import ProblemError
from api.http import responses
from api.http.dependencies import CallerDep, ServicesDep
from api.http.direct_route import DirectRoute
from api.openapi.document import describe
from api.services import Services
from schemas.wire.documents import OperationDocument
from schemas.wire.operation import CommandType, OperationRecord

router = APIRouter(prefix="/api/operations", tags=["operations"], route_class=DirectRoute)


async def find(
    services: Services, tenant: str, operation_id: str, *, only: CommandType | None = None
) -> OperationRecord | Receipt:
    """Return a command of the tenant. A command of another tenant is unknown.

    Raises:
        ProblemError: `unknown_operation`, also for a command of another type than `only`.
    """
    command = await services.reads.operation(tenant, operation_id)
    if command is None or (only is not None and command.type != only):
        raise ProblemError("unknown_operation", "the tenant has no operation with this id")
    return command


@router.get(
    "/{operation_id}",
    operation_id="getOperation",
    summary="The outcome of a command.",
    responses=describe(
        OperationDocument, "The command; `accepted` while the log has not answered.", "unknown_operation"
    ),
)
async def show(services: ServicesDep, caller: CallerDep, operation_id: str) -> Response:
    """Show any command of the tenant."""
    await caller.authorise("read")
    command = await find(services, caller.tenant, operation_id)
    return responses.document(services.reads.document(command))
