"""Receipts of commands in Redis: with the limits, the only data that the API writes there."""

from importlib import resources
from typing import Final, Protocol

from api.adapters.redis_store import Writes, asking
from api.adapters.redis_turns import RedisTurns
from api.commands.receipt import Receipt
from schemas.kafka.partitioner import partition_of
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys
from schemas.redis.client import RedisClient
from schemas.redis.command_memory import field_of, unpack
from schemas.redis.script import Script
from schemas.wire.operation import REMEMBERED_MS, OperationRecord

_LUA: Final = resources.files("api.adapters.lua")
_NOTE: Final = Script(_LUA.joinpath("receipt.lua").read_text("utf-8"))
_WITHDRAW: Final = Script(_LUA.joinpath("withdraw.lua").read_text("utf-8"))


class Receipts(Protocol):
    """The receipts of commands. Every method raises UnavailableError if Redis does not answer."""

    async def put(self, receipt: Receipt) -> bool:
        """Write the receipt of a command before it is published; False if its id already has a receipt."""
        ...

    async def note(self, receipt: Receipt) -> OperationRecord | None:
        """Write the receipt of a published command, or return the command's record, if the log remembers one.

        A receipt with a position replaces another one of the same id. A receipt without a position does not.
        """
        ...

    async def withdraw(self, receipt: Receipt) -> None:
        """Delete the receipt of a command that was not published, unless another receipt has replaced it."""
        ...


class RedisReceipts:
    """The receipts of one installation; see `Receipts`. Redis keeps each for a day. Each call is one round trip.

    Args:
        client: the client of the server or of the cluster.
        prefix: the first part of each key.
        partitions: the number of partitions; a receipt has the hash tag of its tenant's partition.
        writes: gets the result of each write.
        turns: the places for concurrent calls.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        partitions: int,
        writes: Writes | None = None,
        turns: RedisTurns | None = None,
    ) -> None:
        self._client = client
        self._writes = writes or Writes()
        self._turns = turns or RedisTurns()
        self._keys = [PartitionKeys(prefix, number) for number in range(partitions)]

    async def put(self, receipt: Receipt) -> bool:
        """Write a receipt; the first one of an id stays."""
        key = self._keys[self._partition(receipt)].receipt(receipt.tenant_id, receipt.operation_id)
        with self._writes.noting():
            async with asking(self._client, self._turns):
                written = await self._client.set(key, receipt.pack(), px=RECEIPT_KEPT_MS, nx=True)
                return written is not None

    async def note(self, receipt: Receipt) -> OperationRecord | None:
        """Write a receipt, or return the command's record, in one step."""
        tenant, operation_id = receipt.tenant_id, receipt.operation_id
        partition = self._partition(receipt)
        keys = self._keys[partition]
        names = [keys.receipt(tenant, operation_id), keys.operations]
        forgotten_to = receipt.created_at - REMEMBERED_MS
        arguments = [field_of(tenant, operation_id), receipt.pack(), RECEIPT_KEPT_MS, forgotten_to]
        if receipt.position is None:
            arguments.append("NX")
        with self._writes.noting():
            async with asking(self._client, self._turns):
                packed = await _NOTE.run(self._client, names, arguments)
                return None if packed is None else unpack(packed, partition, tenant, operation_id)

    async def withdraw(self, receipt: Receipt) -> None:
        """Delete a receipt that is still as it was put."""
        key = self._keys[self._partition(receipt)].receipt(receipt.tenant_id, receipt.operation_id)
        with self._writes.noting():
            async with asking(self._client, self._turns):
                await _WITHDRAW.run(self._client, [key], [receipt.pack()])

    def _partition(self, receipt: Receipt) -> int:
        return partition_of(receipt.tenant_id, len(self._keys))
