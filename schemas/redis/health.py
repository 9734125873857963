"""Findings on how Redis is run, and whether it accepts writes, from `INFO`, which managed services allow too."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_POLICY: Final = "maxmemory_policy"
_AOF: Final = "aof_enabled"
_REPLICAS: Final = "connected_slaves"
_NEARLY_FULL: Final = 0.9
_CURES: Final = {
    "role": "point SLEEP_REDIS_URL at the primary, or make this server the primary (REPLICAOF NO ONE)",
    "memory": "raise maxmemory, or remove what does not belong on this Redis",
    "replicas": "bring replicas back, or lower min-replicas-to-write",
    "persistence": "look at the disk (space, permissions) and at the log of Redis",
    "other": "look at the log of Redis",
}
# Parts of the texts of refused writes. redis-py removes some of the codes (OOM, READONLY).
_WRITE_ERROR_CAUSES: Final = (
    ("maxmemory", "memory"),
    ("OOM", "memory"),
    ("read only", "role"),
    ("READONLY", "role"),
    ("NOREPLICAS", "replicas"),
    ("MISCONF", "persistence"),
)


class RedisHealth(NamedTuple):
    """Findings, a sentence each: `bad` refuses or may lose records, `warnings` are worth knowing."""

    bad: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(
    nodes: Mapping[str, Mapping[str, object]], write_errors: Mapping[str, str] | None = None, *, durable: bool = True
) -> RedisHealth:
    """Return the findings on the primaries' `INFO`.

    A server that refuses writes is bad. So is eviction, since it silently deletes records. Without an AOF or a replica,
    a crash costs time: lost records are replayed as far back as the log reaches, and otherwise need a rebuild.

    Args:
        nodes: the fields of `INFO` as redis-py parses them, by the node's name.
        write_errors: the errors of a write that changes nothing, by the node's name.
        durable: whether the data must survive the process; if not, only writes and eviction count.
    """
    bad: list[str] = []
    warnings: list[str] = []
    write_errors = write_errors or {}
    for name in dict.fromkeys((*nodes, *write_errors)):
        info, error = nodes.get(name, {}), write_errors.get(name)
        at = f" ({name})" if name else ""
        causes = dict(_unwritable(info))
        if error is not None:
            causes.setdefault(_cause(error), f"it refuses writes: {error}")
        bad += (f"{text}{at}: {_CURES[cause]}" for cause, text in causes.items())
        if name in nodes:
            _judge_settings(info, at, bad, warnings, durable=durable)
    return RedisHealth(tuple(bad), tuple(warnings))


def failed_write(error: str) -> str:
    """Return the finding on the last write of this process, which failed."""
    return f"the last write of this process failed: {error}: {_CURES[_cause(error)]}"


def _cause(error: str) -> str:
    return next((cause for text, cause in _WRITE_ERROR_CAUSES if text in error), "other")


def _unwritable(info: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the causes why a server refuses writes, with a clause for each."""
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        yield "role", f"this Redis is a replica of {primary} and takes no writes"
    used, limit = _memory(info)
    if 0 < limit < used:
        yield "memory", f"memory is full ({used} of {limit} bytes) and every write is refused"
    if info.get("min_slaves_good_slaves") == 0:
        yield "replicas", "no good replica is connected, and min-replicas-to-write refuses every write"
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "persistence", "the last write to the AOF failed, and every write is refused"


def _memory(info: Mapping[str, object]) -> tuple[int, int]:
    """Return the bytes that count against maxmemory, and maxmemory (0 means no limit)."""

    def of(field: str) -> int:
        value = info.get(field, 0)
        return value if isinstance(value, int) else 0

    return of("used_memory") - of("mem_not_counted_for_evict"), of("maxmemory")


def _judge_settings(info: Mapping[str, object], at: str, bad: list[str], warnings: list[str], *, durable: bool) -> None:
    """Add the findings on a server's configuration."""
    policy = info.get(_POLICY)
    if policy is None:
        warnings.append(f"maxmemory-policy is unknown{at}: INFO does not tell it; it must be noeviction")
    elif policy != "noeviction":
        bad.append(f"maxmemory-policy is {policy}{at} and must be noeviction: it takes away tenants' records")
    used, limit = _memory(info)
    if limit * _NEARLY_FULL < used <= limit:
        warnings.append(f"memory is nearly full{at} ({used} of {limit} bytes): {_CURES['memory']}")
    if not durable:
        return
    if _AOF not in info:
        warnings.append(f"whether the AOF is on is unknown{at}: INFO does not tell it")
    elif info[_AOF] != 1:
        warnings.append(f"the AOF is off{at}: set appendonly yes, or a crash goes back to the last snapshot")
    for field, what in (("rdb_last_bgsave_status", "snapshot"), ("aof_last_bgrewrite_status", "rewrite of the AOF")):
        if info.get(field, "ok") != "ok":
            warnings.append(f"the last {what} failed{at}: {_CURES['persistence']}")
    if _REPLICAS not in info:
        warnings.append(f"the number of replicas is unknown{at}: INFO does not tell it")
    elif info[_REPLICAS] == 0:
        warnings.append(f"no replica is connected{at}: while this server is away, the workers wait")


def clock_of(info: Mapping[str, object]) -> int | None:
    """Return the time of a server's clock in its `INFO`, in milliseconds, None without one."""
    microseconds = info.get("server_time_usec")
    return microseconds // 1_000 if isinstance(microseconds, int) else None


def unknown(reason: str) -> RedisHealth:
    """Return the finding on a Redis that refuses `INFO`."""
    return RedisHealth(warnings=(f"how Redis is run is unknown: {reason}",))
