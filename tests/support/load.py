"""A seeded load of all types of events, good and bad, to compare the pipeline with a fold."""

import random
from collections.abc import Iterator
from typing import Any, Final

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from tests.support.events import event_bytes
from tests.support.records import Sent

_SOURCE: Final = "urn:test:load"
RUBBISH: Final = (b"{", b"[]", b'{"specversion":"0.3"}')
"""What the load holds of records that are no events."""
# Who asks, and why: they change from command to command, so that a renewal tells the old pair from the new one.
_ACTORS: Final = ("anna", "bob", "load")
_REASONS: Final = ("a storm", None, "a repair", "a test")
_BREAKER_STATES: Final = ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")
_POLICIES: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {"floor": "light"},
    {"ceiling": "deep", "min_sleep_seconds": 1},
    {"enforce": False},
    {"breakers": [{"match": "pay*", "quorum": 2, "open": "deep"}, {"match": "*", "lease_seconds": 2}]},
    {"floor": "freeze", "ceiling": "light"},
    {"ramp_seconds": {"deepen": 1.5, "wake": 0}, "max_ttl_seconds": 5},
)


def tenant_load(seed: int, count: int, *, tenants: int, partitions: int, now: int, ids: str = "") -> Iterator[Sent]:
    """Yield `count` records of `tenants` tenants, the same for the same arguments.

    `now` is in milliseconds; commands of loads with other `ids` have other ids.
    """
    chance = random.Random(seed)
    for index in range(count):
        tenant = f"tenant-{chance.randrange(tenants)}"
        partition = partition_of(tenant, partitions)
        if chance.random() < 0.02:
            yield Sent(tenant, chance.choice(RUBBISH), partition)
            continue
        type_, data = _event(chance, index, now, ids)
        value = event_bytes(type_, data, tenant, id_=f"{seed}-{index}", source=_SOURCE)
        yield Sent(tenant, value, partition)


def rules_for_all(number: int, rules: dict[str, Any], partitions: int) -> list[Sent]:
    """Return one rules record a partition."""
    data = {"rules": rules, "operation_id": f"rules-{number}", "actor": "tests"}
    value = event_bytes(events.RULES, data, None, id_=f"rules-{number}", source=_SOURCE)
    return [Sent(None, value, partition) for partition in range(partitions)]


def _event(chance: random.Random, index: int, now: int, ids: str) -> tuple[str, dict[str, Any]]:
    kind = chance.choices(("breaker", "operation", "cancel", "mode", "policy"), (70, 12, 6, 8, 4))[0]
    # A few ids come again, so that repeats and conflicts are met.
    operation_id = f"{ids}op-{chance.randrange(max(index // 8, 1))}"
    actor, reason = _ACTORS[index % len(_ACTORS)], _REASONS[index % len(_REASONS)]
    command: dict[str, Any] = {"operation_id": operation_id, "actor": actor, "reason": reason}
    if kind == "breaker":
        data: dict[str, Any] = {
            "breaker": chance.choice(("payments", "payroll", "search")),
            "instance": f"pod-{chance.randrange(3)}",
            "state": chance.choice(_BREAKER_STATES),
            "cause": reason,
        }
        if chance.random() < 0.3:
            data["occurred_at"] = now + chance.randrange(-5_000, 70_000)
        return events.BREAKER, data
    if kind == "operation":
        target = chance.choice(("light", "deep", "freeze"))
        return events.OPERATION, {**command, "target": target, "ttl_ms": chance.choice((0, 300, 1_500, 4_000, 10**9))}
    if kind == "cancel":
        return events.CANCEL, {**command, "operation_id": f"{ids}c-{index}", "cancels": operation_id}
    if kind == "mode":
        target = chance.choice(("active", "light", "deep", "freeze"))
        override = chance.random() < 0.3
        ttl = chance.choice((None, 800, 2_500))
        return events.MODE, {**command, "target": target, "override": override, "ttl_ms": ttl}
    policy = chance.choice(_POLICIES)
    return events.POLICY, {**command, "policy": policy, "if_version": chance.choice((None, None, 0, 1))}
