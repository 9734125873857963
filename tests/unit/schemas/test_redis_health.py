"""Whether a Redis is run as a database."""

import pytest

from schemas.redis.health import RedisHealth, clock_of, failed_write, judge, unknown

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
    findings = judge({"": {}})
    assert findings.bad == ()
    assert [warning.partition(" unknown")[0] for warning in findings.warnings] == [
        "maxmemory-policy is",
        "whether the AOF is on is",
        "the number of replicas is",
    ]
    assert unknown("NOPERM").warnings == ("how Redis is run is unknown: NOPERM",)


def test_an_embedded_redis_is_judged_by_its_eviction_only() -> None:
    """It is to survive nothing."""
    assert judge({"": {"maxmemory_policy": "noeviction", "aof_enabled": 0}}, durable=False) == RedisHealth()
    assert judge({"": {"maxmemory_policy": "allkeys-lru"}}, durable=False).bad


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"role": "slave", "master_host": "10.0.0.7", "master_port": 6379}, "a replica of 10.0.0.7:6379"),
        ({"used_memory": 2_000_001, "maxmemory": 2_000_000}, "memory is full (2000001 of 2000000 bytes)"),
        ({"min_slaves_good_slaves": 0}, "min-replicas-to-write"),
        ({"aof_last_write_status": "err"}, "the last write to the AOF failed"),
    ],
)
def test_a_server_that_takes_no_writes_is_bad_and_the_finding_says_what_to_do(
    info: dict[str, object], words: str
) -> None:
    """By its name; of the other server nothing is said."""
    [finding] = judge({"a:1": GOOD, "b:1": GOOD | info}).bad
    assert words in finding
    assert "(b:1): " in finding


def test_a_server_that_still_takes_writes_is_only_warned_of() -> None:
    """Memory that is nearly full, a snapshot that failed."""
    info = {"used_memory": 1_900_000, "maxmemory": 2_000_000, "rdb_last_bgsave_status": "err"}
    assert judge({"": GOOD}).warnings == ()
    findings = judge({"": GOOD | info})
    assert findings.bad == ()
    assert [warning.partition(" (")[0].partition(":")[0] for warning in findings.warnings] == [
        "memory is nearly full",
        "the last snapshot failed",
    ]
    assert judge({"": GOOD | {"used_memory": 7, "maxmemory": 0, "mem_not_counted_for_evict": 0}}) == RedisHealth()


@pytest.mark.parametrize(
    ("refusal", "cure"),
    [
        ("command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
        ("You can't write against a read only replica.", "SLEEP_REDIS_URL"),
        ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "look at the disk"),
        ("ERR something else", "the log of Redis"),
    ],
)
def test_a_refused_write_is_bad_whatever_info_says(refusal: str, cure: str) -> None:
    """It is what every write gets; a cause that INFO tells too is said once."""
    [finding] = judge({"b:1": GOOD}, {"b:1": refusal}).bad
    assert refusal in finding
    assert "(b:1)" in finding
    assert cure in finding
    assert cure in failed_write(refusal)
    assert len(judge({"": GOOD | {"role": "slave"}}, {"": "You can't write against a read only replica."}).bad) == 1


def test_the_time_of_a_server_is_in_its_info() -> None:
    """An old one does not tell."""
    assert clock_of({"server_time_usec": 1_795_334_837_992_123}) == 1_795_334_837_992
    assert clock_of({}) is None
