"""Builders of outputs: an event as a worker appends it to the log, for the logs of `tests.support.fakes`."""

from itertools import islice
from typing import Any

from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from schemas.wire.events import BREAKER, OPERATION, RULES, TIMER
from tests.support.events import event_bytes
from worker.ports import Output


def breaker(tenant: str, state: str, name: str = "payments", instance: str = "pod-1", **more: object) -> Output:
    """Return a breaker's event as a record of the log."""
    return event(BREAKER, tenant, breaker=name, instance=instance, state=state, **more)


def operation(
    tenant: str, operation_id: str, ttl_ms: int | None = 60_000, target: str = "deep", **more: object
) -> Output:
    """Return the command that asks for a utility sleep."""
    return event(OPERATION, tenant, operation_id=operation_id, target=target, ttl_ms=ttl_ms, actor="ops", **more)


def timer(tenant: str, due_at: int) -> Output:
    """Return a timer."""
    return event(TIMER, tenant, due_at=due_at)


def rules(document: dict[str, Any]) -> Output:
    """Return new rules."""
    return event(RULES, None, rules=document, operation_id="rules-1", actor="ops")


def event(type_: str, tenant: str | None, **data: object) -> Output:
    """Return an event as a record of the log."""
    key = None if tenant is None else tenant.encode()
    return Output(key, event_bytes(type_, data, tenant), STRUCTURED_HEADERS)


def tenants_on(partition: int, partitions: int, count: int) -> list[str]:
    """Return tenants whose records belong to a partition."""
    names = (f"tenant-{number}" for number in range(1_000_000))
    on_partition = (name for name in names if partition_of(name, partitions) == partition)
    return list(islice(on_partition, count))
