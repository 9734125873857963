"""What a lane remembers of tenants is bounded, in tenants and in bytes."""

from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record
from tests.support.times import T
from worker.partition.record_cache import RecordCache

RECORD = new_record(BUILT_IN_RULES, T)


def test_those_that_were_committed_longest_ago_are_forgotten() -> None:
    """Beyond the number of tenants; a tenant without a record counts too."""
    memory = RecordCache(most_tenants=2)
    for tenant in ("a", "b", "a", "c"):
        memory.remember(tenant, RECORD if tenant != "c" else None, 10)
    assert dict(memory) == {"a": RECORD, "c": None}


def test_large_records_are_forgotten_sooner() -> None:
    """Beyond the number of bytes; what a tenant's earlier record took is free again."""
    memory = RecordCache(most_bytes=100)
    for tenant, size in (("a", 60), ("b", 30), ("a", 70)):
        memory.remember(tenant, RECORD, size)
    assert list(memory) == ["b", "a"]
    memory.remember("c", RECORD, 80)
    assert list(memory) == ["c"]
    memory.remember("d", RECORD, 101)
    assert len(memory) == 0


def test_everything_is_forgotten_at_once() -> None:
    """And there is all the room again."""
    memory = RecordCache(most_bytes=100)
    memory.remember("a", RECORD, 100)
    memory.clear()
    memory.remember("b", RECORD, 100)
    assert list(memory) == ["b"]
