"""A reader of the stream of states, as the pages describe it, without code of API or worker."""

from typing import Any

from schemas.kafka.partitioner import partition_of
from tests.support.sse import Event


def offset_of(position: str | None) -> int:
    """Return the offset of a position, -1 without one."""
    return -1 if position is None else int(position.partition(":")[2])


class StatesReader:
    """What one client knows of all tenants.

    Attributes:
        records: the last record of each tenant that was listed.
        rules: the last `rules` of each partition.
        last_id: the last id that came.
        ready: whether `ready` came since the last connection.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.rules: dict[int, dict[str, Any]] = {}
        self.last_id = ""
        self.ready = False
        self.resets: list[str] = []
        self.snapshots = 0
        self._snapshot: set[str] | None = None

    def connect(self) -> None:
        """Begin a connection, with `last_id` as `Last-Event-ID`."""
        self.ready = False
        self._snapshot = None if self.last_id else set()

    def take(self, event: Event) -> None:
        """Take an event."""
        if event.id is not None:
            self.last_id = event.id
        match event.name:
            case "reset":
                self.resets.append(event.data["reason"])
                self._snapshot = set()
            case "rules":
                self.rules[event.data["partition"]] = event.data
            case "state":
                self._state(event.data)
            case "gone":
                self._gone(event.data)
            case "ready":
                self._ready()
            case _:
                assert event.name in ("time", ""), event

    def _state(self, record: dict[str, Any]) -> None:
        tenant = record["tenant"]
        if self._snapshot is not None:
            self._snapshot.add(tenant)
        known = self.records.get(tenant)
        if known is None or offset_of(record["position"]) >= offset_of(known["position"]):
            self.records[tenant] = record

    def _gone(self, data: dict[str, Any]) -> None:
        known = self.records.get(data["tenant"])
        if known is not None and offset_of(data["position"]) >= offset_of(known["position"]):
            del self.records[data["tenant"]]

    def _ready(self) -> None:
        self.ready = True
        if self._snapshot is None:
            return
        self.snapshots += 1
        for tenant in self.records.keys() - self._snapshot:
            until = offset_of(self.rules[self.partition(tenant)]["position"])
            if offset_of(self.records[tenant]["position"]) <= until:
                del self.records[tenant]
        self._snapshot = None

    def partition(self, tenant: str) -> int:
        """Return the partition of a tenant."""
        return partition_of(tenant, next(iter(self.rules.values()))["partitions"])

    def state(self, tenant: str, now: int) -> tuple[str, dict[str, float]]:
        """Return the state and the parameters of a tenant at a time in milliseconds."""
        record = self.records.get(tenant)
        if record is None:
            return "active", self.rules[self.partition(tenant)]["active"]
        passed = [change for change in record["forecast"] if change["at"] <= now]
        present = passed[-1] if passed else record
        ramp = present["parameters"]
        length = ramp["ends_at"] - ramp["starts_at"]
        share = 1.0 if now >= ramp["ends_at"] else max(0.0, (now - ramp["starts_at"]) / max(length, 1))
        values = {
            name: ramp["to"][name] if share == 1.0 else start + (ramp["to"][name] - start) * share
            for name, start in ramp["from"].items()
        }
        return present["state"], values | {"K": int(values["K"] + 0.5)}
