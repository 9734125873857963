"""Queries about one tenant, answered from the store without settings and without a worker."""

from typing import Any, NamedTuple, Self

from api.adapters.redis_store import Store, TenantView
from api.commands.receipt import Receipt
from api.queries.completeness import Traces, require_known
from schemas.clock import Clock
from schemas.domain.deadlines import settle
from schemas.domain.explanation import notes_on
from schemas.domain.policy import Policy
from schemas.wire.operation import OperationRecord
from schemas.wire.tenant_view import present, preview


class PolicyView(NamedTuple):
    """The policy in force for a tenant; version 0 and `default` if it has none of its own."""

    policy: dict[str, Any]
    policy_version: int
    default: bool
    notes: list[str]

    @classmethod
    def of(cls, policy: Policy, version: int, *, default: bool) -> Self:
        """Return the view of a policy, with its notes for people."""
        return cls(policy.document, version, default, notes_on(policy))


def operation_document(command: OperationRecord | Receipt, now: int) -> dict[str, Any]:
    """Return the public document of a command."""
    return command.as_json() if isinstance(command, Receipt) else command.as_json(now)


class Reads:
    """Answers queries about one tenant. Data that Redis has lost is unavailable, and not absent."""

    def __init__(self, store: Store, clock: Clock, traces: Traces) -> None:
        self._store = store
        self._clock = clock
        self._traces = traces

    async def _view(self, tenant: str) -> TenantView:
        view = await self._store.tenant(tenant)
        if view.complete:
            return view
        await require_known(self._store, self._traces, view.partition)
        return await self._store.tenant(tenant)

    async def present(self, tenant: str) -> dict[str, Any]:
        """Return the tenant as it is now."""
        view = await self._view(tenant)
        return present(tenant, view.partition, view.record, view.rules, self._clock())

    async def preview(self, tenant: str, policy: Policy) -> dict[str, Any]:
        """Return the tenant as it is now, and as it would be under a policy."""
        view = await self._view(tenant)
        now = self._clock()
        of_tenant = (tenant, view.partition, view.record, view.rules)
        return {"before": present(*of_tenant, now), "after": preview(*of_tenant, policy, now)}

    async def policy(self, tenant: str) -> PolicyView:
        """Return the policy in force for the tenant."""
        view = await self._view(tenant)
        own = None if view.record is None else view.record.policy
        version = 0 if view.record is None else view.record.policy_version
        return PolicyView.of(own or view.rules[-1].policy, version, default=own is None)

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return one command of the tenant, None if it is unknown."""
        command = await self._store.operation(tenant, operation_id)
        if command is None:
            await self._view(tenant)
        return command

    async def live_operations(self, tenant: str) -> list[dict[str, Any]]:
        """Return the documents of the live operations, oldest first."""
        view = await self._view(tenant)
        if view.record is None:
            return []
        now = self._clock()
        terms = view.rules[view.record.rules_number].terms_for(view.record.policy)
        record, _ = settle(view.record, terms, now)
        ids = [claim.key for claim in record.claims.values() if claim.source == "operation"]
        operations = await self._store.operations(tenant, ids)
        operations.sort(key=lambda operation: (operation.created_at, operation.operation_id))
        return [operation_document(operation, now) for operation in operations]

    def document(self, command: OperationRecord | Receipt) -> dict[str, Any]:
        """Return the public document of a command as of now."""
        return operation_document(command, self._clock())
