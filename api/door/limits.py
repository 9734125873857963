"""Rate limits: a moving window in Redis per tenant and action, with the `limits` library."""

import asyncio
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, cast, get_args

from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter
from limits.typing import AsyncRedisClient

from api.clock import Clock
from api.door.auth import Principal
from api.read.store import ANSWER_SECONDS, RedisClient, answering
from schemas.names import limits_prefix
from schemas.settings import Action, Settings, SettingsError

OPERATOR_SCOPE: Final = "sleep:operate"


class Payer(NamedTuple):
    """Whose budget a request is taken from; no two of them share a Redis key."""

    kind: str
    name: str


class Quota(NamedTuple):
    """One limit: `amount` within any `seconds`, under the name that callers see."""

    name: str
    amount: int
    seconds: int


class Standing(NamedTuple):
    """What is left of a quota, and in how many seconds there will be more; if it refused, as much as was asked for."""

    quota: Quota
    remaining: int
    reset_seconds: int


class Verdict(NamedTuple):
    """What the limits say of one request; `violated` is the quota that refused it, None where it may pass."""

    standings: tuple[Standing, ...]
    violated: Standing | None

    def headers(self) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers-11."""
        quotas = (standing.quota for standing in self.standings)
        return {
            "RateLimit-Policy": ", ".join(f'"{quota.name}";q={quota.amount};w={quota.seconds}' for quota in quotas),
            "RateLimit": ", ".join(
                f'"{standing.quota.name}";r={standing.remaining};t={standing.reset_seconds}'
                for standing in self.standings
            ),
        }


class Limiter(Protocol):
    """Counts what callers do."""

    async def spend(self, payer: Payer, action: Action, cost: int) -> Verdict:
        """Take `cost` from the payer's budget for an action, or nothing where it does not suffice.

        Raises:
            UnavailableError: if nobody can say.
        """
        ...


def payer_of(tenant: str | None, principal: Principal) -> Payer:
    """Return who pays: the tenant that the request is about, or an operator for themselves, as for all tenants.

    So a tenant that is flooded, by whomever, cannot lock out the person who comes to stop it. A subject is free
    text, hence the digest.
    """
    if tenant is None or OPERATOR_SCOPE in principal.scopes:
        return Payer("operator", sha256(principal.subject.encode()).hexdigest())
    return Payer("tenant", tenant)


class Limit(NamedTuple):
    """A quota, and the library's form of it."""

    quota: Quota
    item: RateLimitItem


def parse_limits(settings: Settings) -> dict[Action, tuple[Limit, ...]]:
    """Return the limits of every action, the shortest window first.

    Raises:
        SettingsError: if the notation is wrong, or two limits of an action have the same window.
    """
    return {action: _limits_of(action, settings.limit_of(action)) for action in get_args(Action)}


def _limits_of(action: Action, notation: str) -> tuple[Limit, ...]:
    try:
        items = sorted(parse_many(notation), key=RateLimitItem.get_expiry)
    except ValueError:
        items = []
    windows = {item.get_expiry() for item in items}
    if not items or len(windows) < len(items):
        msg = f"SLEEP_RATE_LIMITS: at {action}: each limit must be like 600/minute, and have a window of its own"
        raise SettingsError(msg)
    names = (action if len(items) == 1 else f"{action}-{item.get_expiry()}s" for item in items)
    return tuple(
        Limit(Quota(name, item.amount, item.get_expiry()), item) for name, item in zip(names, items, strict=True)
    )


class _Storage(RedisStorage):
    """The library's storage over a client of ours: one pool, one time budget, one way to read the URL."""

    bridge: RedispyBridge

    def __init__(self, client: RedisClient, prefix: str) -> None:
        # The library's protocol of a client says more than what its scripts use.
        self._client = cast("AsyncRedisClient", client)
        super().__init__("async+redis://", implementation="redispy", key_prefix=limits_prefix(prefix))

    def configure_bridge(self) -> None:
        """Give the library's scripts the client, of a server or of a cluster: each script touches one key."""
        self.bridge.storage = self._client
        self.bridge.connection_getter = lambda _: self._client


class RedisLimiter:
    """The limits of one installation; see `Limiter`.

    A limit's list in Redis holds the time of each unit that was spent, by the clocks of the API's machines. One
    script looks and adds, so callers at once are counted exactly, in however many processes. What is refused is not
    added. Of several limits the shortest window is asked first, and those behind the one that refuses are not
    touched; so a flood that the seconds refuse does not eat up the day.
    """

    def __init__(
        self, client: RedisClient, prefix: str, limits: Mapping[Action, tuple[Limit, ...]], clock: Clock
    ) -> None:
        self._storage = _Storage(client, prefix)
        self._window = MovingWindowRateLimiter(self._storage)
        self._limits = limits
        self._clock = clock

    async def spend(self, payer: Payer, action: Action, cost: int) -> Verdict:
        """Take from every limit of the action in turn, and read what is left, within the time that Redis has."""
        limits = self._limits[action]
        with answering():
            async with asyncio.timeout(ANSWER_SECONDS):
                refused: Limit | None = None
                for limit in limits:
                    if not await self._window.hit(limit.item, *payer, action, cost=cost):
                        refused = limit
                        break
                standings = [await self._standing(limit, payer, action) for limit in limits]
                if refused is None:
                    return Verdict(tuple(standings), None)
                at = limits.index(refused)
                if cost > 1:
                    standings[at] = await self._until_enough(refused, payer, action, cost, standings[at])
                return Verdict(tuple(standings), standings[at])

    async def _standing(self, limit: Limit, payer: Payer, action: Action) -> Standing:
        reset, remaining = await self._window.get_window_stats(limit.item, *payer, action)
        return Standing(limit.quota, remaining, self._seconds_until(reset, limit.quota))

    async def _until_enough(self, limit: Limit, payer: Payer, action: Action, cost: int, found: Standing) -> Standing:
        """Say when as much as was asked for will be free, or all where that is not enough."""
        quota = limit.quota
        # The newest entry that has to leave the window first: the one that the library's script looked at.
        newest = quota.amount - min(cost, quota.amount)
        start, _ = await self._storage.get_moving_window(limit.item.key_for(*payer, action), newest + 1, quota.seconds)
        return found._replace(reset_seconds=self._seconds_until(start + quota.seconds, quota))

    def _seconds_until(self, time: float, quota: Quota) -> int:
        # At least one, since "now" is what was just refused; at most the window, though clocks differ.
        return min(max(math.ceil(time - self._clock() / 1000), 1), quota.seconds)
