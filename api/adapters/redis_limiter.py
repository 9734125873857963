"""Moving windows in Redis: what each payer took from each budget, counted by all processes together."""

import math
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from api.adapters.redis_receipts import Receipts
from api.adapters.redis_store import Writes, asking
from api.adapters.redis_turns import RedisTurns
from api.commands.receipt import Receipt
from api.security.rate_limits import Payer, Quota, QuotaStatus, Verdict
from schemas.budgets import Budget
from schemas.kafka.partitioner import partition_of
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys, limit_key
from schemas.redis.client import RedisClient
from schemas.redis.script import Script

_SPEND: Final = Script(resources.files("api.adapters.lua").joinpath("spend.lua").read_text("utf-8"))


class RedisLimiter:
    """The limits of one installation; see `Limiter`.

    A window is a list with the time of each unit that was taken, by the clock of Redis. One script checks all windows
    of a budget, and takes from all or from none. So concurrent callers are counted exactly, in any number of processes.
    Of several quotas with too little left, the one with the shortest window refuses.

    Args:
        client: the client of the server or of the cluster.
        prefix: the first part of each key.
        partitions: the number of partitions; a tenant's windows share the hash tag of its partition.
        limits: the quotas of each budget, the shortest window first.
        receipts: writes the receipt where another payer than its tenant pays. The keys of that payer are in another
            hash slot, so one script cannot write both.
        writes: gets the result of each write.
        turns: the places for concurrent calls.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        partitions: int,
        limits: Mapping[Budget, tuple[Quota, ...]],
        receipts: Receipts,
        writes: Writes | None = None,
        turns: RedisTurns | None = None,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._keys = [PartitionKeys(prefix, number) for number in range(partitions)]
        self._limits = limits
        self._receipts = receipts
        self._arguments = {
            budget: [len(quotas), *(number for quota in quotas for number in (quota.amount, quota.seconds))]
            for budget, quotas in limits.items()
        }
        self._writes = writes or Writes()
        self._turns = turns or RedisTurns()

    async def spend(self, payer: Payer, budget: Budget, cost: int, receipt: Receipt | None = None) -> Verdict:
        """Take the cost from all windows of the budget or from none, and read what is left, in one round trip.

        The receipt of a tenant that pays itself is written in the same step, another one after it.
        """
        quotas = self._limits[budget]
        keys = self._windows(payer, budget)
        arguments: list[Any] = [cost, *self._arguments[budget]]
        own = receipt if receipt is not None and payer == ("tenant", receipt.tenant_id) else None
        if own is not None:
            keys.append(self._keys_of(own.tenant_id).receipt(own.tenant_id, own.operation_id))
            arguments += [own.pack(), RECEIPT_KEPT_MS]
        with self._writes.noting():
            async with asking(self._client, self._turns):
                refusing, written, *left = await _SPEND.run(self._client, keys, arguments)
        statuses = tuple(
            QuotaStatus(quota, remaining, _bounded(float(seconds), quota))
            for quota, remaining, seconds in zip(quotas, left[::2], left[1::2], strict=True)
        )
        if refusing:
            return Verdict(statuses, statuses[refusing - 1])
        if receipt is not None and own is None:
            written = await self._receipts.put(receipt)
        return Verdict(statuses, None, noted=bool(written))

    async def refund(self, payer: Payer, budget: Budget, cost: int) -> None:
        """Remove the newest `cost` units from each window of the budget. They need not be the caller's own."""
        with self._writes.noting():
            async with asking(self._client, self._turns):
                pipeline = self._client.pipeline(transaction=False)
                for key in self._windows(payer, budget):
                    pipeline.execute_command("LTRIM", key, cost, -1)
                await pipeline.execute()

    def _keys_of(self, tenant: str) -> PartitionKeys:
        return self._keys[partition_of(tenant, len(self._keys))]

    def _windows(self, payer: Payer, budget: Budget) -> list[str]:
        """Return the key of each window; those of a payer share a hash tag."""
        kind, name = payer
        quotas = self._limits[budget]
        if kind == "tenant":
            keys = self._keys_of(name)
            return [keys.limit(name, budget, quota.seconds) for quota in quotas]
        return [limit_key(self._prefix, kind, name, budget, quota.seconds) for quota in quotas]


def _bounded(seconds: float, quota: Quota) -> int:
    # At least 1, since "now" was just refused. At most the window, even if the clock of Redis was set back.
    return min(max(math.ceil(seconds), 1), quota.seconds)
