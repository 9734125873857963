"""Which partition a tenant belongs to."""

import pytest

from schemas.kafka.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(data: bytes, signed: int) -> None:
    """The vectors of Kafka's own test, as Java's signed integers."""
    assert murmur2(data) == signed % 2**32


@pytest.mark.parametrize(("tenant", "partitions"), [("acme", 1), ("acme", 8), ("21", 10), ("tenant:7@eu", 12)])
def test_a_partition_is_the_hash_s_low_31_bits_by_the_number_of_partitions(tenant: str, partitions: int) -> None:
    """As the default partitioner of the Java client has it."""
    assert partition_of(tenant, partitions) == (murmur2(tenant.encode()) & 0x7FFFFFFF) % partitions
    assert 0 <= partition_of(tenant, partitions) < partitions


def test_a_known_tenant_has_a_known_partition() -> None:
    """-973932308 with its sign bit off is 1173551340."""
    assert partition_of("21", 1000) == 340


def test_tenants_spread_over_all_partitions() -> None:
    """None of eight is left out by a thousand."""
    assert {partition_of(f"tenant-{number}", 8) for number in range(1000)} == set(range(8))
