"""What the events of one connection change."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sleep_client.protocol.names import check_tenant
from sleep_client.reading.errors import BadStreamError
from sleep_client.reading.listed import Listed
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.record import Position, read_position, read_record
from sleep_client.reading.snapshot import PartitionRules, Snapshot
from sleep_client.reading.sse import Event
from sleep_client.reading.tenants import Tenants

_MOST: Final = 100_000
"""More partitions than a topic of Kafka has."""


class Changed:
    """What has changed since somebody asked: tenants by name, or everything."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._all = False

    def add(self, tenant: str) -> None:
        """Note a tenant."""
        self._names.add(tenant)

    def add_all(self) -> None:
        """Note that any tenant may have changed."""
        self._all = True

    def take(self) -> frozenset[str] | None:
        """Return the names since the last call, None if it may be any."""
        names, everything = frozenset(self._names), self._all
        self._names.clear()
        self._all = False
        return None if everything else names


class Intake:
    """Takes the events of one connection.

    A snapshot is kept aside until `ready`. What came after an id is taken at once, since each event stands alone.

    Args:
        tenants: what is known.
        clock: the log's.
        sets: reads parameters.
        changed: gets what changes.
        last_id: what the connection goes on from, "" for a snapshot.

    Attributes:
        last_id: what the next connection goes on from.
        ready: whether `ready` came.
    """

    def __init__(
        self, tenants: Tenants, clock: LogClock, sets: ParameterReader, changed: Changed, last_id: str
    ) -> None:
        self.last_id = last_id
        self.ready = False
        self._tenants = tenants
        self._clock = clock
        self._sets = sets
        self._changed = changed
        self._snapshot = None if last_id else Snapshot()

    def take(self, event: Event, local: float) -> bool:
        """Take an event. Unknown ones are ignored.

        Args:
            event: the event.
            local: the local clock, in seconds.

        Returns:
            Whether it had the log's time.

        Raises:
            BadStreamError: if it cannot be understood; then it changes nothing.
        """
        has_time = False
        match event.name:
            case "state":
                self._state(_document(event))
            case "gone":
                self._gone(_document(event))
            case "rules":
                self._rules(_document(event), local)
            case "ready" | "time":
                self._time(_document(event), local, ready=event.name == "ready")
                has_time = True
            case "reset":
                self._snapshot = Snapshot()
                self.ready = False
            case _:
                pass
        if event.id is not None:
            self.last_id = event.id
        return has_time

    def _state(self, document: Mapping[str, Any]) -> None:
        record = read_record(document, self._sets)
        if not self._tenants.is_watched(record.tenant):
            return
        check_name(record.tenant)
        partition, offset = record.position
        rules = self._tenants.rules_of(partition) if self._snapshot is None else self._snapshot.rules.get(partition)
        if rules is None:
            raise BadStreamError(f"a state came before the rules of its partition {partition}")
        listed = Listed(offset, record.phases, rules.default, own_policy=record.own_policy)
        if self._snapshot is None:
            if self._tenants.put(record.tenant, listed):
                self._changed.add(record.tenant)
            return
        before = self._snapshot.records.get(record.tenant)
        if before is None or before.offset <= offset:
            self._snapshot.records[record.tenant] = listed

    def _gone(self, document: Mapping[str, Any]) -> None:
        tenant = check_name(document.get("tenant"))
        offset = _offset(document.get("position"))
        if self._snapshot is None:
            if self._tenants.remove(tenant, offset):
                self._changed.add(tenant)
            return
        before = self._snapshot.records.get(tenant)
        if before is not None and before.offset <= offset:
            del self._snapshot.records[tenant]

    def _rules(self, document: Mapping[str, Any], local: float) -> None:
        partition, partitions = document.get("partition"), document.get("partitions")
        if type(partition) is not int or type(partitions) is not int or not 0 <= partition < partitions <= _MOST:
            raise BadStreamError("rules have no partition, or too many")
        try:
            default = self._sets.set(document["active"])
        except (KeyError, TypeError):
            raise BadStreamError("rules have no default active set") from None
        rules = PartitionRules(partition, partitions, _offset(document.get("position")), default)
        if self._snapshot is not None:
            self._snapshot.rules[partition] = rules
        elif self._tenants.set_rules(rules, self._clock.at(local)):
            self._changed.add_all()

    def _time(self, document: Mapping[str, Any], local: float, *, ready: bool) -> None:
        now = document.get("now")
        if type(now) is not int:
            raise BadStreamError("the log's time is missing")
        if ready and self._snapshot is not None:
            self._tenants.replace(self._snapshot)
            self._snapshot = None
            self._changed.add_all()
        self._clock.learn(now, local)
        self.ready = self.ready or ready
        self._tenants.expire(self._clock.at(local))


def _document(event: Event) -> Mapping[str, Any]:
    try:
        document = json.loads(event.data)
    except (ValueError, RecursionError):
        raise BadStreamError(f"the data of an event {event.name!r:.20} is no JSON") from None
    if not isinstance(document, dict):
        raise BadStreamError(f"the data of an event {event.name!r:.20} is no object")
    return document


def check_name(tenant: object) -> str:
    """Return a tenant's name in the data of an event.

    Raises:
        BadStreamError: if it is none.
    """
    try:
        return check_tenant(tenant)
    except ValueError as error:
        raise BadStreamError(str(error)) from None


def _offset(position: object) -> int:
    return (Position(0, -1) if position is None else read_position(position)).offset
