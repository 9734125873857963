"""Holding what Redis and the states topic say of a partition's tenants against a fold of its log.

Where the log reaches back to its beginning the fold begins with nothing. Where it does not, it begins with each
tenant's first state that an event still in the log made, else with its last from before the log. Then what a renewal
leaves unpublished (a clock, the time of a breaker's event, the number of the rules) may be older in the fold, and is
not compared.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.operation import OperationRecord
from schemas.policy import Rules
from schemas.progress import Progress
from schemas.public import state_record
from schemas.record import Record, unpack
from worker.batch import OperationKey, written_of
from worker.ports import Index
from worker.recovery.found import Found
from worker.recovery.rebuild import Rebuild
from worker.recovery.restore import kept_ms
from worker.start import checksum

_UNPUBLISHED: Final = ("clock", "rules_number")
# What a rebuild may not have known of a command; see `worker.recovery.audit`.
_UNTOLD: Final = ("target_state", "expires_at", "cancelled_at", "trace_id")
# The key of a command goes by Redis' own clock, and a worker folds what is up to a minute ahead of its own.
_EXPIRY_SLACK_MS: Final = 120_000
Document = dict[str, Any]


class Difference(NamedTuple):
    """Something that is not what the log says.

    Attributes:
        tenant: whose, None where it is the partition's.
        where: `redis` or `states`.
        what: in words.
        fields: of those that differ, what the log says and what was found.
    """

    partition: int
    tenant: str | None
    where: str
    what: str
    fields: dict[str, tuple[Any, Any]]


class Verification:
    """One partition, folded from its log beside what was found.

    Args:
        partition: its number.
        partitions: how many there are.
        found: its topics; `end` is where Redis stood when it was looked at first, and states from before `start`
            are its settled ones.
    """

    def __init__(self, partition: int, partitions: int, found: Found) -> None:
        self.partition = partition
        self._history = found.history
        self._cut = found.end
        # With the whole log, nothing needs to be believed.
        versions = found.history.tenants if found.start else {}
        self._base = {tenant: known.first or known.settled or known.highest for tenant, known in versions.items()}
        self.fold = Rebuild(partition, partitions, found, base=self._base, cut=True, deadletter_max_ratio=1.0)

    @property
    def believed(self) -> int:
        """How many tenants began with a state that was published."""
        return len(self._base)

    def tenants(self) -> set[str]:
        """Return the tenants that have a record by the log, or a state on the topic."""
        by_log = {tenant for tenant, record in self.fold.records.items() if record is not None}
        stated = {tenant for tenant, known in self._history.tenants.items() if known.last.value is not None}
        return by_log | stated

    def progress(self, progress: Progress, records: int) -> Iterator[Difference]:
        """Compare the progress with the log up to there; `records` is the number of tenants really there."""

        def differs(what: str, expected: object, found: object) -> Difference:
            return Difference(self.partition, None, "redis", what, {what: (expected, found)})

        if progress.records != records:
            yield differs("records", records, progress.records)
        last = self.fold.last
        if last is not None and progress.timestamp is not None:
            expected = last.timestamp, checksum(last.key, last.value)
            if expected != (progress.timestamp, progress.crc):
                yield differs("last record applied", expected, (progress.timestamp, progress.crc))
        if _digests(progress.rules) != _digests(self.fold.rules):
            yield differs("rules", _digests(self.fold.rules), _digests(progress.rules))
        if _digests(self._history.rules()) != _digests(self.fold.rules):
            published = _digests(self._history.rules())
            yield differs("rules", _digests(self.fold.rules), published)._replace(where="states")

    def redis(self, tenants: Iterable[str], packed: Mapping[str, bytes | None], rules: list[Rules]) -> list[Difference]:
        """Compare what Redis holds of tenants, at the place up to which the log was read."""
        compared = (self._redis(tenant, packed.get(tenant), rules) for tenant in tenants)
        return [difference for difference in compared if difference is not None]

    def _redis(self, tenant: str, packed: bytes | None, rules: list[Rules]) -> Difference | None:
        try:
            found = None if packed is None else unpack(packed, rules)
        except ValueError as error:
            return Difference(self.partition, tenant, "redis", f"cannot be read: {error}", {})
        expected = self.fold.records.get(tenant)
        if found == expected:
            return None
        return self._difference(
            tenant, "redis", self._document(tenant, expected), self._document(tenant, found), loose=tenant in self._base
        )

    def index(
        self, tenants: Iterable[str], packed: Mapping[str, bytes | None], rules: list[Rules], found: Index
    ) -> list[Difference]:
        """Compare timers and the open set with what the records say: those in Redis where they can be read."""
        return [
            difference
            for tenant in tenants
            for difference in self._index(tenant, *self._present(tenant, packed.get(tenant), rules), found)
        ]

    def _present(self, tenant: str, packed: bytes | None, rules: list[Rules]) -> tuple[Record | None, list[Rules]]:
        """Return a tenant's record, and the rules that its number means."""
        try:
            if packed is not None:
                return unpack(packed, rules), rules
        except ValueError:
            pass  # `redis` names it.
        return self.fold.records.get(tenant), self.fold.rules

    def _index(self, tenant: str, record: Record | None, rules: list[Rules], found: Index) -> Iterator[Difference]:
        written = written_of(record, rules)
        for what, expected, there in (
            ("timer", written.due, found.timers.get(tenant)),
            ("open_ended", written.open_ended, tenant in found.open),
        ):
            if expected != there:
                yield Difference(self.partition, tenant, "redis", what, {what: (expected, there)})

    def counts(self, found: Index) -> list[Difference]:
        """Compare the number of tenants in each state, at the place up to which the log was read."""
        records = [record for record in self.fold.records.values() if record is not None]
        expected: Counter[str] = Counter(record.state.label for record in records)
        states = sorted(expected.keys() | found.counts.keys())
        numbers = {state: (expected[state], found.counts.get(state, 0)) for state in states}
        fields = {state: number for state, number in numbers.items() if number[0] != number[1]}
        return [Difference(self.partition, None, "redis", "counts", fields)] if fields else []

    def remembered(self, now: int) -> list[OperationKey]:
        """Return the commands of which Redis must know at the wall's time `now`, ms, as far as the log tells."""
        known = self.fold.operations.items()
        return [key for key, operation in known if kept_ms(operation, now) > _EXPIRY_SLACK_MS]

    def operations(self, packed: Mapping[OperationKey, bytes | None]) -> dict[OperationKey, Difference]:
        """Compare commands, at the place up to which the log was read."""
        compared = {key: self._operation(key, found) for key, found in packed.items()}
        return {key: difference for key, difference in compared.items() if difference is not None}

    def _operation(self, key: OperationKey, packed: bytes | None) -> Difference | None:
        tenant, operation_id = key

        def differs(what: str, fields: dict[str, tuple[Any, Any]] | None = None) -> Difference:
            return Difference(self.partition, tenant, "redis", f"operation {operation_id} {what}", fields or {})

        if packed is None:
            return differs("is missing")
        try:
            found = OperationRecord.unpack(packed)
        except ValueError as error:
            return differs(f"cannot be read: {error}")
        expected = self.fold.operations[key]
        pairs = {name: (getattr(expected, name), getattr(found, name)) for name in OperationRecord._fields}
        del pairs["detail"]
        if expected.offset >= self.fold.next:
            del pairs["position"]  # A rebuild of a log that was cut has put it before the end.
        fields = {
            name: pair for name, pair in pairs.items() if pair[0] != pair[1] and not (name in _UNTOLD and None in pair)
        }
        return differs("differs", fields) if fields else None

    def states(self) -> list[Difference]:
        """Compare the last state of each tenant on the topic, those ahead of Redis aside."""
        compared = (self._state(tenant) for tenant in sorted(self.tenants() - self._history.ahead.keys()))
        return [difference for difference in compared if difference is not None]

    def from_the_future(self, end: int) -> list[Difference]:
        """Return the states that stem from where the log, which ends here, has not come yet: nobody folded them."""
        return [
            Difference(self.partition, tenant, "states", "is from the future", {"position": (f"before {end}", offset)})
            for tenant, offset in sorted(self._history.ahead.items())
            if offset >= end
        ]

    def published(self, end: int) -> int | None:
        """Return the highest offset from the cut on that a state or rules stem from, None where there is none.

        Those from `end` on, where the log ends, are left out: `from_the_future` names them.
        """
        offsets = [*self._history.ahead.values(), self._history.newest]
        return max((offset for offset in offsets if self._cut <= offset < end), default=None)

    def _state(self, tenant: str) -> Difference | None:
        versions = self._history.tenants.get(tenant)
        found = None if versions is None else versions.last.value
        output, base = self.fold.states.get(tenant.encode()), self._base.get(tenant)
        expected = output.value if output is not None else None if base is None else base.value
        # Most are the same to the byte, and parsing costs more than all the rest.
        if found == expected:
            return None
        return self._difference(tenant, "states", _parsed(expected), _parsed(found), loose=True)

    def _document(self, tenant: str, record: Record | None) -> Document | None:
        if record is None:
            return None
        terms = self.fold.rules[min(record.rules_number, len(self.fold.rules) - 1)].terms_for(record.policy)
        return state_record(tenant, self.partition, record, terms)

    def _difference(
        self, tenant: str, where: str, expected: Document | None, found: Document | None, *, loose: bool
    ) -> Difference | None:
        if expected is None or found is None:
            what = "is missing" if found is None else "should not be there"
            return None if expected is found else Difference(self.partition, tenant, where, what, {})
        if loose:
            expected, found = _shown(expected), _shown(found)
        names = [name for name in expected if expected[name] != found.get(name)]
        fields = {name: (expected[name], found.get(name)) for name in names}
        return Difference(self.partition, tenant, where, "differs", fields) if fields else None


def _shown(document: Document) -> Document:
    claims = [{**claim, "occurred_at": None} for claim in document["claims"]]
    return {name: value for name, value in document.items() if name not in _UNPUBLISHED} | {"claims": claims}


def _parsed(value: bytes | None) -> Document | None:
    found: Document | None = None if value is None else from_json(value)
    return found


def _digests(rules: list[Rules]) -> list[str]:
    return [version.digest for version in rules]
