"""Fresh ids of operations and requests."""

import os
from typing import Final
from uuid import UUID

_TIME_BITS: Final = 48
_RANDOM_A_BITS: Final = 12
_RANDOM_B_BITS: Final = 62


def uuid7(now: int, random: bytes) -> UUID:
    """Return a UUIDv7 (RFC 9562): 48 bits of time in milliseconds, then 74 of the 80 random bits given."""
    bits = int.from_bytes(random, "big")
    random_a = bits & ((1 << _RANDOM_A_BITS) - 1)
    random_b = (bits >> _RANDOM_A_BITS) & ((1 << _RANDOM_B_BITS) - 1)
    time_bits = now & ((1 << _TIME_BITS) - 1)
    return UUID(int=time_bits << 80 | 7 << 76 | random_a << 64 | 0b10 << 62 | random_b)


def new_id(now: int) -> str:
    """Return a new operation id. Ids sort by the millisecond in which they were made."""
    return str(uuid7(now, os.urandom(10)))
