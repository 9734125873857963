"""Whether a Redis is run as a database."""

import pytest

from schemas.redis_health import RedisHealth, judge, unknown

GOOD = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}


def test_a_redis_run_as_a_database_has_no_findings() -> None:
    """Every node of it."""
    assert judge({"a:1": GOOD, "b:1": GOOD}) == RedisHealth()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_eviction_is_bad(policy: str) -> None:
    """Of whatever kind: operations have an expiry, and are needed until then."""
    assert judge({"": GOOD | {"maxmemory_policy": policy}}) == RedisHealth(
        bad=(f"maxmemory-policy is {policy} and must be noeviction: it takes away tenants' records",)
    )


def test_what_costs_time_after_a_crash_is_a_warning_and_names_the_node() -> None:
    """Nothing is lost silently by it."""
    assert judge({"a:1": GOOD, "b:1": GOOD | {"aof_enabled": 0, "connected_slaves": 0}}) == RedisHealth(
        warnings=(
            "the AOF is off (b:1): set appendonly yes, or a crash goes back to the last snapshot",
            "no replica is connected (b:1): while this server is away, the workers wait",
        )
    )


def test_what_is_not_told_is_unknown_and_not_good() -> None:
    """Managed services hide some of it."""
    found = judge({"": {}})
    assert found.bad == ()
    assert [warning.partition(" unknown")[0] for warning in found.warnings] == [
        "maxmemory-policy is",
        "whether the AOF is on is",
        "the number of replicas is",
    ]
    assert unknown("NOPERM").warnings == ("how Redis is run is unknown: NOPERM",)


def test_an_embedded_redis_is_judged_by_its_eviction_only() -> None:
    """It is to survive nothing."""
    assert judge({"": {"maxmemory_policy": "noeviction", "aof_enabled": 0}}, durable=False) == RedisHealth()
    assert judge({"": {"maxmemory_policy": "allkeys-lru"}}, durable=False).bad
