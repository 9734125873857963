"""The partition of a tenant: Kafka's default partitioner."""

from functools import lru_cache
from typing import Final

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def partition_of(tenant: str, partitions: int) -> int:
    """Return the partition of a tenant's key: Kafka's murmur2 of its bytes, without the sign, modulo `partitions`."""
    data = tenant.encode()
    mixed = _SEED ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        block = (block ^ block >> 24) * _M & _MASK
        mixed = (mixed * _M & _MASK) ^ block
    if rest := data[whole:]:
        mixed = (mixed ^ int.from_bytes(rest, "little")) * _M & _MASK
    mixed = (mixed ^ mixed >> 13) * _M & _MASK
    return ((mixed ^ mixed >> 15) & 0x7FFFFFFF) % partitions
