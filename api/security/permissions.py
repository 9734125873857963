"""What a token may do, as the policy answers: the same policy is asked the same questions as for requests."""

import asyncio
from typing import Any, Final, NamedTuple

from api.adapters.dependency import UnavailableError
from api.security.opa import Authoriser, Question
from api.security.tokens import Principal
from schemas.budgets import Action

SECONDS: Final = 5.0
"""How long all questions of a request may take together. An OPA server answers one in about a millisecond."""
ANOTHER_TENANT: Final = "*"
"""A tenant that no policy has a rule for: an asterisk is in no tenant's name."""


class About(NamedTuple):
    """What requests of an action are about: a tenant, no single one, or either."""

    tenant: bool
    platform: bool


ACTIONS: Final[dict[Action, About]] = {
    "read": About(tenant=True, platform=False),
    "sleep": About(tenant=True, platform=False),
    "cognitive_sleep": About(tenant=True, platform=False),
    "cognitive_sleep_override": About(tenant=True, platform=False),
    "cognitive_sleep_policy": About(tenant=True, platform=False),
    "emit": About(tenant=True, platform=False),
    "list": About(tenant=False, platform=True),
    "watch": About(tenant=False, platform=True),
    "audit": About(tenant=True, platform=True),
    "inspect": About(tenant=False, platform=True),
}
"""Every action, and what the API asks the policy about it."""
COST: Final = sum(2 * about.tenant + about.platform for about in ACTIONS.values())
"""How many questions one request asks, at most."""


async def permissions_of(principal: Principal, authoriser: Authoriser) -> dict[str, Any]:
    """Return whether the policy allows each action, without a depth or a TTL.

    Raises:
        UnavailableError: if the policy does not answer, or not in time.
    """

    async def allowed(action: Action, tenant: str | None) -> bool:
        override = action == "cognitive_sleep_override"
        question = Question(action, tenant, principal.tenant, principal.subject, principal.scopes, override=override)
        return (await authoriser.decide(question)).allow

    permissions: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(SECONDS):
            for action, about in ACTIONS.items():
                own: bool | None = None
                if about.tenant:
                    # Nobody owns the absent tenant.
                    own = principal.tenant is not None and await allowed(action, principal.tenant)
                permissions.append(
                    {
                        "action": action,
                        "own_tenant": own,
                        "any_tenant": await allowed(action, ANOTHER_TENANT) if about.tenant else None,
                        "platform": await allowed(action, None) if about.platform else None,
                    }
                )
    except TimeoutError:
        raise UnavailableError("opa", f"it did not answer {COST} questions within {SECONDS:g} s") from None
    return {
        "subject": principal.subject,
        "tenant_id": principal.tenant,
        "expires_at": principal.expires_at,
        "permissions": permissions,
    }
