"""Builders of events: documents with defaults that keyword arguments override, and their bytes.

`tests.support.records` makes records of a topic out of them, and `tests.support.outputs` what a worker appends.
"""

from collections.abc import Mapping
from typing import Any

from schemas.wire import cloudevents
from tests.support.times import MINUTE, T

Document = dict[str, Any]


def event(type_: str, data: Mapping[str, Any], tenant: str | None = "acme", **attributes: object) -> Document:
    """Return a CloudEvent in its structured form; attributes given as None are left out."""
    usual = {"specversion": "1.0", "id": "e-1", "source": "test", "type": type_, "subject": tenant, "data": dict(data)}
    return {name: value for name, value in (usual | attributes).items() if value is not None}


def breaker(
    state: str, name: str = "payments@1", *, tenant: str = "acme", time: str | None = None, **more: object
) -> Document:
    """Return a breaker's event, its claim's key given as `name@instance`."""
    breaker_, instance = name.split("@")
    data = {"breaker": breaker_, "instance": instance, "state": state, **more}
    return event("sleep.breaker.v1", data, tenant, time=time)


def sleep(
    operation_id: str, target: str = "deep", ttl_ms: object = MINUTE, *, tenant: str = "acme", **more: object
) -> Document:
    """Return a utility sleep."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", **more}
    return event("sleep.operation.v1", data, tenant)


def cancel(operation_id: str, cancels: str, *, tenant: str = "acme", **more: object) -> Document:
    """Return a cancel."""
    data = {"operation_id": operation_id, "cancels": cancels, "actor": "ops", **more}
    return event("sleep.cancel.v1", data, tenant)


def mode(operation_id: str, target: str, ttl_ms: object = None, *, tenant: str = "acme", **more: object) -> Document:
    """Return a mode, or with `override=True` a pin."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", **more}
    return event("sleep.mode.v1", data, tenant)


def pin(operation_id: str, target: str, ttl_ms: object = MINUTE, *, tenant: str = "acme", **more: object) -> Document:
    """Return a pin."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", "override": True, **more}
    return event("sleep.mode.v1", data, tenant)


def policy(operation_id: str, document: object, *, tenant: str = "acme", **more: object) -> Document:
    """Return a policy change."""
    data = {"operation_id": operation_id, "policy": document, "actor": "ops", **more}
    return event("sleep.policy.v1", data, tenant)


def rules(document: object) -> Document:
    """Return a change of the rules."""
    return event("sleep.rules.v1", {"rules": document, "operation_id": "r", "actor": "ops"}, None)


def timer(due_at: int = T, *, tenant: str = "acme") -> Document:
    """Return a timer."""
    return event("sleep.timer.v1", {"due_at": due_at}, tenant)


def event_bytes(
    type_: str,
    data: Mapping[str, Any],
    tenant: str | None = "acme",
    *,
    id_: str = "e",
    source: str = "urn:test",
    time: str | None = None,
) -> bytes:
    """Return a CloudEvent as our own clients write it to Kafka, in structured mode."""
    return cloudevents.encode(type_=type_, id_=id_, source=source, subject=tenant, time=time, data=dict(data))
