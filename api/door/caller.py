"""What routes know of a request beside its body: who calls, for which tenant, and what they prefer.

No route reads a header itself.
"""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.describe.problems import ProblemError, invalid_request
from api.door.auth import Principal, TokenError, is_tenant
from api.door.authorise import Authoriser, Question
from api.door.etag import parse_if_match
from api.door.limits import Limiter, payer_of
from api.door.prefer import Preference, parse_prefer
from api.services import Services
from schemas.policy import FieldError
from schemas.settings import Action
from schemas.state import StateName
from schemas.values import IN_WORDS, TENANT_PATTERN

_bearer = HTTPBearer(auto_error=False, description="A JWT access token of the configured issuer.")


def services(request: Request) -> Services:
    """Return what the application was wired with."""
    wired: Services = request.app.state.services
    return wired


async def _services(request: Request) -> Services:
    # A coroutine, since FastAPI runs plain functions in threads.
    return services(request)


class Identity(NamedTuple):
    """Who calls, whatever tenant it is about.

    Attributes:
        principal: whom the token speaks for.
        authoriser: says whether they may.
        limiter: says whether it was too much.
        facts: what the log line of the request says.
        headers: what the edge adds to the answer.
    """

    principal: Principal
    authoriser: Authoriser
    limiter: Limiter
    facts: dict[str, Any]
    headers: dict[str, str]

    async def authorise(
        self,
        action: Action,
        tenant: str | None,
        *,
        target_state: StateName | None = None,
        ttl_seconds: float | None = None,
        override: bool = False,
        cost: int = 1,
    ) -> str:
        """Return the id of the decision that allows this, and take its cost from the rate limits.

        Args:
            action: what policy and rate limits call it.
            tenant: whom it is about, None for all.
            target_state: how deep, if it is about a depth.
            ttl_seconds: for how long, if it is about a time.
            override: whether it is about the pin.
            cost: how many of the action it is, such as the events of a batch.

        Raises:
            ProblemError: `forbidden`, with the policy's reasons; `quota_exceeded`, with the limit's name.
            UnavailableError: if there is no decision, or no count.
        """
        decision_id = await self.permit(
            action, tenant, target_state=target_state, ttl_seconds=ttl_seconds, override=override
        )
        await self.spend(action, tenant, cost)
        return decision_id

    async def permit(
        self,
        action: Action,
        tenant: str | None,
        *,
        target_state: StateName | None = None,
        ttl_seconds: float | None = None,
        override: bool = False,
    ) -> str:
        """Return the id of the decision that allows this; see `authorise`.

        Raises:
            ProblemError: `forbidden`, with the policy's reasons.
            UnavailableError: if there is no decision.
        """
        principal = self.principal
        question = Question(
            action=action,
            tenant=tenant,
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

    async def spend(self, action: Action, tenant: str | None, cost: int) -> None:
        """Take a cost from the rate limits.

        Raises:
            ProblemError: `quota_exceeded`, with the limit's name.
            UnavailableError: if there is no count.
        """
        verdict = await self.limiter.spend(payer_of(tenant, self.principal), action, cost)
        self.headers.update(verdict.headers())
        if verdict.violated is None:
            return
        name, amount, window = verdict.violated.quota
        wait = verdict.violated.reset_seconds
        advice = f"try again in {wait} s" if cost <= amount else f"send at most {amount} at once"
        raise ProblemError(
            "quota_exceeded",
            f"{name} is limited to {amount} in {window} s, {verdict.violated.remaining} are left; {advice}",
            headers={"Retry-After": str(wait)},
            more={"violated-policies": [name]},
        )


class Caller(NamedTuple):
    """Who calls, and the tenant that the request is about."""

    tenant: str
    identity: Identity

    @property
    def principal(self) -> Principal:
        """Whom the token speaks for."""
        return self.identity.principal

    @property
    def facts(self) -> dict[str, Any]:
        """What the log line of the request says."""
        return self.identity.facts

    async def authorise(
        self,
        action: Action,
        *,
        target_state: StateName | None = None,
        ttl_seconds: float | None = None,
        override: bool = False,
    ) -> str:
        """Return the id of the decision that allows this for the tenant; see `Identity.authorise`."""
        return await self.identity.authorise(
            action, self.tenant, target_state=target_state, ttl_seconds=ttl_seconds, override=override
        )


async def identity(
    request: Request,
    wired: Annotated[Services, Depends(_services)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """Authenticate the request.

    Raises:
        ProblemError: `unauthenticated` or `invalid_token`, `malformed_request` where two tokens are sent.
        UnavailableError: if the issuer's keys cannot be read.
    """
    _once(request, "Authorization")
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
    return Identity(principal, wired.authoriser, wired.limiter, facts, request.scope["sleep.headers"])


def _once(request: Request, header: str) -> None:
    """Refuse a header that is there twice: whoever stands between may have looked at the other one."""
    if len(request.headers.getlist(header)) > 1:
        raise ProblemError("malformed_request", f"the header {header} is there more than once")


async def caller(
    request: Request,
    who: Annotated[Identity, Depends(identity)],
    x_tenant_id: Annotated[
        str | None, Header(description="Another tenant than the token's, where policy allows it.")
    ] = None,
) -> Caller:
    """Find the tenant that an authenticated request is about.

    Raises:
        ProblemError: as `identity`; `invalid_request` for no tenant, or a wrong one.
        UnavailableError: as `identity`.
    """
    _once(request, "X-Tenant-Id")
    tenant = who.principal.tenant if x_tenant_id is None else x_tenant_id
    if tenant is None:
        raise invalid_request([FieldError("X-Tenant-Id", "needed, since the token names no tenant")])
    if not is_tenant(tenant):
        raise invalid_request([FieldError("X-Tenant-Id", f"must be {IN_WORDS[TENANT_PATTERN]}")])
    who.facts["tenant"] = tenant
    return Caller(tenant, who)


async def preference(
    prefer: Annotated[list[str] | None, Header(description="wait=N (seconds), respond-async")] = None,
) -> Preference:
    """Return how long the caller wants to wait."""
    return parse_prefer(prefer or ())


async def matching_versions(
    if_match: Annotated[list[str] | None, Header(description="The policy's ETag, or *")] = None,
) -> frozenset[int] | None:
    """Return the policy versions that the caller wants to replace, None for any.

    Raises:
        ProblemError: `precondition_required` where the header is missing.
    """
    # Two lines are one list (RFC 9110, section 5.3); `*` beside a tag is neither.
    return parse_if_match(None if if_match is None else ", ".join(if_match))


async def last_event_id(
    last_event_id: Annotated[str | None, Header(description="The id of the last event that was received.")] = None,
) -> str | None:
    """Return where a client's stream goes on; None or empty where it begins."""
    return last_event_id


IdentityDep = Annotated[Identity, Depends(identity)]
CallerDep = Annotated[Caller, Depends(caller)]
PreferenceDep = Annotated[Preference, Depends(preference)]
LastEventIdDep = Annotated[str | None, Depends(last_event_id)]
IfMatchDep = Annotated[frozenset[int] | None, Depends(matching_versions)]
ServicesDep = Annotated[Services, Depends(_services)]
