"""What stands behind the API in unit tests: fakes at its boundaries, and tokens signed with throw-away keys."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import EventRecord
from api.adapters.kafka_group import Owner, Owners
from api.adapters.redis_store import Position, Scanned, TenantView, Totals
from api.commands.receipt import Receipt
from api.commands.replies import Waiting
from api.security.opa import Decision, Question
from api.security.rate_limits import Payer, Quota, QuotaStatus, Verdict
from schemas.budgets import Budget
from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.domain.record import Record
from schemas.domain.state import LABELS
from schemas.kafka.partitioner import partition_of
from schemas.redis.client import Primaries
from schemas.redis.watch import RedisWatch
from schemas.wire.cloudevents import STRUCTURED_HEADERS, decode
from schemas.wire.events import Event
from schemas.wire.operation import REMEMBERED_MS, OperationRecord
from tests.support.times import NOW


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class FakeLog:
    """Takes what is published; `failure` is raised instead, `down` says that publishing does not work."""

    def __init__(self) -> None:
        self.published: list[tuple[int, bytes, bytes]] = []
        self.failure: Exception | None = None
        self.down: UnavailableError | None = None
        self.offset: int | None = 7
        self.fresh = True
        self.log_ends = dict.fromkeys(range(8), 0)

    def require(self) -> None:
        if self.down is not None:
            raise self.down

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        if self.failure is not None:
            raise self.failure
        self.published.append((partition, key, value))
        return self.offset

    async def publish_all(self, batches: Mapping[int, Sequence[EventRecord]]) -> None:
        if self.failure is not None:
            raise self.failure
        self.published += ((partition, *record) for partition, records in batches.items() for record in records)

    async def ends(self) -> dict[int, int]:
        self.require()
        return self.log_ends

    async def untouched(self, _partition: int) -> bool:
        return self.fresh

    @property
    def events(self) -> list[Event]:
        """What was published, as the worker reads it."""
        return [decode(key, value, STRUCTURED_HEADERS) for _, key, value in self.published]


class FakeStore:
    """Redis as a few dicts; each method whose name is in `down` finds it away."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.rules: list[Rules] = [BUILT_IN_RULES]
        self.outcomes: dict[tuple[str, str], OperationRecord] = {}
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.applied: dict[int, int] = {}
        self.lost: dict[int, str] = {}
        self.partitions = 8
        self.open_ended: set[str] = set()
        self.bucket = 1
        self.steps = 0
        self.is_whole = True
        self.down: set[str] = set()

    def _look(self, method: str) -> None:
        if method in self.down:
            raise UnavailableError("redis", "connection refused")

    async def tenant(self, tenant: str) -> TenantView:
        self._look("tenant")
        return TenantView(3, self.records.get(tenant), self.rules, complete=self.is_whole)

    async def is_complete(self, _partition: int) -> bool:
        self._look("whole")
        return self.is_whole

    async def why_incomplete(self, partition: int) -> str:
        return "" if await self.is_complete(partition) else f"Redis has no data of partition {partition}"

    async def positions(self) -> dict[int, Position]:
        self._look("positions")
        applied = {number: self.applied.get(number) for number in range(self.partitions)}
        return {
            number: Position(offset or 0, offset is not None, self.lost.get(number, ""))
            for number, offset in applied.items()
        }

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        self._look("operation")
        key = (tenant, operation_id)
        return self.outcomes.get(key) or self.receipts.get(key)

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        self._look("operations")
        result = (self.outcomes.get((tenant, operation_id)) for operation_id in operation_ids)
        return [record for record in result if record is not None]

    async def put(self, receipt: Receipt) -> bool:
        self._look("put")
        return self.receipts.setdefault((receipt.tenant_id, receipt.operation_id), receipt) is receipt

    async def note(self, receipt: Receipt) -> OperationRecord | None:
        self._look("note")
        key = (receipt.tenant_id, receipt.operation_id)
        record = self.outcomes.get(key)
        if record is not None and record.finished_at + REMEMBERED_MS > receipt.created_at:
            return record
        if receipt.position is not None or key not in self.receipts:
            self.receipts[key] = receipt
        return None

    async def withdraw(self, receipt: Receipt) -> None:
        self._look("withdraw")
        if self.receipts.get(key := (receipt.tenant_id, receipt.operation_id)) == receipt:
            del self.receipts[key]

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Redis's buckets: `count` of them a step, each with `bucket` tenants."""
        self._look("scan")
        self.steps += 1
        names = [tenant for tenant in self.records if partition_of(tenant, self.partitions) == partition]
        if open_ended:
            names = [tenant for tenant in names if tenant in self.open_ended]
        end = cursor + -(-count // self.bucket) * self.bucket
        records = {tenant: self.records[tenant] for tenant in names[cursor:end]}
        return Scanned(end if end < len(names) else 0, records, self.rules)

    async def totals(self) -> Totals:
        self._look("totals")
        counted = Counter(LABELS[record.state] for record in self.records.values())
        return Totals({label: counted[label] for label in LABELS}, len(self.open_ended))

    async def progress(self) -> dict[int, int]:
        self._look("progress")
        return self.applied


class ScriptedWait(Waiting):
    """A wait that ends at once, with what the test wants to be heard; `late` is after the first part of the wait."""

    def __init__(self, decision: str, record: OperationRecord | None, waits: list[float], *, late: bool) -> None:
        super().__init__(decision)
        self._record = record
        self._waits = waits
        self._late = late

    async def outcome(self, seconds: float) -> OperationRecord | None:
        self._waits.append(seconds)
        if self._late and len(self._waits) == 1:
            return None
        return self._record


class FakeReplies:
    """Answers each command with `answer`, under the id that it was published with; None is silence.

    With `early` the answer is there before the ack, with `late` only after a prompt one is no longer expected.
    """

    channel = "sleep:reply:test"

    def __init__(self) -> None:
        self.answer: OperationRecord | None = None
        self.waits: list[float] = []
        self.decisions: list[str] = []
        self.early = False
        self.late = False

    @contextmanager
    def expect(self, tenant: str, operation_id: str, decision: str) -> Iterator[Waiting]:
        self.decisions.append(decision)
        answer = self.answer
        if answer is not None:
            answer = answer._replace(tenant_id=tenant, operation_id=operation_id, decision=decision)
        waiting = ScriptedWait(decision, answer, self.waits, late=self.late)
        if self.early:
            waiting.deliver(answer)
        yield waiting


class FakeAuthoriser:
    """Allows what it is told to allow, and remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.decision = Decision(allow=True, reasons=(), decision_id="decision-1")
        self.decisions: Iterator[Decision] = iter(())
        self.failure: UnavailableError | None = None

    async def decide(self, question: Question) -> Decision:
        self.questions.append(question)
        if self.failure is not None:
            raise self.failure
        return next(self.decisions, self.decision)


class FakeLimiter:
    """Lets each payer do `amount` of each budget, and never forgets what was spent; `failure` is raised instead."""

    def __init__(self, store: FakeStore | None = None) -> None:
        self._store = store or FakeStore()
        self.amount = 600
        self.spent: dict[tuple[Payer, Budget], int] = {}
        self.failure: UnavailableError | None = None

    async def spend(self, payer: Payer, budget: Budget, cost: int, receipt: Receipt | None = None) -> Verdict:
        if self.failure is not None:
            raise self.failure
        spent = self.spent.get((payer, budget), 0)
        passes = spent + cost <= self.amount
        if passes:
            spent += cost
        self.spent[payer, budget] = spent
        standing = QuotaStatus(Quota(budget, self.amount, 60), self.amount - spent, 42)
        noted = passes and receipt is not None and await self._store.put(receipt)
        return Verdict((standing,), None if passes else standing, noted=noted)

    async def refund(self, payer: Payer, budget: Budget, cost: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.spent[payer, budget] -= cost


class FakeGroup:
    """A consumer group whose members own what the test says."""

    def __init__(self) -> None:
        self.answer = Owners({number: Owner("worker-1", "sleep", "10.0.0.7") for number in range(8)})

    async def owners(self) -> Owners:
        return self.answer


class Pauses:
    """Stands for sleeping: remembers how long, and ends the task after as many pauses as it was given."""

    def __init__(self, most: int) -> None:
        self.seconds: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._most:
            raise asyncio.CancelledError


def unasked_redis() -> RedisWatch:
    """Return a watch of Redis that never looks."""
    return RedisWatch(cast("Primaries", None), durable=True)
