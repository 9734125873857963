"""Short ways to events, to records of the log, and to a tenant whose log is folded by us and by the reference."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.cloudevents import STRUCTURED_HEADERS, Headers, decode
from schemas.events import RulesEvent
from schemas.operation import OperationRecord
from schemas.policy import BUILT_IN_RULES, Rules, Terms, parse_rules
from schemas.public import state_record
from schemas.record import Record, pack, unpack
from schemas.state import LABELS
from tests.reference import Reference
from worker.machine import At, Folded, fold

T = 1_795_334_837_992
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
Document = dict[str, Any]


@dataclass
class Source:
    """A record of the log, as a consumer hands it over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = STRUCTURED_HEADERS
    topic: str = "sleep.events"
    partition: int = 0


def event(type_: str, data: Mapping[str, Any], tenant: str | None = "acme", **attributes: object) -> Document:
    """Return a CloudEvent in its structured form; attributes given as None are left out."""
    found = {"specversion": "1.0", "id": "e-1", "source": "test", "type": type_, "subject": tenant, "data": dict(data)}
    return {name: value for name, value in (found | attributes).items() if value is not None}


def breaker(
    state: str, name: str = "payments@1", *, tenant: str = "acme", time: str | None = None, **more: object
) -> Document:
    """Return a breaker's event, its claim's key given as `name@instance`."""
    breaker_, instance = name.split("@")
    data = {"breaker": breaker_, "instance": instance, "state": state, **more}
    return event("sleep.breaker.v1", data, tenant, time=time)


def sleep(
    operation_id: str, target: str = "deep", ttl_ms: object = MINUTE, *, tenant: str = "acme", **more: object
) -> Document:
    """Return a utility sleep."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", **more}
    return event("sleep.operation.v1", data, tenant)


def cancel(operation_id: str, cancels: str, *, tenant: str = "acme", **more: object) -> Document:
    """Return a cancel."""
    data = {"operation_id": operation_id, "cancels": cancels, "actor": "ops", **more}
    return event("sleep.cancel.v1", data, tenant)


def mode(operation_id: str, target: str, ttl_ms: object = None, *, tenant: str = "acme", **more: object) -> Document:
    """Return a mode, or with `override=True` a pin."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", **more}
    return event("sleep.mode.v1", data, tenant)


def pin(operation_id: str, target: str, ttl_ms: object = MINUTE, *, tenant: str = "acme", **more: object) -> Document:
    """Return a pin."""
    data = {"operation_id": operation_id, "target": target, "ttl_ms": ttl_ms, "actor": "ops", "override": True, **more}
    return event("sleep.mode.v1", data, tenant)


def policy(operation_id: str, document: object, *, tenant: str = "acme", **more: object) -> Document:
    """Return a policy change."""
    data = {"operation_id": operation_id, "policy": document, "actor": "ops", **more}
    return event("sleep.policy.v1", data, tenant)


def rules(document: object) -> Document:
    """Return a change of the rules."""
    return event("sleep.rules.v1", {"rules": document, "operation_id": "r", "actor": "ops"}, None)


def timer(due_at: int = T, *, tenant: str = "acme") -> Document:
    """Return a timer."""
    return event("sleep.timer.v1", {"due_at": due_at}, tenant)


def source(offset: int, timestamp: int, document: Document) -> Source:
    """Return the record of the log that holds an event."""
    subject = document.get("subject")
    key = None if subject is None else subject.encode()
    return Source(offset, timestamp, key, json.dumps(document).encode())


def without_decision(rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Return audit rows as the reference writes them."""
    return [{name: value for name, value in row.items() if name != "decision"} for row in rows]


def remembered(operation: OperationRecord) -> Document:
    """Return a command's record as the reference remembers it."""
    document = operation._asdict()
    del document["detail"], document["decision"]
    for name in ("state", "previous_state", "target_state"):
        document[name] = None if document[name] is None else LABELS[document[name]]
    return document


class Tenant:
    """A tenant whose events are folded by `worker.machine` and by the reference, which must agree on each.

    Attributes:
        record: the tenant's record, None where it has none.
        last: what the last event led to.
        rows: all audit rows so far, as documents.
    """

    def __init__(self, name: str = "acme", document: Document | None = None) -> None:
        self.name = name
        self.record: Record | None = None
        self.last = Folded(None, published=False)
        self.rows: list[Document] = []
        self.operations: dict[str, OperationRecord] = {}
        self.rules: list[Rules] = [BUILT_IN_RULES]
        self.offset = 41
        self.reference = Reference()
        if document is not None:
            self.follow(document)

    def follow(self, document: Document, at: int = T) -> None:
        """Bring other rules into force."""
        self.offset += 1
        self.rules = [*self.rules, parse_rules(len(self.rules), document)]
        changed = decode(None, json.dumps(rules(document)).encode(), ())
        self.reference.fold(changed, self.offset, at)

    def __call__(self, document: Document, at: int) -> Folded:
        """Fold an event at a time of the log, with both, and compare everything that came of it."""
        self.offset += 1
        found = decode(self.name.encode(), json.dumps(document).encode(), ())
        assert not isinstance(found, RulesEvent)
        self.last = fold(self.record, found, self.operations, self.rules, At(0, self.offset, at))
        self.record = self.last.record
        self.operations |= {operation.operation_id: operation for operation in self.last.operations}
        rows = [row.as_json() for row in self.last.rows]
        self.rows += rows

        reference = self.reference
        rows_before, states_before, answers_before = len(reference.rows), len(reference.states), len(reference.answers)
        reference.fold(found, self.offset, at)
        assert without_decision(rows) == reference.rows[rows_before:]
        assert self.document == reference.document(self.name)
        published = [(self.name, self.document)] if self.last.published else []
        assert published == reference.states[states_before:]
        answers = [] if self.last.answer is None else [remembered(self.last.answer)]
        told = [{name: value for name, value in answer.items() if name != "asked"} for answer in reference.answers]
        assert answers == told[answers_before:]
        if self.record is not None:
            schedule = self.terms.schedule
            assert unpack(pack(self.record, schedule), self.rules) == self.record
        return self.last

    def begin_with(self, documents: Iterable[Document], at: int) -> None:
        """Fold many events at one time, and let the reference take over what came of them unseen, since it is slow."""
        for document in documents:
            self.offset += 1
            found = decode(self.name.encode(), json.dumps(document).encode(), ())
            assert not isinstance(found, RulesEvent)
            self.record = fold(self.record, found, self.operations, self.rules, At(0, self.offset, at)).record
        assert self.document is not None
        self.reference.take_over(self.document)

    @property
    def known(self) -> Record:
        """The record of a tenant that has one."""
        assert self.record is not None
        return self.record

    @property
    def terms(self) -> Terms:
        """The terms that the record was last folded under."""
        return self.rules[self.known.rules_number].terms_for(self.known.policy)

    @property
    def document(self) -> Document | None:
        """The state record as it stands now."""
        return None if self.record is None else state_record(self.name, 0, self.record, self.terms)

    @property
    def state(self) -> str:
        """What the tenant is told to do."""
        return self.known.state.label

    @property
    def decided(self) -> str:
        """What was decided, enforced or not."""
        return self.known.decided.label

    def claim(self, source_: str, key: str) -> Document:
        """Return a claim in its document form."""
        assert self.document is not None
        found = [item for item in self.document["claims"] if (item["source"], item["key"]) == (source_, key)]
        assert found, f"{self.name} has no claim {source_} {key}"
        return dict(found[0])

    @property
    def keys(self) -> list[str]:
        """The keys of the claims, sorted by source and key."""
        return [key for _, key in sorted(self.known.claims)]

    @property
    def codes(self) -> list[str | None]:
        """The codes of the last event's refusals."""
        return [row.code for row in self.last.rows if row.kind == "refusal"]

    @property
    def moves(self) -> list[tuple[str, str, str | None, str | None, int]]:
        """The last event's transitions: from, to, kind and key of the cause, and time."""
        return [
            (row.before.label, row.after.label, row.cause.kind, row.cause.key, row.at)
            for row in self.last.rows
            if row.cause is not None
        ]
