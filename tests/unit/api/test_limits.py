"""Rate limits: who pays, what a caller is told, and what Redis is asked."""

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import cast, get_args

import httpx
import pytest
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.exceptions import ConnectionError as RedisConnectionError

from api.app import wire
from api.describe.problems import ProblemError
from api.door.auth import Principal
from api.door.caller import Identity
from api.door.limits import Payer, Quota, RedisLimiter, Standing, Verdict, parse_limits, payer_of
from api.operate.dependency import UnavailableError
from api.read.store import RedisClient
from schemas.settings import Action, Settings, SettingsError
from tests.unit.api.conftest import World
from tests.unit.api.fakes import NOW, FakeClock, outcome, token

TENANT = Payer("tenant", "acme")
MODE = {"target_state": "light"}
READ = "/api/brain/sleep_mode"


def settings(**limits: str) -> Settings:
    """Settings with these rate limits; `any` stands for `*`."""
    return Settings.model_validate(
        {
            "kafka_bootstrap": "kafka:9092",
            "redis_url": "redis://redis",
            "rate_limits": {action.replace("any", "*"): limit for action, limit in limits.items()},
        }
    )


class _Redis:
    """Lists of times, and the library's two scripts of a moving window over them."""

    def __init__(self) -> None:
        self.lists: dict[str, list[float]] = {}
        self.failure: Exception | None = None

    def register_script(self, script: bytes) -> Callable[[Sequence[str], Sequence[float]], Awaitable[object]]:
        name = "acquire" if script == RedispyBridge.SCRIPT_ACQUIRE_MOVING_WINDOW else "look"

        async def run(keys: Sequence[str], arguments: Sequence[float]) -> object:
            if self.failure is not None:
                raise self.failure
            times = self.lists.setdefault(keys[0], [])
            return self._acquire(times, *arguments) if name == "acquire" else self._look(times, *arguments)

        return run

    def _acquire(self, times: list[float], now: float, limit: float, seconds: float, amount: float) -> bool:
        at = int(limit - amount)
        if at < 0 or (at < len(times) and times[at] >= now - seconds):
            return False
        times[:0] = [now] * int(amount)
        del times[int(limit) :]
        return True

    def _look(self, times: list[float], oldest: float, limit: float) -> list[object] | None:
        inside = [time for time in times[: int(limit)] if time >= oldest]
        return [str(inside[-1]).encode(), len(inside)] if inside else None


class House:
    """A limiter over a fake Redis, and one clock for both."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.redis = _Redis()
        patch.setattr("limits.aio.storage.redis.redispy.time", SimpleNamespace(time=lambda: self.clock.now / 1000))

    def limiter(self, **limits: str) -> RedisLimiter:
        return RedisLimiter(cast("RedisClient", self.redis), "sleep", parse_limits(settings(**limits)), self.clock)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    """A limiter over a fake Redis."""
    return House(monkeypatch)


def _passed(verdicts: Sequence[Verdict]) -> list[bool]:
    return [verdict.violated is None for verdict in verdicts]


# What the settings say


def test_what_is_not_named_has_the_limit_of_the_asterisk() -> None:
    """Once it is given, no default is mixed in."""
    limits = parse_limits(settings(any="5/minute", sleep="7/second"))
    assert {action: limit.quota for action, (limit,) in limits.items()} == {
        **{action: Quota(action, 5, 60) for action in get_args(Action)},
        "sleep": Quota("sleep", 7, 1),
    }


def test_without_an_asterisk_the_defaults_stand_for_what_is_not_named() -> None:
    """So that one more limit takes no other away."""
    limits = parse_limits(settings(read="7/minute"))
    assert [limits[action][0].quota.amount for action in ("read", "emit", "sleep")] == [7, 60_000, 600]


def test_several_limits_of_one_action_have_names_of_their_own() -> None:
    """Shortest window first, whatever the order in the setting."""
    limits = parse_limits(settings(read="600 per minute; 10/second"))["read"]
    assert [limit.quota for limit in limits] == [Quota("read-1s", 10, 1), Quota("read-60s", 600, 60)]


def test_two_limits_over_one_window_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the application is wired."""
    for name in ("JWT_JWKS", "JWT_ISSUER", "JWT_AUDIENCE"):
        monkeypatch.setenv(f"SLEEP_{name}", "x")
    with pytest.raises(SettingsError, match="SLEEP_RATE_LIMITS: at emit"):
        wire(settings(emit="5/minute; 10 per 60 seconds"))


def test_a_notation_that_the_library_does_not_read_is_refused_by_name() -> None:
    """Even if it came past the settings' own check."""
    wrong = settings(any="5/minute").model_copy(update={"rate_limits": {"*": "5/minute", "list": "many"}})
    with pytest.raises(SettingsError, match="SLEEP_RATE_LIMITS: at list"):
        parse_limits(wrong)


# Who pays


def test_the_tenant_of_the_request_pays() -> None:
    """Also for those who come from elsewhere without being operators."""
    assert payer_of("acme", Principal("bot", "other", ("sleep:read-any",), 0)) == TENANT


def test_an_operator_pays_alone_and_cannot_pass_for_anybody() -> None:
    """The subject is free text, so it is in no key as it came."""
    payers = [payer_of("acme", Principal(subject, None, ("sleep:operate",), 0)) for subject in ("a/read", "a", "acme")]
    assert len(set(payers)) == 3
    assert {payer.kind for payer in payers} == {"operator"}
    assert all(len(payer.name) == 64 and payer.name.isalnum() for payer in payers)


# The window in Redis


async def test_a_window_moves(house: House) -> None:
    """What was spent comes back exactly one window later, and what was refused never counted."""
    limiter = house.limiter(read="2/minute")
    passed = [await limiter.spend(TENANT, "read", 1)]
    house.clock.now += 20_000
    passed += [await limiter.spend(TENANT, "read", 1) for _ in range(3)]
    assert _passed(passed) == [True, True, False, False]
    house.clock.now += 40_001
    assert _passed([await limiter.spend(TENANT, "read", 1) for _ in range(2)]) == [True, False]


async def test_a_verdict_says_what_is_left_and_until_when(house: House) -> None:
    """Rounded up: who comes at that second passes."""
    limiter = house.limiter(read="2/minute")
    first = await limiter.spend(TENANT, "read", 1)
    house.clock.now += 20_500
    second = await limiter.spend(TENANT, "read", 1)
    refused = await limiter.spend(TENANT, "read", 1)
    assert [(verdict.standings[0].remaining, verdict.standings[0].reset_seconds) for verdict in (first, second)] == [
        (1, 60),
        (0, 40),
    ]
    assert refused.violated == Standing(Quota("read", 2, 60), 0, 40)


async def test_a_batch_costs_what_it_holds_and_waits_for_all_of_it(house: House) -> None:
    """All of it passes or none."""
    limiter = house.limiter(emit="10/minute")
    await limiter.spend(TENANT, "emit", 4)
    house.clock.now += 10_000
    await limiter.spend(TENANT, "emit", 4)
    house.clock.now += 10_000
    refused = [await limiter.spend(TENANT, "emit", cost) for cost in (3, 7)]
    assert [verdict.violated for verdict in refused] == [
        Standing(Quota("emit", 10, 60), 2, 40),
        Standing(Quota("emit", 10, 60), 2, 50),
    ]
    assert _passed([await limiter.spend(TENANT, "emit", 2)]) == [True]


async def test_a_batch_above_the_limit_itself_is_refused(house: House) -> None:
    """However long nothing was sent; what it is told to wait for is the whole budget."""
    limiter = house.limiter(emit="10/minute")
    assert (await limiter.spend(TENANT, "emit", 11)).violated == Standing(Quota("emit", 10, 60), 10, 60)
    await limiter.spend(TENANT, "emit", 4)
    house.clock.now += 20_000
    assert (await limiter.spend(TENANT, "emit", 11)).violated == Standing(Quota("emit", 10, 60), 6, 40)


async def test_what_one_limit_refuses_costs_nothing_of_the_longer_ones(house: House) -> None:
    """A flood that the seconds refuse does not eat up the hour."""
    limiter = house.limiter(read="9/hour; 2/second")
    verdicts = [await limiter.spend(TENANT, "read", 1) for _ in range(5)]
    assert _passed(verdicts) == [True, True, False, False, False]
    assert verdicts[-1].violated == Standing(Quota("read-1s", 2, 1), 0, 1)
    assert verdicts[-1].headers() == {
        "RateLimit-Policy": '"read-1s";q=2;w=1, "read-3600s";q=9;w=3600',
        "RateLimit": '"read-1s";r=0;t=1, "read-3600s";r=7;t=3600',
    }


async def test_each_payer_and_action_has_a_key_of_its_own(house: House) -> None:
    """A slash stands in neither, so no two can be one."""
    limiter = house.limiter(any="1/minute")
    for payer in (TENANT, Payer("tenant", "other"), Payer("operator", "acme")):
        assert _passed([await limiter.spend(payer, "read", 1), await limiter.spend(payer, "list", 1)]) == [True, True]
    assert sorted(house.redis.lists) == sorted(
        f"sleep:limits:LIMITER/{payer}/{action}/1/1/minute"
        for payer in ("tenant/acme", "tenant/other", "operator/acme")
        for action in ("read", "list")
    )


async def test_a_window_that_starts_in_the_future_is_no_longer_than_a_window(house: House) -> None:
    """Another machine's clock is ahead."""
    limiter = house.limiter(read="1/minute")
    house.clock.now += 30_000
    await limiter.spend(TENANT, "read", 1)
    house.clock.now = NOW
    refused = await limiter.spend(TENANT, "read", 1)
    assert refused.violated is not None
    assert refused.violated.reset_seconds == 60


@pytest.mark.parametrize("failure", [RedisConnectionError("refused"), OSError("refused"), TimeoutError()])
async def test_a_redis_that_is_away_lets_nobody_pass(house: House, failure: Exception) -> None:
    """There is no count of our own to fall back on."""
    house.redis.failure = failure
    with pytest.raises(UnavailableError, match="redis"):
        await house.limiter(read="1/minute").spend(TENANT, "read", 1)


# What a caller sees


async def test_an_answer_says_what_is_left(world: World) -> None:
    """In the two fields of the draft."""
    world.limiter.amount = 5
    answer = await world.client.get(READ)
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"read";q=5;w=60'
    assert answer.headers["RateLimit"] == '"read";r=4;t=42'


async def test_too_much_is_refused_with_when_to_come_back(world: World) -> None:
    """The registered problem type, and nothing published."""
    world.limiter.amount, world.replies.answer = 1, outcome()
    assert (await world.client.post(READ, json=MODE)).status_code == 200
    published = len(world.log.published)
    refused = await world.client.post(READ, json=MODE)
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "42"
    assert refused.headers["RateLimit-Policy"] == '"cognitive_sleep";q=1;w=60'
    assert refused.headers["RateLimit"] == '"cognitive_sleep";r=0;t=42'
    problem = refused.json()
    assert problem.pop("instance").startswith("urn:uuid:")
    assert problem == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "The rate limit is exceeded",
        "status": 429,
        "detail": "cognitive_sleep is limited to 1 in 60 s, 0 are left; try again in 42 s",
        "code": "quota_exceeded",
        "violated-policies": ["cognitive_sleep"],
    }
    assert len(world.log.published) == published


async def test_a_tenant_that_floods_stops_neither_another_nor_the_operator(world: World) -> None:
    """The operator's budget is their own, whichever tenants they look at."""
    world.limiter.amount = 2

    async def read(tenant: str | None = None, **claims: str | None) -> int:
        headers = {"Authorization": f"Bearer {token('ES256', header=None, **claims)}"}
        if tenant is not None:
            headers["X-Tenant-Id"] = tenant
        return (await world.client.get(READ, headers=headers)).status_code

    assert [await read() for _ in range(3)] == [200, 200, 429]
    assert await read(sub="another@acme") == 429
    assert await read(tenant_id="other", sub="ops@other") == 200
    operator: dict[str, str | None] = {"tenant_id": None, "scope": "sleep:operate", "sub": "root"}
    assert [await read(tenant, **operator) for tenant in ("acme", "other", "acme")] == [200, 200, 429]
    assert await read("acme", **operator | {"sub": "root-2"}) == 200


async def test_who_may_not_is_not_counted(world: World) -> None:
    """Else a stranger could use up a tenant's budget."""
    world.authoriser.decision = world.authoriser.decision._replace(allow=False, reasons=("no",))
    refused = await world.client.get(READ)
    assert refused.status_code == 403
    assert "RateLimit" not in refused.headers
    assert world.limiter.spent == {}


async def test_without_a_count_nothing_is_published(world: World) -> None:
    """No answer of Redis is no permission."""
    world.limiter.failure = UnavailableError("redis", "connection refused")
    answer: httpx.Response = await world.client.post(READ, json=MODE)
    assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
    assert world.log.published == []
    assert world.store.receipts == {}


async def test_a_cost_is_taken_from_the_budget_and_a_larger_one_is_refused(world: World) -> None:
    """As a batch does it."""
    principal = Principal("emitter", "acme", ("sleep:emit",), 0)
    headers: dict[str, str] = {}
    who = Identity(principal, world.authoriser, world.limiter, {}, headers)
    await who.authorise("emit", "acme", cost=598)
    assert world.limiter.spent == {(TENANT, "emit"): 598}
    for cost, advice in ((3, "try again in 42 s"), (601, "send at most 600 at once")):
        with pytest.raises(ProblemError, match=advice):
            await who.authorise("emit", "acme", cost=cost)
    assert headers["RateLimit"] == '"emit";r=2;t=42'
