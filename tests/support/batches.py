"""A log folded in batches as a lane does it, with a dict for Redis; and hypothesis strategies for logs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, get_args
from unittest.mock import patch

from hypothesis import strategies as st

from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.domain.record import Record, unpack
from schemas.domain.state import LABELS, BreakerState
from schemas.redis.command_memory import FIXED_BYTES
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.redis.progress import pack_rules, unpack_rules
from schemas.wire.operation import OperationRecord
from schemas.wire.tenant_view import state_record
from tests.support.claims import policies, state_names
from tests.support.events import Document, breaker, cancel, mode, policy, rules, sleep, timer
from tests.support.records import Source, source
from tests.support.times import HOUR, MINUTE, SECOND, T
from worker.fold.decoding import Decoder, operations_of, tenants_of
from worker.fold.fold import At, fold
from worker.fold.piece import Piece
from worker.fold.written import Written, count_changes
from worker.ports import OperationKey, Output

TENANTS = ("acme", "bolt", "corp")


class Lane:
    """What a lane keeps: a store of packed records and operations, a memory, and all that it has sent.

    Args:
        remembers: whether records stay in memory from batch to batch, or each is loaded from the store anew.
        forgets: whether the store lets go the commands that are forgotten; what is judged is the same.
    """

    def __init__(
        self, *, remembers: bool = False, forgets: bool = True, partitions: int = 1, partition: int = 0
    ) -> None:
        self.remembers = remembers
        self.forgets = forgets
        self.partition = partition
        self.decoder = Decoder(partition, partitions)
        self.rules: list[Rules] = [BUILT_IN_RULES]
        self.packed: dict[str, bytes] = {}
        self.memory: dict[str, Record | None] = {}
        self.operations: dict[OperationKey, bytes] = {}
        self.ended: list[OperationKey] = []
        self.highest = 0
        self.written: dict[str, Written] = {}
        self.counts: dict[str, int] = dict.fromkeys(LABELS, 0)
        self.open_ended: dict[str, bool] = {}
        self.states: list[Output] = []
        self.transitions: list[Output] = []
        self.dead_letters: list[Output] = []
        self.answers: list[tuple[str, bytes]] = []
        self.failures: list[bool] = []

    def apply(self, records: Sequence[Source]) -> Piece:
        """Fold one batch and commit it."""
        decoded = [self.decoder.decode(record) for record in records]
        tenants = [tenant for tenant in tenants_of(decoded) if tenant not in self.memory]
        batch = Piece(
            self.partition,
            self.rules,
            self.memory,
            {tenant: self.packed.get(tenant) for tenant in tenants},
            {key: self.operations.get(key) for key in operations_of(decoded)},
            self.highest,
        )
        for item in decoded:
            batch.fold(item)
        self._commit(batch)
        return batch

    def _commit(self, batch: Piece) -> None:
        written = batch.written()
        self.written |= written
        for tenant, item in written.items():
            if item.packed is None:
                self.packed.pop(tenant, None)
            else:
                self.packed[tenant] = item.packed
        for state, difference in count_changes(batch.before, batch.records).items():
            self.counts[state] += difference
        self.open_ended |= {tenant: written[tenant].open_ended for tenant in batch.published}
        self.operations |= batch.packed_operations()
        for key in batch.ended():
            if key in self.operations:
                self.operations[key] = self.operations[key][:FIXED_BYTES]
                self.ended.append(key)
        for key, operation in self.commands().items() if self.forgets else ():
            if operation.finished_at <= batch.forget_to and key in self.ended:
                del self.operations[key]
        self.highest = batch.highest
        self.rules = batch.rules if self.remembers else unpack_rules(pack_rules(batch.rules))
        if self.remembers:
            self.memory |= batch.records
        self.states += batch.states
        self.transitions += batch.transitions
        self.dead_letters += batch.dead_letters
        self.answers += batch.answers
        self.failures += batch.failures

    def record(self, tenant: str) -> Record | None:
        """Return a tenant's record as the store holds it."""
        packed = self.packed.get(tenant)
        return None if packed is None else unpack(packed, self.rules)

    def document(self, tenant: str) -> Document | None:
        """Return a tenant's state record as it stands now."""
        record = self.record(tenant)
        if record is None:
            return None
        terms = self.rules[record.rules_number].terms_for(record.policy)
        return state_record(tenant, self.partition, record, terms)

    def rows(self) -> list[Document]:
        """Return all audit rows as documents."""
        return values(self.transitions)

    def operation(self, tenant: str, operation_id: str) -> OperationRecord:
        """Return a command as the store holds it."""
        return unpack_operation(self.operations[tenant, operation_id], self.partition, tenant, operation_id)

    def commands(self) -> dict[OperationKey, OperationRecord]:
        """Return all commands as the store holds them."""
        return {key: self.operation(*key) for key in self.operations}

    def outcomes(self) -> list[OperationRecord]:
        """Return all answers."""
        return [OperationRecord.unpack(packed) for _, packed in self.answers]


def values(outputs: Iterable[Output]) -> list[Any]:
    """Return what records hold as JSON."""
    return [None if output.value is None else json.loads(output.value) for output in outputs]


def apply_all(
    log: Sequence[Source], cuts: Iterable[int] = (), *, remembers: bool = False, forgets: bool = True
) -> Lane:
    """Fold a log in batches that end at the cuts."""
    lane = Lane(remembers=remembers, forgets=forgets)
    for start, end in boundaries(log, cuts):
        lane.apply(log[start:end])
    return lane


def boundaries(log: Sequence[Source], cuts: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Return where each batch of a log begins and ends that is cut so."""
    return pairwise(sorted({0, len(log), *(cut % (len(log) + 1) for cut in cuts)}))


@contextmanager
def failing_at(*offsets: int, module: str = "worker.fold.piece") -> Iterator[None]:
    """Have the fold that a module calls raise on the records at these offsets, as a version does that has a defect."""

    def fails(before: Any, event: Any, known: Any, rules: Any, at: At) -> Any:  # noqa: ANN401 - as `fold` has them
        if at.offset in offsets:
            raise ZeroDivisionError
        return fold(before, event, known, rules, at)

    with patch(f"{module}.fold", fails):
        yield


_short = st.sampled_from([0, 0, 1, 2, 5, 10, 20, 50])
_steps = st.one_of(
    *[_short] * 7,
    st.sampled_from([SECOND, MINUTE, MINUTE + 50, 900 * SECOND, HOUR, -1, -10, -MINUTE, -2 * HOUR]),
)
_sleep_ids = st.sampled_from([f"op-{number}" for number in range(6)])
_ids = st.one_of(*[st.integers(0, 999).map("c-{}".format)] * 4, _sleep_ids)
_ttls = st.sampled_from([1, 5, 5, 10, 10, 20, 50, 1000, HOUR])
_wild_ttls = st.one_of(*[_ttls] * 4, st.sampled_from([None, None, 0, -1, HOUR + 1]))
_rarely = st.sampled_from([False, False, False, True])
# Each set is on the straight line between its neighbours, so that a ramp passes through the numbers of a state.
_LINE: dict[str, dict[str, float]] = {
    label: {"K": 100 - 20 * depth, "t": 1 - depth / 4, "tau": 1 - depth / 4, "eta": 1 - depth / 4,
            "lambda": 1 - depth / 4, "B": 1 + depth}
    for depth, label in enumerate(LABELS)
}  # fmt: skip
_holding = policies().map(
    lambda document: {**document, "floor": "active", "min_sleep_seconds": 0.02, "ceiling": "freeze", "enforce": True}
)
_documents = st.one_of(
    st.none(),
    policies(),
    _holding,
    st.sampled_from([
        {}, {"enforce": False}, {"min_sleep_seconds": 0.05}, {"schedule": _LINE, "ramp_seconds": {"wake": 0.02}},
        {"floor": "deep", "ceiling": "light"}, {"ceiling": 1}, {"max_ttl_seconds": 0.01}, {"floor": "light"},
    ]),
)  # fmt: skip
rules_documents = st.one_of(
    st.sampled_from([
        {}, {"policy": {"ceiling": "active"}}, {"policy": {"floor": "light"}}, {"schedule": _LINE},
        {"retire_after_seconds": 60.5, "policy": {"ramp_seconds": {"deepen": 0.02}}},
    ]),
    st.fixed_dictionaries({"policy": policies(st.just("active")), "retire_after_seconds": st.just(60)}),
    _holding.map(lambda document: {"policy": document, "retire_after_seconds": 60}),
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn, now: int, tenant: str) -> Document:  # noqa: PLR0911 - one a type
    """Draw an event of any type that the log gets at `now`."""
    kind = draw(
        st.sampled_from(["breaker"] * 5 + ["sleep"] * 4 + ["mode"] * 3 + ["timer", "cancel"] * 2 + ["policy", "rules"])
    )
    if kind == "breaker":
        return breaker(
            draw(st.sampled_from(["open", "open", "half_open", "closed", *get_args(BreakerState)])),
            draw(st.sampled_from(["a@1", "a@2", "b@1", "c@"])),
            tenant=tenant,
            occurred_at=draw(st.one_of(st.none(), st.integers(now - 30, now), st.just(now + MINUTE + 1))),
            time=draw(st.sampled_from([None, None, "2026-11-22T08:47:18.001Z"])),
            cause=draw(st.sampled_from([None, "timeouts"])),
        )
    if kind == "timer":
        return timer(now, tenant=tenant)
    if kind == "rules":
        return rules(draw(rules_documents))
    sent: dict[str, Any] = {
        "tenant": tenant,
        "reply_to": "reply",
        "reason": draw(st.sampled_from([None, "night"])),
        "not_after": draw(st.one_of(st.none(), st.none(), st.integers(now - 1, now + HOUR))),
    }
    if kind == "sleep":
        return sleep(draw(_sleep_ids), draw(st.sampled_from(["light", "deep", "freeze"])), draw(_wild_ttls), **sent)
    if kind == "cancel":
        return cancel(draw(_ids), draw(_sleep_ids), **sent)
    if kind == "policy":
        return policy(draw(_ids), draw(_documents), if_version=draw(st.sampled_from([None, None, 0, 1])), **sent)
    pins = draw(_rarely)
    return mode(
        draw(_ids), draw(state_names), draw(_wild_ttls if pins else st.none() | _wild_ttls), override=pins, **sent
    )


@st.composite
def logs(draw: st.DrawFn, *, tenants: Sequence[str] = TENANTS, least: int = 1, most: int = 40) -> list[Source]:
    """Draw a log of all types of events, its times going forwards mostly, with gaps in its offsets."""
    offset, now, log = draw(st.integers(0, 10**6)), T, []
    names = st.sampled_from(tenants[: draw(st.integers(1, len(tenants)))])
    for _ in range(draw(st.integers(least, most))):
        now += draw(_steps)
        offset += draw(st.sampled_from([1, 1, 1, 3]))
        log.append(source(offset, now, draw(events(now, draw(names)))))
    return log
