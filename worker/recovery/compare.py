"""Compare what Redis and the states topic hold of a partition with a replay of its log. Pure.

If the log begins at offset 0, the replay begins with nothing. If not, it begins with each tenant's first state from an
event that the log still holds; else with the last state from before the log. Then the replay may know older values of
what a renewal changes without publishing it: a clock, the time of a breaker's event, the number of the rules. These are
not compared.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from schemas.domain.policy import Rules
from schemas.domain.record import Record, unpack
from schemas.domain.sealing import NewerReleaseError
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.redis.progress import Progress
from schemas.wire.operation import OperationRecord
from schemas.wire.tenant_view import state_record
from worker.fold.written import claims_of, written_of
from worker.partition.startup_checks import checksum
from worker.ports import Index, OperationKey, PartitionStatus
from worker.recovery.differences import Difference, Document, compare_documents, parsed
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.plan import Action
from worker.recovery.replay import Replay

# A rebuild may not know these of a command; see `worker.recovery.audit`.
_UNKNOWN_TO_A_REBUILD: Final = ("target_state", "expires_at", "cancelled_at", "trace_id")
# A command's end removes these, but not where a worker of layout 2 wrote them; see `schemas.redis.command_memory`.
_TEXTS: Final = ("actor", "reason", "trace_id")


class Comparison:
    """One partition: its log, replayed, beside Redis and the states topic.

    Args:
        evidence: what the topics say; `end` is the position of Redis when it was first read, and `start` the dividing
            offset of the history.

    Attributes:
        partition: its number.
        replay: the log, replayed.
    """

    def __init__(self, evidence: PartitionEvidence) -> None:
        self.partition = evidence.partition
        self._history = evidence.history
        self._cut = evidence.end
        self._from_beginning = not evidence.start
        versions = {} if self._from_beginning else evidence.history.tenants
        self._starts = {tenant: each.first or each.settled or each.highest for tenant, each in versions.items()}
        action = Action.REPLAY if self._from_beginning else Action.RESUME_FROM_STATES
        self.replay = Replay(evidence, action, versions=self._starts, deadletter_max_ratio=1.0)

    @property
    def believed(self) -> int:
        """How many tenants began with a published state."""
        return len(self._starts)

    def tenants(self) -> set[str]:
        """Return the tenants that have a record by the log, or a state on the topic."""
        by_log = {tenant for tenant, record in self.replay.records.items() if record is not None}
        by_topic = {tenant for tenant, versions in self._history.tenants.items() if versions.last.value is not None}
        return by_log | by_topic

    def progress(self, status: PartitionStatus) -> Iterator[Difference]:
        """Compare the progress with the log up to there, and its counts with the number of keys."""
        progress = status.progress

        def differs(what: str, expected: object, actual: object) -> Difference:
            return Difference(self.partition, None, "redis", what, {what: (expected, actual)})

        for what, counted, keys in (
            ("records", progress.records, status.records),
            ("operations", progress.operations, status.operations),
            ("ends of operations", progress.ended, status.ended),
        ):
            if counted not in (None, keys):
                yield differs(what, keys, counted)
        last = self.replay.last
        if last is not None and progress.timestamp is not None:
            expected = last.timestamp, checksum(last.key, last.value)
            if expected != (progress.timestamp, progress.crc):
                yield differs("last record applied", expected, (progress.timestamp, progress.crc))
        # A log without its beginning may have held a higher one; layouts before 3 had none.
        if self._from_beginning and progress.highest not in (None, self.replay.highest):
            yield differs("highest timestamp", self.replay.highest, progress.highest)
        if _digests(progress.rules) != _digests(self.replay.rules):
            yield differs("rules", _digests(self.replay.rules), _digests(progress.rules))
        if _digests(self._history.rules()) != _digests(self.replay.rules):
            published = _digests(self._history.rules())
            yield differs("rules", _digests(self.replay.rules), published)._replace(where="states")

    def redis(self, tenants: Iterable[str], packed: Mapping[str, bytes | None], rules: list[Rules]) -> list[Difference]:
        """Compare the records in Redis, at the position up to which the log was read."""
        compared = (self._redis(tenant, packed.get(tenant), rules) for tenant in tenants)
        return [difference for difference in compared if difference is not None]

    def _redis(self, tenant: str, packed: bytes | None, rules: list[Rules]) -> Difference | None:
        try:
            actual = None if packed is None else unpack(packed, rules)
        except ValueError as error:
            return Difference(self.partition, tenant, "redis", _unread(error), {})
        expected = self.replay.records.get(tenant)
        if actual == expected:
            return None
        return compare_documents(
            Difference(self.partition, tenant, "redis", "", {}),
            self._document(tenant, expected),
            self._document(tenant, actual),
            published_only=tenant in self._starts,
        )

    def index(
        self, tenants: Iterable[str], packed: Mapping[str, bytes | None], rules: list[Rules], index: Index
    ) -> list[Difference]:
        """Compare timers and the open set with the records: with those in Redis if they can be read."""
        return [
            difference
            for tenant in tenants
            for difference in self._index(tenant, *self._present(tenant, packed.get(tenant), rules), index)
        ]

    def _present(self, tenant: str, packed: bytes | None, rules: list[Rules]) -> tuple[Record | None, list[Rules]]:
        """Return a tenant's record, and the rules to which its number refers."""
        try:
            if packed is not None:
                return unpack(packed, rules), rules
        except ValueError:
            pass  # `redis` reports it.
        return self.replay.records.get(tenant), self.replay.rules

    def _index(self, tenant: str, record: Record | None, rules: list[Rules], index: Index) -> Iterator[Difference]:
        written = written_of(record, rules)
        for what, expected, actual in (
            ("timer", written.due, index.timers.get(tenant)),
            ("open_ended", written.open_ended, tenant in index.open),
        ):
            if expected != actual:
                yield Difference(self.partition, tenant, "redis", what, {what: (expected, actual)})

    def counts(self, index: Index) -> list[Difference]:
        """Compare the number of tenants in each state, at the position up to which the log was read."""
        records = [record for record in self.replay.records.values() if record is not None]
        expected: Counter[str] = Counter(record.state.label for record in records)
        states = sorted(expected.keys() | index.counts.keys())
        numbers = {state: (expected[state], index.counts.get(state, 0)) for state in states}
        fields = {state: number for state, number in numbers.items() if number[0] != number[1]}
        return [Difference(self.partition, None, "redis", "counts", fields)] if fields else []

    def remembered(self, progress: Progress) -> list[OperationKey]:
        """Return the commands that Redis must remember at this progress, as far as the log says."""
        return [key for key in self.replay.commands.operations if self._is_remembered(key, progress)]

    def _is_remembered(self, key: OperationKey, progress: Progress) -> bool:
        operation = self.replay.commands.operations[key]
        return self._lives(operation) or not operation.is_forgotten(max(self.replay.highest, progress.latest))

    def _lives(self, operation: OperationRecord) -> bool:
        return operation.lives_in(claims_of(self.replay.records.get(operation.tenant_id)))

    def operations(
        self, packed: Mapping[OperationKey, bytes | None], progress: Progress
    ) -> dict[OperationKey, Difference]:
        """Compare commands, at the position up to which the log was read."""
        compared = {key: self._operation(key, value, progress) for key, value in packed.items()}
        return {key: difference for key, difference in compared.items() if difference is not None}

    def _operation(self, key: OperationKey, packed: bytes | None, progress: Progress) -> Difference | None:
        tenant, operation_id = key

        def differs(what: str, fields: dict[str, tuple[Any, Any]] | None = None) -> Difference:
            return Difference(self.partition, tenant, "redis", f"operation {operation_id} {what}", fields or {})

        if packed is None:
            return differs("is missing") if self._is_remembered(key, progress) else None
        try:
            actual = unpack_operation(packed, self.partition, *key)
        except ValueError as error:
            return differs(_unread(error))
        expected = self.replay.commands.operations[key]
        pairs = {name: (getattr(expected, name), getattr(actual, name)) for name in OperationRecord._fields}
        del pairs["detail"]
        if not self._lives(expected):
            for name in _TEXTS:
                del pairs[name]
        if expected.offset >= self.replay.next:
            del pairs["position"]  # A rebuild of a truncated log has put it before the end.
        fields = {
            name: pair
            for name, pair in pairs.items()
            if pair[0] != pair[1] and not (name in _UNKNOWN_TO_A_REBUILD and None in pair)
        }
        return differs("differs", fields) if fields else None

    def states(self) -> list[Difference]:
        """Compare the last state of each tenant on the topic; tenants with a state ahead of Redis are left out."""
        compared = (self._state(tenant) for tenant in sorted(self.tenants() - self._history.ahead.keys()))
        return [difference for difference in compared if difference is not None]

    def from_the_future(self, end: int) -> list[Difference]:
        """Return the states from an offset that the log, which ends at `end`, does not have: nobody folded them."""
        return [
            Difference(self.partition, tenant, "states", "is from the future", {"position": (f"before {end}", offset)})
            for tenant, offset in sorted(self._history.ahead.items())
            if offset >= end
        ]

    def published(self, end: int) -> int | None:
        """Return the highest offset at the cut or later from which a state or rules stem, None if there is none.

        Offsets from `end` on, where the log ends, are left out: `from_the_future` reports them.
        """
        offsets = [*self._history.ahead.values(), self._history.newest]
        return max((offset for offset in offsets if self._cut <= offset < end), default=None)

    def _state(self, tenant: str) -> Difference | None:
        versions = self._history.tenants.get(tenant)
        actual = None if versions is None else versions.last.value
        output, start = self.replay.states.get(tenant.encode()), self._starts.get(tenant)
        expected = output.value if output is not None else None if start is None else start.value
        # Most are equal byte for byte, and parsing would cost more than everything else.
        if actual == expected:
            return None
        difference = Difference(self.partition, tenant, "states", "", {})
        return compare_documents(difference, parsed(expected), parsed(actual), published_only=True)

    def _document(self, tenant: str, record: Record | None) -> Document | None:
        if record is None:
            return None
        terms = self.replay.rules[min(record.rules_number, len(self.replay.rules) - 1)].terms_for(record.policy)
        return state_record(tenant, self.partition, record, terms)


def _unread(error: ValueError) -> str:
    """Return in words why bytes were not read. Data of a newer release is not damaged."""
    return str(error) if isinstance(error, NewerReleaseError) else f"cannot be read: {error}"


def _digests(rules: list[Rules]) -> list[str]:
    return [version.digest for version in rules]
