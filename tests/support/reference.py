"""A second fold, written from the sentences of specification.md#the-fold alone: slow, naive and readable.

Tests compare the worker with it. Both share the models of events, policies and schedules, and nothing else: neither
the decision, nor the deadlines, nor the fold. A record is a plain dict. A forecast is found by letting deadline after
deadline pass. Nothing is kept for the next event.
"""

from schemas.domain.policy import BUILT_IN_RULES, InvalidDocumentError, Rules, parse_rules
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.wire.cloudevents import UndecodableError, decode
from schemas.wire.events import Event, RulesEvent
from tests.support import reference_decision as naive
from tests.support.reference_decision import Document, Terms
from tests.support.reference_fold import EventFold


class Reference:
    """One partition's log, folded record after record.

    Attributes:
        tenants: the records, as dicts.
        commands: the commands by tenant and id; none is ever forgotten, only judged too old.
        highest: the highest timestamp of any record so far.
        states: what went to the states topic, in order: key and document, None for a tombstone.
        rows: the audit rows, in order, as documents without `decision`.
        answers: what each command's caller is told, in order.
    """

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self.rules: list[Rules] = [BUILT_IN_RULES]
        self.tenants: dict[str, Document] = {}
        self.commands: dict[tuple[str, str], Document] = {}
        self.highest = 0
        self.states: list[tuple[str, Document | None]] = []
        self.rows: list[Document] = []
        self.answers: list[Document] = []
        self._presence: dict[str, list[tuple[int, bool]]] = {}

    def read(self, record: SourceRecord, partitions: int) -> None:
        """Fold a record of the log; one that is a dead letter changes nothing but the highest timestamp."""
        self.highest = max(self.highest, record.timestamp)
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError:
            return
        if isinstance(event, RulesEvent) or partition_of(event.subject, partitions) == self.partition:
            self.fold(event, record.offset, record.timestamp)

    def fold(self, event: Event, offset: int, timestamp: int) -> None:
        """Fold an event."""
        self.highest = max(self.highest, timestamp)
        if not isinstance(event, RulesEvent):
            EventFold(self, event, offset, timestamp).run()
            self._presence.setdefault(event.subject, []).append((offset, event.subject in self.tenants))
            return
        number = len(self.rules)
        try:
            rules = parse_rules(number, event.data.rules)
        except InvalidDocumentError:
            return
        self.rules.append(rules)
        position = f"{self.partition}:{offset}"
        document = {"number": number, "rules": rules.document, "position": position, "at": timestamp}
        self.states.append((f"*rules:{number}", document))

    def had_record(self, tenant: str, offset: int) -> bool:
        """Tell whether a tenant had a record before the event at an offset."""
        return next((there for at, there in reversed(self._presence.get(tenant, [])) if at < offset), False)

    def take_over(self, document: Document) -> None:
        """Begin with a tenant's state record instead of with nothing."""
        record = {name: value for name, value in document.items() if name not in ("forecast", "next_deadline")}
        record["claims"] = {
            (claim["source"], claim["key"]): {**claim, "state": None if claim["breaker_state"] else claim["state"]}
            for claim in document["claims"]
        }
        self.tenants[record["tenant"]] = record

    def terms(self, record: Document) -> Terms:
        """Return the terms that a record was last folded under."""
        rules = self.rules[record["rules_number"]]
        return Terms(record["policy"] or rules.document["policy"], rules)

    def document(self, tenant: str) -> Document | None:
        """Return the state record as it stands now, None for a tenant without one."""
        record = self.tenants.get(tenant)
        return None if record is None else self.document_of(record)

    def document_of(self, record: Document) -> Document:
        """Return the state record of a record."""
        terms = self.terms(record)
        claims = [
            {**claim, "state": terms.depth(claim)}
            for claim in sorted(record["claims"].values(), key=lambda claim: (claim["source"], claim["key"]))
        ]
        derived = {"forecast": naive.forecast(record, terms), "next_deadline": naive.next_deadline(record, terms)}
        return {**record, **derived, "claims": claims}

    def timer_due(self, tenant: str) -> int | None:
        """Return the time of the tenant's entry in the sorted set of timers."""
        record = self.tenants.get(tenant)
        if record is None:
            return None
        terms = self.terms(record)
        due = naive.next_deadline(record, terms)
        return due if due is not None else self.retires_at(record, terms)

    def open_ended(self, tenant: str) -> bool:
        """Tell whether the tenant has a pin, or a claim deeper than active without an end."""
        record = self.tenants.get(tenant)
        return record is not None and any(
            claim["source"] == "pin" or (claim["expires_at"] is None and self.terms(record).depth(claim) != "active")
            for claim in record["claims"].values()
        )

    def lives(self, command: Document) -> bool:
        """Tell whether a command is an operation that runs."""
        if command["type"] != "operation" or command["refused"] or command["cancelled_at"] is not None:
            return False
        record = self.tenants.get(command["tenant_id"])
        return record is not None and ("operation", command["operation_id"]) in record["claims"]

    def forgot(self, command: Document) -> bool:
        """Tell whether nobody in the partition knows a command any more."""
        return self.highest >= naive.finished_at(command) + 2 * naive.REMEMBERED_MS

    @staticmethod
    def texts_gone(command: Document) -> Document:
        """Return what is left of a command that has ended."""
        return {**command, "actor": None, "reason": None, "trace_id": None}

    @staticmethod
    def retires_at(record: Document, terms: Terms) -> int | None:
        """Return when a record may go, None where something keeps it."""
        if record["decided"] != "active" or record["policy_version"] or ("pin", "pin") in record["claims"]:
            return None
        if any(terms.depth(claim) != "active" for claim in record["claims"].values()):
            return None
        last: int = max(record["clock"], record["since"], record["parameters"]["ends_at"])
        return last + terms.retire_after
