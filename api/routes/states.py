"""`/api/states/events`: the public states of tenants as server-sent events."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import WithJsonSchema

from api.errors.problems import ProblemError, invalid_request
from api.http.dependencies import Identity, IdentityDep, LastEventIdDep, ServicesDep
from api.openapi.document import StreamAnswer, streams
from api.security.rate_limits import payer_of
from api.security.tokens import is_tenant
from schemas.domain.policy import FieldError
from schemas.domain.values import IN_WORDS, TENANT_PATTERN

router = APIRouter(tags=["events"])
MOST_TENANTS: Final = 200
_LONGEST_NAME: Final = 128
_NAME: Final = TENANT_PATTERN.removeprefix("^").removesuffix("$")
NAMES_PATTERN: Final = f"^{_NAME}(,{_NAME})*$"
"""What `parse_tenants` accepts, but for the number of names: Go's patterns repeat at most 1,000 times in all."""
# Only described: `parse_tenants` refuses with the name that is wrong.
Names = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAMES_PATTERN})]


@router.get(
    "/api/states/events",
    operation_id="streamStates",
    summary="The states of all tenants, or of some, as they change.",
    status_code=200,
    response_class=StreamAnswer,
    responses=streams("Events `rules`, `state`, `ready`, `gone`, `time` and `reset`."),
)
async def of_states(
    services: ServicesDep,
    identity: IdentityDep,
    last_event_id: LastEventIdDep,
    tenants: Annotated[
        Names | None, Query(description=f"Only these, with commas between, at most {MOST_TENANTS}.")
    ] = None,
) -> Response:
    """Stream the states of tenants, from the given id on, or with a snapshot first."""
    principal = identity.principal
    if tenants is None:
        await identity.authorise("watch", None)
        holder = payer_of("watch", None, principal)
        return services.states.open(None, last_event_id, principal.expires_at, holder)
    names = parse_tenants(tenants)
    await _permit_all(identity, names)
    await identity.spend("read", None)
    return services.states.open(names, last_event_id, principal.expires_at, payer_of("read", None, principal))


def parse_tenants(text: str) -> list[str]:
    """Return the tenants in a list with commas, each once.

    Raises:
        ProblemError: `invalid_request` for a wrong name, or for too many.
    """
    # At most one split too many, so that a long list is not split completely.
    names = text.split(",", MOST_TENANTS)
    if len(names) > MOST_TENANTS:
        raise invalid_request([FieldError("tenants", f"at most {MOST_TENANTS} tenants")])
    for name in names:
        if not is_tenant(name):
            reason = f"{name[:_LONGEST_NAME]!r} is no tenant: must be {IN_WORDS[TENANT_PATTERN]}"
            raise invalid_request([FieldError("tenants", reason)])
    return list(dict.fromkeys(names))


async def _permit_all(identity: Identity, tenants: list[str]) -> None:
    """Require that the caller may read each of the tenants.

    Raises:
        ProblemError: `forbidden`, which names the tenants that the caller may not read.
        UnavailableError: if the policy does not answer.
    """
    refused: list[str] = []
    last: ProblemError | None = None
    for tenant in tenants:
        try:
            await identity.permit("read", tenant)
        except ProblemError as error:
            refused.append(tenant)
            last = error
    if last is not None:
        raise ProblemError("forbidden", f"{last.detail}: {', '.join(refused)}", more=last.more)
