"""How the reference folds one event of a tenant: the steps of specification.md#the-fold."""

from typing import TYPE_CHECKING

from schemas.domain.policy import InvalidDocumentError, Rules, parse_policy
from schemas.domain.values import time_ms
from schemas.wire.events import BreakerEvent, CommandEvent, TenantEvent, TimerEvent
from tests.support import reference_decision as naive
from tests.support.reference_decision import Claims, Document, Terms, ms

if TYPE_CHECKING:
    from tests.support.reference import Reference


class Refused(Exception):  # noqa: N818 - a refusal is no error
    """An event that changes nothing; the text is its code."""


class EventFold:
    """One event of one tenant."""

    def __init__(self, log: "Reference", event: TenantEvent, offset: int, timestamp: int) -> None:
        self.log = log
        self.event = event
        self.timestamp = timestamp
        self.tenant = event.subject
        self.position = f"{log.partition}:{offset}"
        self.data: Document = event.data.model_dump()
        self.rules = log.rules[-1]
        self.before = log.document(self.tenant)
        before = log.tenants.get(self.tenant)
        self.record = naive.fresh(self.tenant, self.rules, timestamp) if before is None else naive.copied(before)
        self.rows: list[Document] = []

    def run(self) -> None:
        """Take the six steps."""
        record, log = self.record, self.log
        clock_before = record["clock"]
        self.now: int = max(clock_before, self.timestamp)
        record["clock"] = self.now
        self.settle()
        self.follow_the_rules()

        if isinstance(self.event, TimerEvent):
            self.timer(clock_before)
            return
        self.decided, self.state = record["decided"], record["state"]
        settled = naive.copied(record)
        try:
            if isinstance(self.event, BreakerEvent):
                self.breaker()
            else:
                self.command(self.event)
        except Refused as refused:
            self.row("refusal", self.decided, self.decided, code=str(refused))
            self.record = settled
        if self.before is not None or not self.rows or self.rows[-1]["kind"] != "refusal":
            self.keep()
        log.rows += self.rows

    def terms(self) -> Terms:
        """Return the terms in force."""
        return Terms(self.record["policy"] or self.rules.document["policy"], self.rules)

    def settle(self) -> None:
        """Step 2: what fell due is settled at its own time, under the rules last folded under."""
        earlier = self.log.rules[self.record["rules_number"]]
        terms = self.log.terms(self.record)
        while (due := naive.earliest(self.record)) is not None and due <= self.now:
            change, cause = naive.settle_one(self.record, terms, due)
            if change is not None:
                self.row("transition", *change, cause=cause, at=due, rules=earlier, own=False)

    def follow_the_rules(self) -> None:
        """Step 3: other rules have come since."""
        if self.record["rules_number"] == self.rules.number:
            return
        self.record["rules_number"] = self.rules.number
        cause = {"kind": "rules", "key": None}
        change = naive.decide(self.record, self.terms(), self.now, cause)
        if change is not None:
            self.row("transition", *change, cause=cause, own=False)

    def timer(self, clock_before: int) -> None:
        """A timer applies nothing; it may retire the record."""
        log = self.log
        if self.before is None:
            return
        retires = log.retires_at({**self.record, "clock": clock_before}, self.terms())
        if retires is not None and self.now >= retires:
            del log.tenants[self.tenant]
            log.states.append((self.tenant, None))
            log.rows += self.rows
            return
        if self.change() is not None:
            self.keep()
            log.rows += self.rows
        else:
            assert not self.rows, "a transition always shows"
            log.tenants[self.tenant]["rules_number"] = self.rules.number

    def breaker(self) -> None:
        """Steps 4 and 5 of a breaker's event."""
        data, terms, now = self.data, self.terms(), self.now
        claims: Claims = self.record["claims"]
        occurred_at = data["occurred_at"]
        if occurred_at is None and self.event.time is not None:
            occurred_at = time_ms(self.event.time)
        if occurred_at is not None and occurred_at > self.timestamp + 60_000:
            raise Refused("clock_skew")
        key = f"{data['breaker']}@{data['instance']}"
        held = claims.get(("breaker", key))
        if held is not None and None not in (occurred_at, held["occurred_at"]) and occurred_at < held["occurred_at"]:
            raise Refused("stale_event")

        means = terms.meaning(data["breaker"], data["state"])
        lease = ms(terms.rule_of(data["breaker"])["lease_seconds"])
        if means == "active":
            lease = lease or 900_000
        elif data["state"] == "forced_open":
            lease = 0
        expires_at = now + lease if lease else None
        if held is not None and held["breaker_state"] == data["state"]:
            held["occurred_at"] = occurred_at
            left = None if held["expires_at"] is None else held["expires_at"] - now
            if left is None or not 0.75 * lease <= left <= lease:
                held["expires_at"] = expires_at
            return

        room = naive.room_for(claims, key, means, terms)
        if room is None:
            if means == "active":
                return
            raise Refused("too_many_claims")
        cause = data["cause"]
        if cause is not None and len(cause.encode()) > room:
            cause = None  # As the specification says of one that does not fit.
        claims["breaker", key] = {
            "source": "breaker", "key": key, "state": None, "breaker_state": data["state"], "occurred_at": occurred_at,
            "since": now, "expires_at": expires_at, "actor": None, "reason": cause,
        }  # fmt: skip
        self.decide("breaker", key)

    def command(self, event: CommandEvent) -> None:
        """Judge the command's id, then take steps 4 and 5, and remember the outcome."""
        log, data = self.log, self.data
        first = log.commands.get((self.tenant, data["operation_id"]))
        if first is not None and self.now < naive.finished_at(first) + naive.REMEMBERED_MS and not log.forgot(first):
            same = first["asked"] == naive.asked(event)
            code = "duplicate_operation" if same else "idempotency_conflict"
            runs = log.lives(first) and ("operation", data["operation_id"]) in self.record["claims"]
            first = dict(first) if runs else log.texts_gone(first)
            log.answers.append(first if same else self.outcome(event, code=code))
            raise Refused(code)
        try:
            expires_at = self.apply()
        except Refused as refused:
            self.remember(self.outcome(event, code=str(refused)))
            raise
        self.row("outcome", self.decided, self.record["decided"])
        self.remember(self.outcome(event, state=self.record["state"], expires_at=expires_at))

    def remember(self, outcome: Document) -> None:
        """Keep the outcome for repeats of the command, and answer its caller with it."""
        self.log.commands[self.tenant, outcome["operation_id"]] = outcome
        self.log.answers.append(dict(outcome))

    def apply(self) -> int | None:
        """Apply the command; return the end of what it set."""
        data, terms, now = self.data, self.terms(), self.now
        claims: Claims = self.record["claims"]
        if data["not_after"] is not None and self.timestamp > data["not_after"]:
            raise Refused("too_late")
        ttl = data.get("ttl_ms")
        kind = self.event.type.split(".")[1]
        if kind == "operation":
            if ttl is None or not 1 <= ttl <= terms.max_ttl:
                raise Refused("ttl_out_of_range")
            if len([claim for claim in claims.values() if claim["source"] == "operation"]) >= 32:
                raise Refused("too_many_operations")
            return self.claim("operation", data["operation_id"])
        if kind == "cancel":
            cancels = data["cancels"]
            if ("operation", cancels) not in claims:
                raise Refused("not_running")
            del claims["operation", cancels]
            self.log.commands[self.tenant, cancels]["cancelled_at"] = now
            self.decide("cancel", cancels)
            return None
        if kind == "mode":
            return self.mode(ttl)
        self.policy()
        return None

    def mode(self, ttl: int | None) -> int | None:
        """Set or remove the mode or the pin; return the end of what it set."""
        data = self.data
        source = "pin" if data["override"] else "mode"
        removes = data["target"] == "active" and (ttl is None or source == "mode")
        if ttl is None and source == "pin" and not removes:
            raise Refused("ttl_out_of_range")
        if ttl is not None and (removes or not 1 <= ttl <= self.terms().max_ttl):
            raise Refused("ttl_out_of_range")
        if not removes:
            return self.claim(source, source)
        self.record["claims"].pop((source, source), None)
        self.decide(source, source)
        return None

    def policy(self) -> None:
        """Set or clear the tenant's policy."""
        data, record = self.data, self.record
        if data["if_version"] not in (None, record["policy_version"]):
            raise Refused("version_conflict")
        try:
            record["policy"] = None if data["policy"] is None else parse_policy(data["policy"]).document
        except InvalidDocumentError:
            raise Refused("invalid_policy") from None
        record["policy_version"] += 1
        self.decide("policy", "policy")

    def claim(self, source: str, key: str) -> int | None:
        """Set a claim of the command's target; setting the same state again keeps `since` only."""
        data = self.data
        claims: Claims = self.record["claims"]
        expires_at: int | None = None if data["ttl_ms"] is None else self.now + data["ttl_ms"]
        claim = {
            "source": source, "key": key, "state": data["target"], "breaker_state": None, "occurred_at": None,
            "since": self.now, "expires_at": expires_at, "actor": data["actor"], "reason": data["reason"],
        }  # fmt: skip
        held = claims.get((source, key))
        if held is not None and held["state"] == claim["state"]:
            claim["since"] = held["since"]
        claims[source, key] = claim
        self.decide(source, key)
        return expires_at

    def decide(self, kind: str, key: str) -> None:
        """Step 5."""
        cause = {"kind": kind, "key": key}
        change = naive.decide(self.record, self.terms(), self.now, cause)
        if change is not None:
            self.row("transition", *change, cause=cause)

    def outcome(
        self, event: CommandEvent, *, code: str | None = None, state: str | None = None, expires_at: int | None = None
    ) -> Document:
        """Return what is remembered of the command."""
        data = self.data
        return {
            "operation_id": data["operation_id"], "tenant_id": self.tenant, "type": event.type.split(".")[1],
            "refused": code is not None, "cancelled_at": None, "target_state": data.get("target"),
            "created_at": self.now, "expires_at": expires_at, "code": code, "state": state or self.state,
            "previous_state": self.state, "position": self.position, "actor": data["actor"],
            "reason": data["reason"], "trace_id": data["trace_id"], "asked": naive.asked(event),
        }  # fmt: skip

    def row(  # noqa: PLR0913 - an audit row has these columns
        self,
        kind: str,
        before: str,
        after: str,
        *,
        cause: Document | None = None,
        code: str | None = None,
        at: int | None = None,
        rules: Rules | None = None,
        own: bool = True,
    ) -> None:
        """Write an audit row; those of steps 2 and 3 are nobody's own."""
        data, event = self.data if own else {}, self.event
        terms = self.terms() if rules is None else Terms(self.record["policy"] or rules.document["policy"], rules)
        row = {
            "id": f"{self.position}:{len(self.rows)}", "kind": kind, "tenant": self.tenant, "from": before, "to": after,
            "cause": cause, "event_id": event.id, "event_type": event.type, "operation_id": data.get("operation_id"),
            "actor": data.get("actor"), "code": code, "decision_id": data.get("decision_id"),
            "reason": data.get("cause") if isinstance(event, BreakerEvent) else data.get("reason"),
            "enforced": terms.enforce, "at": self.now if at is None else at, "position": self.position,
            "rules": (rules or self.rules).digest,
        }  # fmt: skip
        self.rows.append(row)

    def change(self) -> Document | None:
        """Return the state record where it shows anything else than before the event."""
        after = self.log.document_of(self.record)
        return after if self.before is None or naive.shown(self.before) != naive.shown(after) else None

    def keep(self) -> None:
        """Keep the record, and publish it where it shows a change."""
        self.log.tenants[self.tenant] = self.record
        if (after := self.change()) is not None:
            expected = {"at": self.now, "position": self.position, "version": self.record["version"] + 1}
            self.record.update(expected)
            self.log.states.append((self.tenant, {**after, **expected}))
