"""The records of tenants that a lane knows from its own last commits."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

from schemas.domain.record import Record

# About 2 KiB each.
_MOST_TENANTS: Final = 10_000
# Packed size. A record with 256 breakers has 60 KiB packed, and about four times that as objects.
_MOST_BYTES: Final = 4 << 20


class RecordCache(Mapping[str, Record | None]):
    """Records by tenant, None for a tenant without a record. The records committed longest ago are evicted first."""

    def __init__(self, most_tenants: int = _MOST_TENANTS, most_bytes: int = _MOST_BYTES) -> None:
        self._most_tenants = most_tenants
        self._most_bytes = most_bytes
        self._bytes = 0
        self._records: OrderedDict[str, tuple[Record | None, int]] = OrderedDict()

    def __getitem__(self, tenant: str) -> Record | None:
        return self._records[tenant][0]

    def __contains__(self, tenant: object) -> bool:
        return tenant in self._records  # That of `Mapping` would raise and catch an error for each new tenant.

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def remember(self, tenant: str, record: Record | None, size: int) -> None:
        """Keep a tenant's record instead of an earlier one; `size` is the size of its packed form in bytes."""
        self.forget(tenant)
        self._records[tenant] = record, size
        self._bytes += size
        while len(self._records) > self._most_tenants or self._bytes > self._most_bytes:
            self.forget(next(iter(self._records)))

    def forget(self, tenant: str) -> None:
        """Forget a tenant's record, if there is one."""
        _, size = self._records.pop(tenant, (None, 0))
        self._bytes -= size

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()
        self._bytes = 0
