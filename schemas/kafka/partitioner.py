"""The partition of a tenant: Kafka's default partitioner."""

from struct import iter_unpack
from typing import Final

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of Kafka's Java client (`org.apache.kafka.common.utils.Utils.murmur2`)."""
    length = len(data)
    hashed = _SEED ^ length
    blocks = length & ~3
    for (number,) in iter_unpack("<I", data[:blocks]):
        block = number * _M & _MASK
        hashed = (hashed * _M ^ (block ^ block >> 24) * _M) & _MASK
    if blocks != length:
        hashed = (hashed ^ int.from_bytes(data[blocks:], "little")) * _M & _MASK
    hashed = (hashed ^ hashed >> 13) * _M & _MASK
    return hashed ^ hashed >> 15


def partition_of(tenant: str, partitions: int) -> int:
    """Return the partition of a tenant's key among `partitions`."""
    return (murmur2(tenant.encode()) & 0x7FFFFFFF) % partitions
