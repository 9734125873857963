"""Decisions and deadlines, written from the sentences of specification.md#decision alone: slow, naive and readable.

The other half of `tests.support.reference`. A record is a plain dict. A forecast is found by letting one deadline
after the other pass.
"""

import re
from collections.abc import Iterable
from typing import Any

from schemas.domain.policy import InvalidDocumentError, Rules, parse_policy
from schemas.domain.schedule import BUILT_IN_SCHEDULE, schedule_as_json
from schemas.wire.events import CommandEvent
from tests.support.times import HOUR

Document = dict[str, Any]
Claims = dict[tuple[str, str], Document]
REMEMBERED_MS = HOUR
"""How long a command is remembered after its end; a test that sets another time sets it here."""
_NOT_SHOWN = ("clock", "rules_number", "at", "position", "version")
DEPTHS = ["active", "light", "deep", "freeze"]
BUILT_IN_RULE: Document = {"match": "*", "open": "freeze", "half_open": "light", "quorum": 1, "lease_seconds": 900}
_TRIPPED = {"open": "open", "forced_open": "open", "half_open": "half_open"}


class Terms:
    """What decides a tenant's sleep beside its claims, read from documents."""

    def __init__(self, policy: Document, rules: Rules) -> None:
        self.floor: str = policy["floor"]
        self.ceiling = min(policy["ceiling"], rules.document["policy"]["ceiling"], key=DEPTHS.index)
        self.enforce: bool = policy["enforce"]
        self.min_sleep = ms(policy["min_sleep_seconds"])
        self.max_ttl = ms(policy["max_ttl_seconds"])
        self.deepen = ms(policy["ramp_seconds"]["deepen"])
        self.wake = ms(policy["ramp_seconds"]["wake"])
        self.breakers: list[Document] = policy["breakers"]
        self._found: dict[str, Document] = {}
        self.schedule: Document = (
            policy["schedule"] or rules.document["schedule"] or dict(schedule_as_json(BUILT_IN_SCHEDULE))
        )
        self.retire_after = ms(rules.document["retire_after_seconds"])

    def rule_of(self, name: str) -> Document:
        """Return the first rule whose pattern matches the name, else the built-in one."""
        if name not in self._found:
            matching = (rule for rule in self.breakers if self._matches(rule["match"], name))
            self._found[name] = next(matching, BUILT_IN_RULE)
        return self._found[name]

    @staticmethod
    def _matches(pattern: str, name: str) -> bool:
        expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        return re.fullmatch(expression, name, re.DOTALL) is not None

    def meaning(self, name: str, breaker_state: str) -> str:
        """Return what a breaker's state means."""
        field = _TRIPPED.get(breaker_state)
        return "active" if field is None else str(self.rule_of(name)[field])

    def depth(self, claim: Document) -> str:
        """Return what a claim asks for."""
        if claim["source"] == "breaker":
            return self.meaning(claim["key"].split("@")[0], claim["breaker_state"])
        return str(claim["state"])


def copied(record: Document) -> Document:
    """Return a copy whose claims may be changed; parameters and policies are replaced whole."""
    return {**record, "claims": {key: dict(claim) for key, claim in record["claims"].items()}}


def fresh(tenant: str, rules: Rules, now: int) -> Document:
    """Return the record of a tenant that was never seen."""
    active = Terms(rules.document["policy"], rules).schedule["active"]
    return {
        "tenant": tenant, "state": "active", "decided": "active", "since": now, "cause": None, "claims": {},
        "parameters": {"from": active, "to": active, "starts_at": now, "ends_at": now}, "policy": None,
        "policy_version": 0, "held_until": None, "at": now, "clock": now, "position": None, "version": 0,
        "rules_number": rules.number,
    }  # fmt: skip


def ms(seconds: float) -> int:
    """Return seconds as milliseconds, rounded to the nearest."""
    return round(seconds * 1000)


def deepest(depths: Iterable[str]) -> str:
    """Return the deepest, `active` where there is none."""
    return max(depths, key=DEPTHS.index, default="active")


def parameters_at(ramp: Document, now: int) -> Document:
    """Return the parameters at a time: `from + (to - from) * clamp(passed)`, exactly `to` from `ends_at` on."""
    if now >= ramp["ends_at"]:
        return dict(ramp["to"])
    passed = min(max((now - ramp["starts_at"]) / (ramp["ends_at"] - ramp["starts_at"]), 0), 1)
    return {
        name: start + (end - start) * passed
        for (name, start), end in zip(ramp["from"].items(), ramp["to"].values(), strict=True)
    }


def wanted(record: Document, terms: Terms) -> str:
    """Return the decision before any hold."""
    claims = record["claims"]
    if ("pin", "pin") in claims:
        return str(claims["pin", "pin"]["state"])
    asked = [terms.floor]
    names: dict[str, list[str]] = {}
    for claim in claims.values():
        if claim["source"] == "breaker":
            names.setdefault(claim["key"].split("@")[0], []).append(terms.depth(claim))
        else:
            asked.append(claim["state"])
    for name, depths in names.items():
        quorum = terms.rule_of(name)["quorum"]
        depths.sort(key=DEPTHS.index, reverse=True)
        asked.append(depths[quorum - 1] if len(depths) >= quorum else "active")
    return deepest(asked) if DEPTHS.index(deepest(asked)) < DEPTHS.index(terms.ceiling) else terms.ceiling


def hold(record: Document, target: str, terms: Terms, now: int) -> int | None:
    """Return until when `decided` stays although `target` is shallower, or None."""
    decided = DEPTHS.index(record["decided"])
    until: int = record["since"] + terms.min_sleep
    kind = None if record["cause"] is None else record["cause"]["kind"]
    excepted = (
        DEPTHS.index(terms.ceiling) < decided
        or ("pin", "pin") in record["claims"]
        or kind in ("pin", "pin_ended")
        or not terms.enforce
        or record["state"] != record["decided"]  # "a hold never adds sleep that was not there"
    )
    return until if DEPTHS.index(target) < decided and now < until and not excepted else None


def decide(record: Document, terms: Terms, now: int, cause: Document) -> tuple[str, str] | None:
    """Take the decision into the record; return `decided` before and after it where anything changed."""
    target = wanted(record, terms)
    record["held_until"] = hold(record, target, terms, now)
    decided = target if record["held_until"] is None else record["decided"]
    state = decided if terms.enforce else "active"
    ramp = record["parameters"]
    if state != record["state"] or terms.schedule[state] != ramp["to"]:
        deeper = DEPTHS.index(state) > DEPTHS.index(record["state"])
        length = terms.deepen if deeper else terms.wake
        record["parameters"] = {
            "from": parameters_at(ramp, now),
            "to": terms.schedule[state],
            "starts_at": now,
            "ends_at": now + length,
        }
    before = record["decided"]
    if decided == before and state == record["state"]:
        return None
    if decided != before:
        record.update(since=now, cause=cause)
    record.update(decided=decided, state=state)
    return before, decided


def earliest(record: Document) -> int | None:
    """Return the earliest deadline: a claim's end, or the hold's."""
    times = [record["held_until"], *(claim["expires_at"] for claim in record["claims"].values())]
    return min((time for time in times if time is not None), default=None)


def settle_one(record: Document, terms: Terms, due: int) -> tuple[tuple[str, str] | None, Document]:
    """Let what ends at `due` end; return what the decision changed, and the cause."""
    claims = record["claims"]
    ended = [claim for claim in claims.values() if claim["expires_at"] is not None and claim["expires_at"] <= due]
    for claim in ended:
        del claims[claim["source"], claim["key"]]
    cause: Document
    if any(claim["source"] == "pin" for claim in ended):
        cause = {"kind": "pin_ended", "key": "pin"}
    elif ended:
        ended.sort(key=lambda claim: (claim["source"], claim["key"]))
        cause = {"kind": "expired", "key": max(ended, key=lambda claim: DEPTHS.index(terms.depth(claim)))["key"]}
    else:
        cause = {"kind": "hold_ended", "key": None}
    return decide(record, terms, due, cause), cause


def forecast(record: Document, terms: Terms) -> list[Document]:
    """Return the changes of `state` that follow if nothing else arrives, by letting everything fall due in turn."""
    record = copied(record)
    seen = []
    while (due := earliest(record)) is not None:
        state = record["state"]
        settle_one(record, terms, due)
        if record["state"] != state:
            seen.append({"at": due, "state": record["state"], "parameters": record["parameters"]})
    return seen


def next_deadline(record: Document, terms: Terms) -> int | None:
    """Return when a pin, a claim deeper than active, or the hold ends."""
    claims = record["claims"].values()
    counting = [claim for claim in claims if claim["source"] == "pin" or terms.depth(claim) != "active"]
    times = [record["held_until"], *(claim["expires_at"] for claim in counting)]
    return min((time for time in times if time is not None), default=None)


def room_for(claims: Claims, key: str, means: str, terms: Terms) -> int | None:
    """Make room for a breaker's claim; return how many bytes are left for its cause, or None where there is no room."""
    others = [claim for claim in claims.values() if claim["source"] == "breaker" and claim["key"] != key]
    idle = [claim for claim in others if terms.depth(claim) == "active"]
    known = ("breaker", key) in claims
    leaving: list[Document] = []
    while True:
        texts = [claim["key"] + (claim["reason"] or "") for claim in others]
        room = 48 * 1024 - len("".join([key, *texts]).encode())
        if known or (len(others) < 256 and room >= 0):
            for claim in leaving:
                del claims["breaker", claim["key"]]
            return room
        if means == "active" or not idle:
            return None
        ends = [claim["expires_at"] for claim in idle if claim["expires_at"] is not None]
        last = [claim for claim in idle if claim["expires_at"] == (min(ends) if ends else None)]
        gone = min(last, key=lambda claim: str(claim["key"]))
        idle.remove(gone)
        others.remove(gone)
        leaving.append(gone)


def shown(document: Document) -> Document:
    """Return what counts as a change of the state record."""
    remaining = {name: value for name, value in document.items() if name not in _NOT_SHOWN}
    remaining["claims"] = [{**claim, "occurred_at": None} for claim in remaining["claims"]]
    return remaining


def _typed(value: object) -> object:
    """Return JSON that compares as JSON does: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    return [_typed(item) for item in value] if isinstance(value, list) else value


def asked(event: CommandEvent) -> Document:
    """Return what is compared when a command's id comes again."""
    data = event.data.model_dump()
    compared = {name: data.get(name) for name in ("target", "ttl_ms", "override", "cancels", "policy", "if_version")}
    if compared["policy"] is not None:
        try:
            compared["policy"] = parse_policy(compared["policy"]).document
        except InvalidDocumentError:
            compared["policy"] = _typed(compared["policy"])
    return {"type": event.type, **compared}


def finished_at(outcome: Document) -> int:
    """Return when a command was, or will be, over."""
    if outcome["cancelled_at"] is not None:
        return int(outcome["cancelled_at"])
    if outcome["type"] == "operation" and outcome["code"] is None:
        return int(outcome["expires_at"])
    return int(outcome["created_at"])
