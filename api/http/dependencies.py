"""The dependencies of routes beside bodies: the caller's identity, the tenant and the preferences of a request.

No route reads a header itself.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, NamedTuple, TypedDict, Unpack

import structlog
from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.adapters.dependency import UnavailableError
from api.adapters.redis_turns import CALLER
from api.commands.receipt import Receipt
from api.errors.problems import ProblemError, invalid_request
from api.http.prefer import Preference, parse_prefer
from api.http.query import require_known_query
from api.security.in_flight import Slot
from api.security.opa import Authoriser, Question
from api.security.rate_limits import OPERATOR_SCOPE, Limiter, Payer, Verdict, payer_of, subject_of
from api.security.refused_budget import PRINCIPAL, too_many_refused
from api.security.tokens import Principal, TokenError, is_tenant
from api.services import Services
from schemas.budgets import Action, Budget
from schemas.domain.policy import FieldError
from schemas.domain.state import StateName
from schemas.domain.values import IN_WORDS, TENANT_PATTERN
from schemas.wire.runs import RUN_HEADER, RUN_IN_WORDS, RUN_PATTERN

log = structlog.get_logger(__name__)
MAY_WAKE: Final = frozenset({"cancelSleep", "setSleepMode"})
"""Operation ids of the routes that wake a tenant, always or with mode `active`."""
_bearer = HTTPBearer(bearerFormat="JWT", auto_error=False, description="A JWT access token of the configured issuer.")


def services(request: Request) -> Services:
    """Return the services of the application."""
    wired: Services = request.app.state.services
    return wired


async def _services(request: Request) -> Services:
    # A coroutine, since FastAPI runs plain functions in threads.
    return services(request)


class ActionDetails(TypedDict, total=False):
    """What the policy may decide by, besides action and tenant.

    Attributes:
        target_state: the depth, if the action has one.
        ttl_seconds: the duration, if the action has one.
        override: whether the action is about the pin.
    """

    target_state: StateName | None
    ttl_seconds: float | None
    override: bool


class Identity(NamedTuple):
    """An authenticated caller, whatever tenant the request is about.

    Attributes:
        principal: the subject of the token.
        authoriser: decides what the caller may do.
        limiter: counts the caller's requests.
        facts: the fields of the request's log line.
        headers: headers that the middleware adds to the answer.
        slot: the request's place among those in flight.
        refused: the verdict of the limiter if the subject's budget of refused requests is used up.
        run: the name of the run that the request is part of, None outside a run. A run pays from the budget `mass`.
    """

    principal: Principal
    authoriser: Authoriser
    limiter: Limiter
    facts: dict[str, Any]
    headers: dict[str, str]
    slot: Slot
    refused: Verdict | None = None
    run: str | None = None

    def of_run(self, name: str) -> "Identity":
        """Return the identity of a request that is part of a run: many requests of an operator, one for each tenant.

        Raises:
            ProblemError: `invalid_request` for a wrong name, `forbidden` without the operator's scope.
        """
        if re.fullmatch(RUN_PATTERN.removesuffix("$"), name) is None:
            raise invalid_request([FieldError(RUN_HEADER, f"must be {RUN_IN_WORDS}")])
        if OPERATOR_SCOPE not in self.principal.scopes:
            reason = f"the header {RUN_HEADER} needs the scope {OPERATOR_SCOPE}"
            raise ProblemError("forbidden", reason, more={"reasons": [reason]})
        self.facts["run"] = name
        return self._replace(run=name)

    def require_refusals_left(self) -> None:
        """Refuse the request if too many earlier ones of the subject were refused; not for requests that wake a tenant.

        Raises:
            ProblemError: `quota_exceeded`.
        """
        if self.refused is not None:
            self.headers.update(self.refused.headers())
            raise too_many_refused(self.refused)

    async def authorise(
        self, action: Action, tenant: str | None, *, wakes: bool = False, **details: Unpack[ActionDetails]
    ) -> str:
        """Return the id of the decision that allows this, and take its cost from the rate limits.

        Args:
            action: its name in the policy and the rate limits.
            tenant: the tenant concerned, None for all.
            wakes: whether the action wakes the tenant, for which there is a separate budget.
            details: what the policy may decide by, besides.

        Raises:
            ProblemError: `forbidden`, with the policy's reasons; `quota_exceeded`, with the limit's name.
            UnavailableError: if the policy or the limiter does not answer.
        """
        decision_id = await self.permit(action, tenant, **details)
        await self.spend("wake" if wakes else action, tenant)
        return decision_id

    async def permit(self, action: Action, tenant: str | None, **details: Unpack[ActionDetails]) -> str:
        """Return the id of the decision that allows this; see `authorise`.

        Raises:
            ProblemError: `forbidden`, with the policy's reasons.
            UnavailableError: if the policy does not answer.
        """
        principal = self.principal
        question = Question(action, tenant, principal.tenant, principal.subject, principal.scopes, **details)
        decision = await self.authoriser.decide(question)
        self.facts["decision_id"] = decision.decision_id
        if not decision.allow:
            raise ProblemError(
                "forbidden",
                "; ".join(decision.reasons) or "policy does not allow this",
                more={"reasons": list(decision.reasons), "decision_id": decision.decision_id},
            )
        return decision.decision_id

    async def spend(self, budget: Budget, tenant: str | None, cost: int = 1, *, receipt: Receipt | None = None) -> bool:
        """Take a cost from the rate limits, such as the number of a batch's events, and write the receipt with it.

        A request of a run takes it from the budget `mass`.

        Returns:
            Whether the receipt was written.

        Raises:
            ProblemError: `quota_exceeded`, with the limit's name.
            UnavailableError: if the limiter does not answer.
        """
        if self.run is not None:
            budget = "mass"
        verdict = await self.limiter.spend(payer_of(budget, tenant, self.principal), budget, cost, receipt)
        self.headers.update(verdict.headers())
        if verdict.violated is None:
            return verdict.noted
        name, amount, window = verdict.violated.quota
        wait = verdict.violated.reset_seconds
        advice = f"try again in {wait} s" if cost <= amount else f"send at most {amount} at once"
        whose = "" if tenant in (None, self.principal.tenant) else f" of tenant {tenant}"
        raise ProblemError(
            "quota_exceeded",
            f"{name}{whose} is limited to {amount} in {window} s, {verdict.violated.remaining} are left; {advice}",
            headers={"Retry-After": str(wait)},
            more={"violated-policies": [name]},
        )

    @asynccontextmanager
    async def spending(self, budget: Budget, costs: Mapping[str | None, int]) -> AsyncIterator[None]:
        """Take the costs of several tenants from the rate limits, for a block that does everything or nothing.

        The costs are refunded if one tenant has too little left, or if the block refuses or does nothing. They are not
        refunded if the outcome of the block is unknown.

        Raises:
            ProblemError: `quota_exceeded`, with the limit's name.
            UnavailableError: if the limiter does not answer.
        """
        spent: list[tuple[Payer, int]] = []
        try:
            for tenant, cost in costs.items():
                await self.spend(budget, tenant, cost)
                spent.append((payer_of(budget, tenant, self.principal), cost))
            yield
        except (ProblemError, UnavailableError) as error:
            if not isinstance(error, ProblemError) or error.code != "outcome_unknown":
                await self._refund(budget, spent)
            raise

    async def _refund(self, budget: Budget, spent: list[tuple[Payer, int]]) -> None:
        for payer, cost in spent:
            try:
                await self.limiter.refund(payer, budget, cost)
            except UnavailableError as error:
                # The caller learns why the request failed. Costs that are not refunded expire with the window.
                log.warning("refund_failed", payer=payer.name, budget=budget, cost=cost, finding=error.finding)


class Caller(NamedTuple):
    """An authenticated caller, and the tenant that the request is about."""

    tenant: str
    identity: Identity

    @property
    def principal(self) -> Principal:
        """The subject of the token."""
        return self.identity.principal

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of the request's log line."""
        return self.identity.facts

    async def authorise(self, action: Action, *, wakes: bool = False, **details: Unpack[ActionDetails]) -> str:
        """Return the id of the decision that allows this for the tenant; see `Identity.authorise`."""
        return await self.identity.authorise(action, self.tenant, wakes=wakes, **details)

    async def permit(self, action: Action, **details: Unpack[ActionDetails]) -> str:
        """Return the id of the decision that allows this for the tenant, and take no cost; see `Identity.permit`."""
        return await self.identity.permit(action, self.tenant, **details)

    async def pay(self, budget: Budget, receipt: Receipt | None) -> bool:
        """Take the cost of a command from the rate limits, and write its receipt; see `Identity.spend`."""
        return await self.identity.spend(budget, self.tenant, receipt=receipt)


async def identity(
    request: Request,
    wired: Annotated[Services, Depends(_services)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> AsyncIterator[Identity]:
    """Authenticate the request, and hold a place among those in flight until it is answered.

    Refuses a subject with too many refused requests, and query parameters that the route does not know. On routes that
    may wake a tenant, the route itself refuses the subject if the request turns out to wake nobody.

    Raises:
        ProblemError: `unauthenticated` or `invalid_token`, `malformed_request` where two tokens are sent,
            `too_many_in_flight`, `quota_exceeded` for too many refused requests, `invalid_request` for the query.
        UnavailableError: if the issuer's keys cannot be read.
    """
    require_once(request, "Authorization")
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
    request.scope[PRINCIPAL] = principal
    CALLER.set(principal.tenant or subject_of(principal).name)
    may_wake = request.scope["route"].operation_id in MAY_WAKE
    with wired.in_flight.slot(principal, may_wake=may_wake, arriving=request.method in _WITH_BODY) as slot:
        authenticated = Identity(
            principal,
            wired.authoriser,
            wired.limiter,
            facts,
            request.scope["sleep.headers"],
            slot,
            wired.refused.exhausted(principal),
        )
        if not may_wake:
            authenticated.require_refusals_left()
        require_known_query(request)
        yield authenticated


_WITH_BODY: Final = frozenset({"POST", "PUT"})

# It ends before the answer is sent: an event stream does not end, and slow readers are bounded elsewhere.
IdentityDep = Annotated[Identity, Depends(identity, scope="function")]


def require_once(request: Request, header: str) -> None:
    """Refuse a repeated header: a proxy in between may have read the other one.

    Raises:
        ProblemError: `malformed_request`.
    """
    if len(request.headers.getlist(header)) > 1:
        raise ProblemError("malformed_request", f"the header {header} is there more than once")


async def caller(
    request: Request,
    identity: IdentityDep,
    x_tenant_id: Annotated[
        str | None, Header(description="Another tenant than the token's, where policy allows it.")
    ] = None,
    sleep_run: Annotated[
        str | None,
        Header(
            alias=RUN_HEADER,
            description="The name of an operator's run over many tenants, which has a budget of its own.",
        ),
    ] = None,
) -> Caller:
    """Return the authenticated caller and the tenant that the request is about.

    Raises:
        ProblemError: as `identity`; `invalid_request` for a missing or invalid tenant or a wrong name of a run;
            `forbidden` for a run of somebody who is no operator.
        UnavailableError: as `identity`.
    """
    require_once(request, "X-Tenant-Id")
    require_once(request, RUN_HEADER)
    tenant = identity.principal.tenant if x_tenant_id is None else x_tenant_id
    if tenant is None:
        raise invalid_request([FieldError("X-Tenant-Id", "needed, since the token names no tenant")])
    if not is_tenant(tenant):
        raise invalid_request([FieldError("X-Tenant-Id", f"must be {IN_WORDS[TENANT_PATTERN]}")])
    identity.facts["tenant"] = tenant
    return Caller(tenant, identity if sleep_run is None else identity.of_run(sleep_run))


async def preference(
    prefer: Annotated[list[str] | None, Header(description="wait=N (seconds), respond-async")] = None,
) -> Preference:
    """Return how long the caller wants to wait."""
    return parse_prefer(prefer or ())


async def matching_tags(
    if_match: Annotated[list[str] | None, Header(description="The policy's ETag, or *")] = None,
) -> str | None:
    """Return the `If-Match` header, None without one."""
    # Two header lines are one list (RFC 9110, section 5.3).
    return None if if_match is None else ", ".join(if_match)


async def last_event_id(
    last_event_id: Annotated[str | None, Header(description="The id of the last event that was received.")] = None,
) -> str | None:
    """Return the id after which a client's stream continues; None or empty for a new stream."""
    return last_event_id


CallerDep = Annotated[Caller, Depends(caller)]
PreferenceDep = Annotated[Preference, Depends(preference)]
LastEventIdDep = Annotated[str | None, Depends(last_event_id)]
IfMatchDep = Annotated[str | None, Depends(matching_tags)]
ServicesDep = Annotated[Services, Depends(_services)]
