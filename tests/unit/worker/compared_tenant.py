"""A tenant whose log is folded by us and by the reference, which must agree on each event."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.domain.policy import BUILT_IN_RULES, Rules, Terms, parse_rules
from schemas.domain.record import Record, pack, unpack
from schemas.domain.state import LABELS
from schemas.wire.cloudevents import decode
from schemas.wire.events import RulesEvent
from schemas.wire.operation import OperationRecord
from schemas.wire.tenant_view import state_record
from tests.support.events import Document, rules
from tests.support.reference import Reference
from tests.support.times import T
from worker.fold.fold import At, Folded, fold


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
    """A tenant whose events are folded by `worker.fold.fold` and by the reference, which must agree on each.

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
        self.highest = 0
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
        event = decode(self.name.encode(), json.dumps(document).encode(), ())
        assert not isinstance(event, RulesEvent)
        self.last = fold(self.record, event, self.operations, self.rules, At(0, self.offset, at, self.highest))
        self.highest = max(self.highest, at)
        self.record = self.last.record
        self.operations |= {operation.operation_id: operation for operation in self.last.operations}
        rows = [row.as_json() for row in self.last.rows]
        self.rows += rows

        reference = self.reference
        rows_before, states_before, answers_before = len(reference.rows), len(reference.states), len(reference.answers)
        reference.fold(event, self.offset, at)
        assert without_decision(rows) == reference.rows[rows_before:]
        assert self.document == reference.document(self.name)
        published = [(self.name, self.document)] if self.last.published else []
        assert published == reference.states[states_before:]
        answers = [] if self.last.answer is None else [remembered(self.last.answer)]
        expected = [{name: value for name, value in answer.items() if name != "asked"} for answer in reference.answers]
        assert answers == expected[answers_before:]
        if self.record is not None:
            schedule = self.terms.schedule
            assert unpack(pack(self.record, schedule), self.rules) == self.record
        return self.last

    def begin_with(self, documents: Iterable[Document], at: int) -> None:
        """Fold many events at one time, and let the reference take over what came of them unseen, since it is slow."""
        for document in documents:
            self.offset += 1
            event = decode(self.name.encode(), json.dumps(document).encode(), ())
            assert not isinstance(event, RulesEvent)
            self.record = fold(self.record, event, self.operations, self.rules, At(0, self.offset, at)).record
        self.begin_from(self.known)

    def begin_from(self, record: Record) -> None:
        """Go on from a record, the reference too."""
        self.record = record
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
        matching = [item for item in self.document["claims"] if (item["source"], item["key"]) == (source_, key)]
        assert matching, f"{self.name} has no claim {source_} {key}"
        return dict(matching[0])

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
            (row.before, row.after, row.cause.kind, row.cause.key, row.at)
            for row in self.last.rows
            if row.cause is not None
        ]
