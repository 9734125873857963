"""`/api/operations`: the outcome of any command."""

from fastapi import APIRouter, Response

from api.describe.documents import OperationDocument
from api.describe.openapi import answers as describe
from api.describe.problems import ProblemError
from api.door.caller import CallerDep, ServicesDep
from api.publish import answers
from api.publish.receipt import Receipt
from api.services import Services
from schemas.operation import CommandType, OperationRecord

router = APIRouter(prefix="/api/operations", tags=["operations"])


async def find(
    services: Services, tenant: str, operation_id: str, *, only: CommandType | None = None
) -> OperationRecord | Receipt:
    """Return a command of the tenant. Another tenant's is as unknown as one that never was.

    Raises:
        ProblemError: `unknown_operation`, also for a command of another type than `only`.
    """
    found = await services.reads.operation(tenant, operation_id)
    if found is None or (only is not None and found.type != only):
        raise ProblemError("unknown_operation", "the tenant has no operation with this id")
    return found


@router.get(
    "/{operation_id}",
    summary="The outcome of a command.",
    responses=describe(
        OperationDocument, "The command; `accepted` while the log has not answered.", "unknown_operation"
    ),
)
async def show(services: ServicesDep, caller: CallerDep, operation_id: str) -> Response:
    """Show any command of the tenant."""
    await caller.authorise("read")
    found = await find(services, caller.tenant, operation_id)
    return answers.document(services.reads.document(found))
