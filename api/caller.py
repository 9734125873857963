"""What routes know of a request beside its body: who calls, for which tenant, and what they prefer.

No route reads a header itself.
"""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.auth import Principal, TokenError, is_tenant
from api.authorise import Authoriser, Question
from api.etag import parse_if_match
from api.prefer import Preference, parse_prefer
from api.problems import ProblemError, invalid_request
from api.services import Services
from schemas.policy import FieldError
from schemas.state import StateName

_bearer = HTTPBearer(auto_error=False, description="A JWT access token of the configured issuer.")


def services(request: Request) -> Services:
    """Return what the application was wired with."""
    wired: Services = request.app.state.services
    return wired


async def _services(request: Request) -> Services:
    # A coroutine, since FastAPI runs plain functions in threads.
    return services(request)


class Caller(NamedTuple):
    """An authenticated caller and the tenant that the request is about."""

    tenant: str
    principal: Principal
    authoriser: Authoriser
    facts: dict[str, Any]

    async def authorise(
        self,
        action: str,
        *,
        target_state: StateName | None = None,
        ttl_seconds: float | None = None,
        override: bool = False,
    ) -> str:
        """Return the id of the decision that allows this.

        Raises:
            ProblemError: `forbidden`, with the policy's reasons.
            UnavailableError: if there is no decision.
        """
        principal = self.principal
        question = Question(
            action=action,
            tenant=self.tenant,
            token_tenant=principal.tenant,
            subject=principal.subject,
            scopes=principal.scopes,
            target_state=target_state,
            ttl_seconds=ttl_seconds,
            override=override,
        )
        decision = await self.authoriser.decide(question)
        self.facts["decision_id"] = decision.decision_id
        if not decision.allow:
            raise ProblemError(
                "forbidden",
                "; ".join(decision.reasons) or "policy does not allow this",
                more={"reasons": list(decision.reasons), "decision_id": decision.decision_id},
            )
        return decision.decision_id


async def caller(
    request: Request,
    wired: Annotated[Services, Depends(_services)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    x_tenant_id: Annotated[
        str | None, Header(description="Another tenant than the token's, where policy allows it.")
    ] = None,
) -> Caller:
    """Authenticate the request.

    Raises:
        ProblemError: `unauthenticated` or `invalid_token`, `invalid_request` for a wrong tenant.
        UnavailableError: if the issuer's keys cannot be read.
    """
    if credentials is None:
        raise ProblemError(
            "unauthenticated",
            "send Authorization: Bearer with a token",
            headers={"WWW-Authenticate": "Bearer"},
        )
    try:
        principal = await wired.verifier.verify(credentials.credentials)
    except TokenError as error:
        challenge = f'Bearer error="invalid_token", error_description="{error}"'
        raise ProblemError("invalid_token", str(error), headers={"WWW-Authenticate": challenge}) from None
    facts = request.scope["sleep.facts"]
    facts["subject"] = principal.subject
    tenant = principal.tenant if x_tenant_id is None else x_tenant_id
    if tenant is None:
        raise invalid_request([FieldError("X-Tenant-Id", "needed, since the token names no tenant")])
    if not is_tenant(tenant):
        raise invalid_request([FieldError("X-Tenant-Id", "must be 1 to 128 of A-Z a-z 0-9 . _ : @ -")])
    facts["tenant"] = tenant
    return Caller(tenant, principal, wired.authoriser, facts)


async def preference(
    prefer: Annotated[list[str] | None, Header(description="wait=N (seconds), respond-async")] = None,
) -> Preference:
    """Return how long the caller wants to wait."""
    return parse_prefer(prefer or ())


async def matching_versions(
    if_match: Annotated[str | None, Header(description="The policy's ETag, or *")] = None,
) -> frozenset[int] | None:
    """Return the policy versions that the caller wants to replace, None for any.

    Raises:
        ProblemError: `precondition_required` where the header is missing.
    """
    return parse_if_match(if_match)


CallerDep = Annotated[Caller, Depends(caller)]
PreferenceDep = Annotated[Preference, Depends(preference)]
IfMatchDep = Annotated[frozenset[int] | None, Depends(matching_versions)]
ServicesDep = Annotated[Services, Depends(_services)]
