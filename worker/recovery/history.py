"""What a partition of the states topic tells of the past: each tenant's versions, and all rules.

Compaction keeps the last record of a key, so a topic read whole holds each tenant's latest state, and for some
time earlier ones too. A reader ignores a position below the one that it holds, and so does this.
"""

from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.partition import partition_of
from schemas.policy import BUILT_IN_RULES, InvalidDocumentError, Rules, parse_rules
from schemas.published import parse_position, record_of
from schemas.record import Record
from worker.batch import POSITION_HEADER
from worker.deadletter import SourceRecord
from worker.recovery.aside import SetAside
from worker.start import OTHER_COUNT

_RULES: Final = b"*rules:"


class ImpossibleError(Exception):
    """What topics and Redis hold cannot come from one history; the message says what, where, and what to do."""


class Version(NamedTuple):
    """A tenant's state at an offset of the events topic; `value` is the state record, None for a tombstone."""

    offset: int
    value: bytes | None

    def document(self) -> dict[str, Any] | None:
        """Return the state record, None for a tombstone."""
        found: dict[str, Any] | None = None if self.value is None else from_json(self.value)
        return found


class Versions(NamedTuple):
    """Of a tenant the version with the highest position, the last on the topic, and two at a dividing offset.

    `settled` is the one with the highest position before it, `first` the first on the topic that is not.
    """

    highest: Version
    last: Version
    settled: Version | None
    first: Version | None

    @property
    def base(self) -> Version | None:
        """The version to go on from; None for a tenant that had no record before the dividing offset.

        One that is settled, since what was sent with a later one may not have been acknowledged. Where compaction
        has left none such, the latest.
        """
        if self.settled is not None:
            return self.settled
        document = None if self.first is None else self.first.document()
        return None if document is not None and document["version"] == 1 else self.highest

    def before(self, end: int) -> "Versions | None":
        """Return those that stem from before an offset, None where there are none."""
        if self.highest.offset < end:
            return self
        found = [version for version in (self.settled, self.first, self.last) if version and version.offset < end]
        if not found:
            return None
        highest = max(found, key=lambda version: version.offset)
        first = next((version for version in (self.first, self.last) if version in found), None)
        return Versions(highest, highest, self.settled, None if first == self.settled else first)


class History:
    """A partition of the states topic, read from its start.

    Args:
        partition, partitions: the partition's number, and how many there are.
        before: versions at this offset of the events topic or later are only noted, None for none.
        settled: the dividing offset of the events topic. For a rebuild, what stems from before it was acknowledged
            whole. None: everything is before it.
        aside: told of every position that something here stems from.

    Attributes:
        tenants: the versions of each tenant.
        ahead: tenants with a version at `before` or later, and its offset, the highest of each.
        erased: tenants of which a tombstone sent by hand took away what stood before it.
        stems: for each tenant a place of the log from which a state stems, so that the log must hold its record there.
        newest: the highest offset of the events topic that anything here stems from, -1 for none.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        *,
        before: int | None = None,
        settled: int | None = None,
        aside: SetAside | None = None,
    ) -> None:
        self.tenants: dict[str, Versions] = {}
        self.ahead: dict[str, int] = {}
        self.erased: set[str] = set()
        self.stems: dict[int, str] = {}
        self.newest = -1
        self._partition = partition
        self._partitions = partitions
        self._before = before
        self._settled = settled
        self._aside = aside
        self._rules: dict[int, tuple[int, Rules]] = {}

    def read(self, record: SourceRecord) -> None:
        """Take the next record of the topic.

        Raises:
            ImpossibleError: if it is none of ours, or of another partition count.
        """
        try:
            self._read(record)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidDocumentError) as error:
            raise ImpossibleError(
                f"states topic {self._partition}:{record.offset}: not a record of ours ({error}); if somebody else "
                "wrote it, send a tombstone for its key"
            ) from error

    def _read(self, record: SourceRecord) -> None:
        if record.key is None:
            msg = "it has no key"
            raise ValueError(msg)
        if record.key.startswith(_RULES):
            number = int(record.key.removeprefix(_RULES))
            if record.value is None:
                self._rules.pop(number, None)
            else:
                self._read_rules(number, from_json(record.value))
            return
        tenant = record.key.decode()
        if record.value is None:
            headers = dict(record.headers)
            if POSITION_HEADER not in headers:
                # Sent by hand, to take away what was none of ours.
                self.tenants.pop(tenant, None)
                self.erased.add(tenant)
                return
            position = headers[POSITION_HEADER].decode()
        else:
            document = from_json(record.value)
            if document["tenant"] != tenant:
                msg = f"key {tenant!r} is not the record's tenant {document['tenant']!r}"
                raise ValueError(msg)
            position = document["position"]
        self._read_version(tenant, self._offset_of(position, record.key), record.value)

    def _read_version(self, tenant: str, offset: int, value: bytes | None) -> None:
        if partition_of(tenant, self._partitions) != self._partition:
            raise ImpossibleError(
                f"tenant {tenant} is on states partition {self._partition} of {self._partitions}, "
                f"and belongs on {partition_of(tenant, self._partitions)}: {OTHER_COUNT}"
            )
        if self._before is not None and offset >= self._before:
            self.ahead[tenant] = max(self.ahead.get(tenant, offset), offset)
            return
        version = Version(offset, value)
        # A tombstone that a repair sent has a position of its own.
        if value is not None and tenant not in self.tenants:
            self.stems[offset] = tenant
        known = self.tenants.get(tenant) or Versions(version, version, None, None)
        settled, first = known.settled, known.first
        if self._settled is None or offset < self._settled:
            settled = _higher(settled, version)
        elif first is None:
            first = version
        self.tenants[tenant] = Versions(_higher(known.highest, version), version, settled, first)

    def _read_rules(self, number: int, document: dict[str, Any]) -> None:
        offset = self._offset_of(document["position"], None)
        if document["number"] != number:
            msg = f"it has number {document['number']}"
            raise ValueError(msg)
        if self._before is None or offset < self._before:
            self._rules[number] = offset, parse_rules(number, document["rules"])

    def _offset_of(self, position: str, key: bytes | None) -> int:
        partition, offset = parse_position(position)
        if partition != self._partition:
            raise ImpossibleError(f"position {position} is on states partition {self._partition}: {OTHER_COUNT}")
        self.newest = max(self.newest, offset)
        if self._aside is not None:
            self._aside.folded(offset, key)
        return offset

    def rules(self, before: int | None = None) -> list[Rules]:
        """Return all rules by number, the built-in ones first; those in force before an offset, if one is given.

        Raises:
            ImpossibleError: if a number is missing.
        """
        found = [rules for _, (offset, rules) in sorted(self._rules.items()) if before is None or offset < before]
        for number, rules in enumerate(found, start=1):
            if rules.number != number:
                raise ImpossibleError(
                    f"states partition {self._partition} lacks the rules of number {number}; without them nothing "
                    "can be rebuilt from it: restore Redis from its own backup or AOF"
                )
        return [BUILT_IN_RULES, *found]

    def record(self, tenant: str, version: Version) -> Record | None:
        """Return a version as the fold knows it, None for a tombstone.

        Raises:
            ImpossibleError: if it is not a state record.
        """
        document = version.document()
        try:
            return None if document is None else record_of(document)
        except ValueError as error:
            raise ImpossibleError(
                f"states partition {self._partition}, tenant {tenant} at {version.offset}: {error}"
            ) from error


def _higher(known: Version | None, version: Version) -> Version:
    return version if known is None or version.offset >= known.offset else known
