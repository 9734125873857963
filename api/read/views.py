"""What a tenant is told about itself, from what the store holds; no configuration and no worker is needed."""

from typing import Any, NamedTuple

from api.clock import Clock
from api.publish.receipt import Receipt
from api.read.store import Store, TenantView
from api.read.whole import Traces, require_known
from schemas.deadlines import settle
from schemas.operation import OperationRecord
from schemas.policy import Policy
from schemas.public import present, preview


class PolicyView(NamedTuple):
    """The policy that holds for a tenant; version 0 and `default` where it has none of its own."""

    policy: dict[str, Any]
    policy_version: int
    default: bool


def operation_document(found: OperationRecord | Receipt, now: int) -> dict[str, Any]:
    """Return the public document of a command."""
    return found.as_json() if isinstance(found, Receipt) else found.as_json(now)


class Reads:
    """Answers questions about one tenant; what Redis has lost is unavailable, and not absent."""

    def __init__(self, store: Store, clock: Clock, traces: Traces) -> None:
        self._store = store
        self._clock = clock
        self._traces = traces

    async def _view(self, tenant: str) -> TenantView:
        view = await self._store.tenant(tenant)
        if view.whole:
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
        """Return the policy that holds for the tenant."""
        view = await self._view(tenant)
        own = None if view.record is None else view.record.policy
        version = 0 if view.record is None else view.record.policy_version
        return PolicyView((own or view.rules[-1].policy).document, version, own is None)

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return one command of the tenant, None if it is unknown."""
        found = await self._store.operation(tenant, operation_id)
        if found is None:
            await self._view(tenant)
        return found

    async def live_operations(self, tenant: str) -> list[dict[str, Any]]:
        """Return the documents of the operations that run now, oldest first."""
        view = await self._view(tenant)
        if view.record is None:
            return []
        now = self._clock()
        terms = view.rules[view.record.rules_number].terms_for(view.record.policy)
        record, _ = settle(view.record, terms, now)
        ids = [claim.key for claim in record.claims.values() if claim.source == "operation"]
        found = await self._store.operations(tenant, ids)
        found.sort(key=lambda operation: (operation.created_at, operation.operation_id))
        return [operation_document(operation, now) for operation in found]

    def document(self, found: OperationRecord | Receipt) -> dict[str, Any]:
        """Return the public document of a command as of now."""
        return operation_document(found, self._clock())
