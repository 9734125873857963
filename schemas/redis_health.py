"""Whether a Redis is run as a database: judged from what `INFO` says, which managed services allow too."""

from collections.abc import Mapping
from typing import Final, NamedTuple

_POLICY: Final = "maxmemory_policy"
_AOF: Final = "aof_enabled"
_REPLICAS: Final = "connected_slaves"


class RedisHealth(NamedTuple):
    """What was found, a sentence each: what may lose records silently, and what is worth knowing."""

    bad: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(nodes: Mapping[str, Mapping[str, object]], *, durable: bool = True) -> RedisHealth:
    """Return the findings over the primaries' `INFO`, by the node's name.

    Eviction is bad, since it takes away what was decided and nobody notices. Without an AOF, or without a replica,
    a crash costs time: what it lost is folded again as far as the log reaches, else it is to be rebuilt.

    Args:
        nodes: the fields of `INFO` as redis-py parses them.
        durable: whether anything is to survive the process; an embedded Redis is judged by its eviction only.
    """
    bad: list[str] = []
    warnings: list[str] = []
    for name, info in nodes.items():
        at = f" ({name})" if name else ""
        policy = info.get(_POLICY)
        if policy is None:
            warnings.append(f"maxmemory-policy is unknown{at}: INFO does not tell it; it must be noeviction")
        elif policy != "noeviction":
            bad.append(f"maxmemory-policy is {policy}{at} and must be noeviction: it takes away tenants' records")
        if not durable:
            continue
        if _AOF not in info:
            warnings.append(f"whether the AOF is on is unknown{at}: INFO does not tell it")
        elif info[_AOF] != 1:
            warnings.append(f"the AOF is off{at}: set appendonly yes, or a crash goes back to the last snapshot")
        if _REPLICAS not in info:
            warnings.append(f"the number of replicas is unknown{at}: INFO does not tell it")
        elif info[_REPLICAS] == 0:
            warnings.append(f"no replica is connected{at}: while this server is away, the workers wait")
    return RedisHealth(tuple(bad), tuple(warnings))


def unknown(reason: str) -> RedisHealth:
    """Return the finding of a Redis that does not let us ask."""
    return RedisHealth(warnings=(f"how Redis is run is unknown: {reason}",))
