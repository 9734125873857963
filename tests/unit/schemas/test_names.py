"""Names of topics, keys and channels."""

from itertools import combinations

from schemas.names import PartitionKeys, Topics, reply_channel, rules_key


def test_topics_carry_the_prefix() -> None:
    """The five of specification.md#topics."""
    assert Topics.of("sleep") == (
        "sleep.events",
        "sleep.states",
        "sleep.transitions",
        "sleep.breakers",
        "sleep.deadletter",
    )


def every_key(keys: PartitionKeys) -> list[str]:
    """Return a key of each kind."""
    fixed = [keys.progress, keys.tenants, keys.timers, keys.counts, keys.open]
    return [*fixed, keys.operation("acme", "op-1"), keys.receipt("acme", "op-1")]


def test_all_keys_of_a_partition_share_its_hash_tag() -> None:
    """So that one script may touch them all, on a cluster too."""
    assert all(key.startswith("{sleep:3}:") for key in every_key(PartitionKeys("sleep", 3)))
    assert PartitionKeys("sleep", 3).progress == "{sleep:3}:progress"


def test_keys_of_different_kinds_and_partitions_differ() -> None:
    """No two are the same."""
    matching = [key for partition in (1, 11) for key in every_key(PartitionKeys("sleep", partition))]
    assert all(one != other for one, other in combinations(matching, 2))


def test_a_tenant_and_an_id_are_told_apart() -> None:
    """An id may hold a slash, a tenant may not."""
    keys = PartitionKeys("sleep", 0)
    assert keys.operation("a", "b/c") != keys.operation("a:b", "c")
    assert keys.operation("a", "b") == "{sleep:0}:operation:a/b"


def test_a_process_hears_on_its_own_channel() -> None:
    """`<prefix>:reply:<uuid>`."""
    assert reply_channel("sleep", "018f") == "sleep:reply:018f"


def test_a_rules_key_is_no_tenant() -> None:
    """A tenant's id holds no asterisk."""
    assert rules_key(7) == "*rules:7"
