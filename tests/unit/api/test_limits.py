"""Rate limits: who pays, what a caller is told, and what Redis is asked."""

from collections.abc import Sequence
from typing import get_args

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.adapters.dependency import UnavailableError
from api.app import wire
from api.errors.problems import ProblemError
from api.http.dependencies import Identity
from api.security.in_flight import InFlight
from api.security.rate_limits import Payer, Quota, QuotaStatus, Verdict, parse_limits, payer_of
from api.security.tokens import Principal
from schemas.budgets import Budget
from schemas.environment import SettingsError
from schemas.kafka.partitioner import partition_of
from schemas.names import PartitionKeys
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.limited_redis import LimitedRedis, settings

TENANT = Payer("tenant", "acme")
MODE = {"target_state": "light"}
READ = "/api/brain/sleep_mode"


@pytest.fixture
def limited() -> LimitedRedis:
    """A limiter over a fake Redis."""
    return LimitedRedis()


def _passed(verdicts: Sequence[Verdict]) -> list[bool]:
    return [verdict.violated is None for verdict in verdicts]


# What the settings say


def test_what_is_not_named_has_the_limit_of_the_asterisk() -> None:
    """Once it is given, no default is mixed in."""
    limits = parse_limits(settings(any="5/minute", sleep="7/second"))
    assert {action: quota for action, (quota,) in limits.items()} == {
        **{action: Quota(action, 5, 60) for action in get_args(Budget)},
        "sleep": Quota("sleep", 7, 1),
    }


def test_without_an_asterisk_the_defaults_stand_for_what_is_not_named() -> None:
    """So that one more limit takes no other away."""
    limits = parse_limits(settings(read="7/minute"))
    assert [limits[action][0].amount for action in ("read", "emit", "sleep")] == [7, 60_000, 600]


def test_several_limits_of_one_action_have_names_of_their_own() -> None:
    """Shortest window first, whatever the order in the setting."""
    limits = parse_limits(settings(read="600 per minute; 10/second"))["read"]
    assert list(limits) == [Quota("read-1s", 10, 1), Quota("read-60s", 600, 60)]


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


OTHER = Principal("bot", "other", ("sleep:read-any", "sleep:emit-any"), 0)


def test_the_tenant_of_the_request_pays() -> None:
    """For what is done to it, and for what it emits, by any sender."""
    own = Principal("ops", "acme", ("sleep:read",), 0)
    assert {payer_of(budget, "acme", own) for budget in get_args(Budget)} == {TENANT}
    assert {payer_of(budget, "acme", OTHER) for budget in get_args(Budget) if budget not in ("read", "audit")} == {
        TENANT
    }


def test_a_read_of_another_tenant_is_paid_by_its_subject() -> None:
    """A dashboard uses up its own budget. The same name in two tenants is two subjects."""
    namesakes = [OTHER._replace(tenant=tenant) for tenant in (None, "other", "third")]
    payers = [payer_of("read", tenant, who) for who in namesakes for tenant in ("acme", "globex")]
    assert {payer.kind for payer in payers} == {"subject"}
    assert len(set(payers)) == 3
    assert payer_of("read", "other", OTHER) == Payer("tenant", "other")


def test_whoever_watches_all_tenants_pays_as_a_subject() -> None:
    """Not as an operator of the same name, whose budget another tenant's subject could otherwise use up."""
    watcher, operator = OTHER, OTHER._replace(scopes=("sleep:operate",))
    assert payer_of("watch", None, watcher) == payer_of("read", "acme", watcher)
    assert payer_of("watch", None, operator) == payer_of("read", "acme", operator) != payer_of("watch", None, watcher)


def test_an_operator_pays_alone_and_cannot_pass_for_anybody() -> None:
    """The subject is free text, so it is in no key as it came."""
    payers = [
        payer_of("sleep", "acme", Principal(subject, None, ("sleep:operate",), 0))
        for subject in ("a/read", "a", "acme")
    ]
    assert len(set(payers)) == 3
    assert {payer.kind for payer in payers} == {"operator"}
    assert all(len(payer.name) == 64 and payer.name.isalnum() for payer in payers)


# The window in Redis


async def test_a_window_moves(limited: LimitedRedis) -> None:
    """What was spent comes back exactly one window later, and what was refused never counted."""
    limiter = limited.limiter(read="2/minute")
    passed = [await limiter.spend(TENANT, "read", 1)]
    limited.clock.now += 20_000
    passed += [await limiter.spend(TENANT, "read", 1) for _ in range(3)]
    assert _passed(passed) == [True, True, False, False]
    limited.clock.now += 40_001
    assert _passed([await limiter.spend(TENANT, "read", 1) for _ in range(2)]) == [True, False]


async def test_a_verdict_says_what_is_left_and_until_when(limited: LimitedRedis) -> None:
    """Rounded up: who comes at that second passes."""
    limiter = limited.limiter(read="2/minute")
    first = await limiter.spend(TENANT, "read", 1)
    limited.clock.now += 20_500
    second = await limiter.spend(TENANT, "read", 1)
    refused = await limiter.spend(TENANT, "read", 1)
    assert [(verdict.statuses[0].remaining, verdict.statuses[0].reset_seconds) for verdict in (first, second)] == [
        (1, 60),
        (0, 40),
    ]
    assert refused.violated == QuotaStatus(Quota("read", 2, 60), 0, 40)


async def test_a_batch_costs_what_it_holds_and_waits_for_all_of_it(limited: LimitedRedis) -> None:
    """All of it passes or none."""
    limiter = limited.limiter(emit="10/minute")
    await limiter.spend(TENANT, "emit", 4)
    limited.clock.now += 10_000
    await limiter.spend(TENANT, "emit", 4)
    limited.clock.now += 10_000
    refused = [await limiter.spend(TENANT, "emit", cost) for cost in (3, 7)]
    assert [verdict.violated for verdict in refused] == [
        QuotaStatus(Quota("emit", 10, 60), 2, 40),
        QuotaStatus(Quota("emit", 10, 60), 2, 50),
    ]
    assert _passed([await limiter.spend(TENANT, "emit", 2)]) == [True]


async def test_a_batch_above_the_limit_itself_is_refused(limited: LimitedRedis) -> None:
    """However long nothing was sent; what it is told to wait for is the whole budget."""
    limiter = limited.limiter(emit="10/minute")
    assert (await limiter.spend(TENANT, "emit", 11)).violated == QuotaStatus(Quota("emit", 10, 60), 10, 60)
    await limiter.spend(TENANT, "emit", 4)
    limited.clock.now += 20_000
    assert (await limiter.spend(TENANT, "emit", 11)).violated == QuotaStatus(Quota("emit", 10, 60), 6, 40)


async def test_what_one_limit_refuses_costs_nothing_of_the_longer_ones(limited: LimitedRedis) -> None:
    """A flood that the seconds refuse does not eat up the hour."""
    limiter = limited.limiter(read="9/hour; 2/second")
    verdicts = [await limiter.spend(TENANT, "read", 1) for _ in range(5)]
    assert _passed(verdicts) == [True, True, False, False, False]
    assert verdicts[-1].violated == QuotaStatus(Quota("read-1s", 2, 1), 0, 1)
    assert verdicts[-1].headers() == {
        "RateLimit-Policy": '"read-1s";q=2;w=1, "read-3600s";q=9;w=3600',
        "RateLimit": '"read-1s";r=0;t=1, "read-3600s";r=7;t=3600',
    }


async def test_what_a_longer_limit_refuses_costs_nothing_of_the_shorter_ones(limited: LimitedRedis) -> None:
    """They were asked first, and had taken it already."""
    limiter = limited.limiter(emit="5/hour; 4/second")
    assert _passed([await limiter.spend(TENANT, "emit", 3)]) == [True]
    limited.clock.now += 2_000
    refused = await limiter.spend(TENANT, "emit", 3)
    assert refused.violated is not None
    assert [standing.remaining for standing in refused.statuses] == [4, 2]


async def test_what_was_refused_as_a_whole_is_given_back(limited: LimitedRedis) -> None:
    """Out of every window; of what others spent as much is left as before."""
    limiter = limited.limiter(emit="10/hour; 8/second")
    await limiter.spend(TENANT, "emit", 3)
    await limiter.spend(TENANT, "emit", 4)
    await limiter.refund(TENANT, "emit", 4)
    left = await limiter.spend(TENANT, "emit", 1)
    assert [standing.remaining for standing in left.statuses] == [4, 6]
    limited.redis.failure = RedisConnectionError("refused")
    with pytest.raises(UnavailableError):
        await limiter.refund(TENANT, "emit", 1)


async def test_each_payer_and_action_has_a_key_of_its_own(limited: LimitedRedis) -> None:
    """A tenant's lies where all else of its partition lies, so that one script of a cluster reaches both."""
    limiter = limited.limiter(any="1/minute")
    for payer in (TENANT, Payer("tenant", "other"), Payer("operator", "acme")):
        assert _passed([await limiter.spend(payer, "read", 1), await limiter.spend(payer, "list", 1)]) == [True, True]
    tags = {name: PartitionKeys("sleep", partition_of(name, 8)).tag for name in ("acme", "other")}
    assert set(limited.redis.lists) == {
        f"{place}:limit:{action}:60{ending}"
        for place, ending in (
            (tags["acme"], ":acme"),
            (tags["other"], ":other"),
            ("{sleep:operator:acme}", ""),
        )
        for action in ("read", "list")
    }


async def test_all_windows_of_a_budget_cost_one_round_trip(limited: LimitedRedis) -> None:
    """Those that refuse too."""
    limiter = limited.limiter(read="2/second; 9/hour; 20/day")
    await limiter.spend(TENANT, "read", 2)
    await limiter.spend(TENANT, "read", 1)
    assert limited.redis.round_trips == 2


async def test_what_left_the_window_leaves_redis(limited: LimitedRedis) -> None:
    """Thousands at once, by a search: a script that takes them one by one would hold up everybody."""
    limiter = limited.limiter(emit="5000/minute")
    await limiter.spend(TENANT, "emit", 3_000)
    limited.clock.now += 30_000
    await limiter.spend(TENANT, "emit", 7)
    limited.clock.now += 30_001
    verdict = await limiter.spend(TENANT, "emit", 1)
    assert verdict.statuses[0].remaining == 4_992
    assert [len(times) for times in limited.redis.lists.values()] == [8]


async def test_a_window_that_starts_in_the_future_is_no_longer_than_a_window(limited: LimitedRedis) -> None:
    """The clock of Redis went back."""
    limiter = limited.limiter(read="1/minute")
    limited.clock.now += 30_000
    await limiter.spend(TENANT, "read", 1)
    limited.clock.now = NOW
    refused = await limiter.spend(TENANT, "read", 1)
    assert refused.violated is not None
    assert refused.violated.reset_seconds == 60


@pytest.mark.parametrize("failure", [RedisConnectionError("refused"), OSError("refused"), TimeoutError()])
async def test_a_redis_that_is_away_lets_nobody_pass(limited: LimitedRedis, failure: Exception) -> None:
    """There is no count of our own to fall back on."""
    limited.redis.failure = failure
    with pytest.raises(UnavailableError, match="redis"):
        await limited.limiter(read="1/minute").spend(TENANT, "read", 1)


# What a caller sees


async def test_an_answer_says_what_is_left(api: ApiOverFakes) -> None:
    """In the two fields of the draft."""
    api.limiter.amount = 5
    answer = await api.client.get(READ)
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"read";q=5;w=60'
    assert answer.headers["RateLimit"] == '"read";r=4;t=42'


async def test_too_much_is_refused_with_when_to_come_back(api: ApiOverFakes) -> None:
    """The registered problem type, and nothing published."""
    api.limiter.amount, api.replies.answer = 1, outcome()
    assert (await api.client.post(READ, json=MODE)).status_code == 200
    published = len(api.log.published)
    refused = await api.client.post(READ, json=MODE)
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
    assert len(api.log.published) == published


async def test_a_tenant_that_floods_stops_neither_another_nor_the_operator(api: ApiOverFakes) -> None:
    """The operator's budget is their own, whichever tenants they look at."""
    api.limiter.amount = 2

    async def read(tenant: str | None = None, **claims: str | None) -> int:
        headers = {"Authorization": f"Bearer {token('ES256', header=None, **claims)}"}
        if tenant is not None:
            headers["X-Tenant-Id"] = tenant
        return (await api.client.get(READ, headers=headers)).status_code

    assert [await read() for _ in range(3)] == [200, 200, 429]
    assert await read(sub="another@acme") == 429
    assert await read(tenant_id="other", sub="ops@other") == 200
    operator: dict[str, str | None] = {"tenant_id": None, "scope": "sleep:operate", "sub": "root"}
    assert [await read(tenant, **operator) for tenant in ("acme", "other", "acme")] == [200, 200, 429]
    assert await read("acme", **operator | {"sub": "root-2"}) == 200


async def test_who_may_not_costs_the_tenant_nothing(api: ApiOverFakes) -> None:
    """Else a stranger could use up a tenant's budget; what the stranger uses up is their own, of refused requests."""
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    refused = await api.client.get(READ)
    assert refused.status_code == 403
    assert "RateLimit" not in refused.headers
    assert {(payer.kind, budget): spent for (payer, budget), spent in api.limiter.spent.items()} == {
        ("subject", "refused"): 1
    }


async def test_without_a_count_nothing_is_published(api: ApiOverFakes) -> None:
    """No answer of Redis is no permission."""
    api.limiter.failure = UnavailableError("redis", "connection refused")
    answer: httpx.Response = await api.client.post(READ, json=MODE)
    assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
    assert api.log.published == []
    assert api.store.receipts == {}


async def test_a_cost_is_taken_from_the_budget_and_a_larger_one_is_refused(api: ApiOverFakes) -> None:
    """As a batch does it."""
    principal = Principal("emitter", "acme", ("sleep:emit",), 0)
    headers: dict[str, str] = {}
    with InFlight().slot(principal, may_wake=False) as slot:
        who = Identity(principal, api.authoriser, api.limiter, {}, headers, slot)
        await who.spend("emit", "acme", 598)
        assert api.limiter.spent == {(TENANT, "emit"): 598}
        for cost, advice in ((3, "try again in 42 s"), (601, "send at most 600 at once")):
            with pytest.raises(ProblemError, match=advice):
                await who.spend("emit", "acme", cost)
    assert headers["RateLimit"] == '"emit";r=2;t=42'
