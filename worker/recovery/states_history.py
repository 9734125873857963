"""The history of a partition of the states topic: each tenant's versions, and all rules. Pure.

Compaction keeps the last record of a key. So the topic holds each tenant's latest state, and for some time earlier
states too. Readers of the topic ignore a position below the one that they have, and so does this module.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.domain.policy import BUILT_IN_RULES, InvalidDocumentError, Rules, parse_rules
from schemas.domain.record import Record
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord, Unreadable
from schemas.wire.state_record import NEW_HEADER, POSITION_HEADER, parse_position, parse_state_record
from worker.partition.startup_checks import OTHER_COUNT
from worker.recovery.errors import ContradictionError
from worker.recovery.skipped_records import SkippedRecords

_RULES: Final = b"*rules:"
_ANY_OFFSET: Final = 1 << 63


class Version(NamedTuple):
    """A tenant's state at an offset of the events topic.

    Attributes:
        offset: of the event that made it.
        value: the state record, None for a tombstone.
        new_at: an offset at which the tenant had no record yet, None if it had one before.
    """

    offset: int
    value: bytes | None
    new_at: int | None = None

    def document(self) -> dict[str, Any] | None:
        """Return the state record, None for a tombstone."""
        document: dict[str, Any] | None = None if self.value is None else from_json(self.value)
        return document


class Versions(NamedTuple):
    """Four versions of a tenant's state.

    Attributes:
        highest: the version with the highest position.
        last: the last version on the topic.
        settled: the version with the highest position before the dividing offset.
        first: the first version on the topic that is not before the dividing offset.
    """

    highest: Version
    last: Version
    settled: Version | None
    first: Version | None

    @property
    def base(self) -> Version | None:
        """The version to resume from; None for a tenant that had no record before the dividing offset.

        The settled version, since outputs that were sent with a later one may not have been acknowledged. If compaction
        has removed it, the first later version.
        """
        return self.settled or (self.first if self.new_at is None else None)

    @property
    def new_at(self) -> int | None:
        """An offset at which the tenant had no record, by the first version after the dividing offset."""
        return None if self.first is None else self.first.new_at

    def before(self, end: int) -> "Versions | None":
        """Return the versions from before an offset, None if there are none."""
        if self.highest.offset < end:
            return self
        earlier = [version for version in (self.settled, self.first, self.last) if version and version.offset < end]
        if not earlier:
            return None
        highest = max(earlier, key=lambda version: version.offset)
        first = next((version for version in (self.first, self.last) if version in earlier), None)
        return Versions(highest, highest, self.settled, None if first == self.settled else first)


class StatesHistory:
    """A partition of the states topic, read from its start.

    Args:
        partition, partitions: the partition's number, and how many there are.
        before: versions at this offset of the events topic or later go only into `ahead`; None for no limit.
        settled: the dividing offset of the events topic. In a rebuild, all outputs of events before it were
            acknowledged. None: every version is before it.
        skipped: learns of every position from which a record here stems.

    Attributes:
        partition: its number.
        tenants: the versions of each tenant.
        ahead: tenants with a version at `before` or later, and the highest offset of each.
        erased: tenants whose states were removed by a tombstone that a person sent.
        stems: the tenant of each offset from which a state stems; the log must hold the tenant's record there.
        newest: the highest offset of the events topic from which a record here stems, -1 for none.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        *,
        before: int | None = None,
        settled: int | None = None,
        skipped: SkippedRecords | None = None,
    ) -> None:
        self.partition = partition
        self.tenants: dict[str, Versions] = {}
        self.ahead: dict[str, int] = {}
        self.erased: set[str] = set()
        self.stems: dict[int, str] = {}
        self.newest = -1
        self._partitions = partitions
        self._before = before
        self._settled = settled
        self._skipped = skipped
        self._rules: dict[int, tuple[int, Rules]] = {}

    def read(self, record: SourceRecord) -> None:
        """Take the next record of the topic.

        Raises:
            ContradictionError: if no worker wrote it, or a worker with another partition count did.
        """
        if isinstance(record, Unreadable) and record.batch:
            raise ContradictionError(
                f"states topic {self.partition}: {record.failure.message}. The rebuild needs this batch: restore Redis "
                "from its own backup or AOF"
            )
        try:
            self._read(record)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidDocumentError) as error:
            raise ContradictionError(
                f"states topic {self.partition}:{record.offset}: no worker wrote this record ({error}). If another "
                "program did, send a tombstone for its key"
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
        tenant, headers = record.key.decode(), dict(record.headers)
        if record.value is None:
            if POSITION_HEADER not in headers:
                # A person sent it, to remove a record that no worker wrote.
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
        offset = self._offset_of(position, record.key)
        self._read_version(tenant, Version(offset, record.value, _new_at(headers)))

    def _read_version(self, tenant: str, version: Version) -> None:
        offset, value, _ = version
        if partition_of(tenant, self._partitions) != self.partition:
            raise ContradictionError(
                f"tenant {tenant} is on states partition {self.partition} of {self._partitions}, "
                f"and belongs on {partition_of(tenant, self._partitions)}: {OTHER_COUNT}"
            )
        if self._before is not None and offset >= self._before:
            self.ahead[tenant] = max(self.ahead.get(tenant, offset), offset)
            return
        # The position of a tombstone may be that of a repair, at which the log holds another tenant's event.
        if value is not None and tenant not in self.tenants:
            self.stems[offset] = tenant
        versions = self.tenants.get(tenant) or Versions(version, version, None, None)
        settled, first = versions.settled, versions.first
        if self._settled is None or offset < self._settled:
            settled = _higher(settled, version)
        elif first is None:
            first = version
        self.tenants[tenant] = Versions(_higher(versions.highest, version), version, settled, first)

    def _read_rules(self, number: int, document: dict[str, Any]) -> None:
        offset = self._offset_of(document["position"], None)
        if document["number"] != number:
            msg = f"it has number {document['number']}"
            raise ValueError(msg)
        if self._before is None or offset < self._before:
            self._rules[number] = offset, parse_rules(number, document["rules"])

    def _offset_of(self, position: str, key: bytes | None) -> int:
        partition, offset = parse_position(position)
        if partition != self.partition:
            raise ContradictionError(f"position {position} is on states partition {self.partition}: {OTHER_COUNT}")
        self.newest = max(self.newest, offset)
        if self._skipped is not None:
            self._skipped.mark_folded(offset, key)
        return offset

    def rules(self, before: int | None = None) -> list[Rules]:
        """Return all rules by number, the built-in rules first; with `before`, only rules from before that offset.

        Raises:
            ContradictionError: if a number is missing.
        """
        numbered = [rules for _, (offset, rules) in sorted(self._rules.items()) if before is None or offset < before]
        for number, rules in enumerate(numbered, start=1):
            if rules.number != number:
                raise ContradictionError(
                    f"states partition {self.partition} lacks the rules of number {number}. A rebuild needs them: "
                    "restore Redis from its own backup or AOF"
                )
        return [BUILT_IN_RULES, *numbered]

    def record(self, tenant: str, version: Version) -> Record | None:
        """Return a version as the fold knows it, None for a tombstone.

        Raises:
            ContradictionError: if it is not a state record.
        """
        document = version.document()
        try:
            return None if document is None else parse_state_record(document)
        except ValueError as error:
            raise ContradictionError(
                f"states partition {self.partition}, tenant {tenant} at {version.offset}: {error}"
            ) from error


def _new_at(headers: Mapping[str, bytes | None]) -> int | None:
    """Return the offset in the header of a new tenant's state; a header without a valid offset counts for any."""
    if NEW_HEADER not in headers:
        return None
    try:
        return parse_position((headers[NEW_HEADER] or b"").decode())[1]
    except ValueError:
        return _ANY_OFFSET


def _higher(former: Version | None, version: Version) -> Version:
    return version if former is None or version.offset >= former.offset else former
