"""Rate limits: the payer of a request, its budgets, and the headers for callers."""

from hashlib import sha256
from typing import Final, NamedTuple, Protocol, get_args

from limits import RateLimitItem, parse_many

from api.commands.receipt import Receipt
from api.security.tokens import Principal
from schemas.budgets import Budget
from schemas.environment import SettingsError
from schemas.settings import Settings

OPERATOR_SCOPE: Final = "sleep:operate"


class Payer(NamedTuple):
    """The owner of a budget. Each has Redis keys of its own."""

    kind: str
    name: str


class Quota(NamedTuple):
    """One limit: `amount` within any `seconds`, with the name that callers see."""

    name: str
    amount: int
    seconds: int


class QuotaStatus(NamedTuple):
    """What is left of a quota, and the seconds until more is left; after a refusal, until enough is left."""

    quota: Quota
    remaining: int
    reset_seconds: int


class Verdict(NamedTuple):
    """The limits' answer to one request.

    Attributes:
        statuses: of each quota of the budget.
        violated: the quota that refused the request, None if it may pass.
        noted: whether the request's receipt was written.
    """

    statuses: tuple[QuotaStatus, ...]
    violated: QuotaStatus | None
    noted: bool = False

    def headers(self) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers-11."""
        quotas = (status.quota for status in self.statuses)
        return {
            "RateLimit-Policy": ", ".join(f'"{quota.name}";q={quota.amount};w={quota.seconds}' for quota in quotas),
            "RateLimit": ", ".join(
                f'"{status.quota.name}";r={status.remaining};t={status.reset_seconds}' for status in self.statuses
            ),
        }


class Limiter(Protocol):
    """Counts requests against budgets."""

    async def spend(self, payer: Payer, budget: Budget, cost: int, receipt: Receipt | None = None) -> Verdict:
        """Take `cost` from the payer's budget, or nothing if too little is left.

        Args:
            payer: the owner of the budget.
            budget: its name.
            cost: the number of units.
            receipt: that of a command for which nobody waits; it is written where the cost is taken, unless its id
                already has a receipt.

        Raises:
            UnavailableError: if Redis does not answer.
        """
        ...

    async def refund(self, payer: Payer, budget: Budget, cost: int) -> None:
        """Give back the cost of a request that was then refused.

        Raises:
            UnavailableError: if Redis does not answer.
        """
        ...


def subject_of(principal: Principal) -> Payer:
    """Return the subject of a token as a payer, for requests about any tenant.

    Issuers name subjects within a tenant, so the tenant is part of the name. A subject is free text, hence the digest.
    """
    # No tenant and no subject holds a line break.
    return Payer("subject", sha256(f"{principal.tenant or ''}\n{principal.subject}".encode()).hexdigest())


def payer_of(budget: Budget, tenant: str | None, principal: Principal) -> Payer:
    """Return the payer of a request: as a rule the tenant that the request is about.

    - An operator has a budget of their own, also for requests about all tenants. So a flood of a tenant's requests
      cannot lock out the person who comes to stop it.
    - Reads of another tenant or its audit, and requests about no single tenant, count for their subject. So a dashboard
      over all tenants cannot use up their budgets.
    """
    if OPERATOR_SCOPE in principal.scopes:
        return Payer("operator", sha256(principal.subject.encode()).hexdigest())
    if tenant is None or (budget in ("read", "audit") and tenant != principal.tenant):
        return subject_of(principal)
    return Payer("tenant", tenant)


def parse_limits(settings: Settings) -> dict[Budget, tuple[Quota, ...]]:
    """Return the quotas of every budget, the shortest window first.

    Raises:
        SettingsError: if the notation is wrong, or two quotas of a budget have the same window.
    """
    return {budget: _quotas_of(budget, settings.limit_of(budget)) for budget in get_args(Budget)}


def _quotas_of(budget: Budget, notation: str) -> tuple[Quota, ...]:
    try:
        items = sorted(parse_many(notation), key=RateLimitItem.get_expiry)
    except ValueError:
        items = []
    windows = {item.get_expiry() for item in items}
    if not items or len(windows) < len(items):
        msg = f"SLEEP_RATE_LIMITS: at {budget}: each limit must be like 600/minute, and have a window of its own"
        raise SettingsError(msg)
    names = (budget if len(items) == 1 else f"{budget}-{item.get_expiry()}s" for item in items)
    return tuple(Quota(name, item.amount, item.get_expiry()) for name, item in zip(names, items, strict=True))
