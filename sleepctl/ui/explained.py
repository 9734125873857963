"""The output of `sleepctl replay --explain` for people: the record before, the event, each step, the record after."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.text import Text

from sleepctl.ui.output import clock, console, kind_and_key, lines
from sleepctl.ui.why import why

_LABEL: Final = 15
_NOTHING: Final = "nothing"


def print_explanation(document: Mapping[str, Any]) -> None:
    """Print the explanation of one decision."""
    out = console()
    scenario = "under the given rules or policy" if document["alternative"] else "as recorded"
    out.print(f"{document['transition']}, tenant {document['tenant']}, {clock(document['at'])}, {scenario}")
    for label, text in _lines(document):
        out.print(Text.assemble((f"{label:<{_LABEL}}", "dim"), text))


def _lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _record("before", document["before"])
    yield from _event(document["event"])
    for step in document["steps"]:
        yield from _STEPS[step["name"]](step)
    yield from _record("after", document["after"])
    if not document["published"]:
        yield "", "not published: nothing that readers see has changed"


def _record(label: str, record: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if record is None:
        yield label, "no record"
        return
    cause = record["cause"]
    why_ = "" if cause is None else f", {kind_and_key(cause['kind'], cause['key'])}"
    yield label, f"{record['state']} (decided {record['decided']}) since {clock(record['since'])}{why_}"
    for claim in record["claims"]:
        yield "", f"  {_claim(claim)}"
    facts = {name: record[name] for name in ("position", "version", "policy_version", "rules_number")}
    yield "", "  " + ", ".join(f"{name} {value}" for name, value in facts.items()) + f", clock {clock(record['clock'])}"


def _event(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = ", ".join(f"{name} {text}" for name, text in lines(event["data"]))
    yield "event", f"{event['type']} {event['id']} from {event['source']}"
    yield "", f"  {data}"


def _claim(claim: Mapping[str, Any]) -> str:
    what = kind_and_key(claim["source"], claim["key"])
    if claim["breaker_state"] is not None:
        what += f" is {claim['breaker_state']}"
    until = "without an end" if claim["expires_at"] is None else f"until {clock(claim['expires_at'])}"
    return f"{claim['state']}: {what}, since {clock(claim['since'])}, {until}"


def _clock(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    before = "none" if step["clock_before"] is None else clock(step["clock_before"])
    yield "1 clock", f"now is {clock(step['now'])}: the later of {before} and {clock(step['timestamp'])}"


def _expirations(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    label = "2 expirations"
    for claim in step["ended"]:
        yield label, f"ended: {_claim(claim)}"
        label = ""
    yield from _transitions(label, step["transitions"], _NOTHING if not step["ended"] else "the decision stays")


def _rules(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not step["newer"]:
        yield "3 rules", f"{step['present']}, as before"
        return
    yield "3 rules", f"{step['before']} before, {step['present']} now"
    yield from _transitions("", step["transitions"], "the decision stays")


def _applied(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    label = "4 event"
    if (refused := step["refused"]) is not None:
        yield label, f"refused, {refused['code']}: {refused['detail']}"
        return
    if step["retired"]:
        yield label, "the record retires"
        return
    found = [f"added: {_claim(claim)}" for claim in step["added"]]
    found += [f"removed: {_claim(claim)}" for claim in step["removed"]]
    for pair in step["changed"]:
        found += [f"before: {_claim(pair['before'])}", f"now: {_claim(pair['after'])}"]
    found += [f"the policy changes to version {step['policy_version']}"] if step["policy_changed"] else []
    for text in found or [_NOTHING]:
        yield label, text
        label = ""


def _decision(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if step["decided"] is None:
        yield "5 decision", "none: there is no record"
        return
    yield from _transitions("5 decision", step["transitions"], f"stays {step['decided']}")
    if step["state"] != step["decided"]:
        yield "", f"state {step['state']}: the policy has `enforce: false`"
    for label, text in why(step):
        yield "", f"{label}: {text}"


def _deadline(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    deadline = step["next_deadline"]
    yield "6 deadline", "none" if deadline is None else clock(deadline)
    for entry in step["forecast"]:
        yield "", f"{entry['state']} at {clock(entry['at'])}, if nothing else happens"


def _transitions(label: str, transitions: list[Mapping[str, Any]], otherwise: str) -> Iterator[tuple[str, str]]:
    for row in transitions:
        cause = kind_and_key(row["cause"]["kind"], row["cause"]["key"])
        dry = "" if row["enforced"] else ", dry run"
        yield label, f"{row['from']} to {row['to']} at {clock(row['at'])}: {cause}{dry} ({row['id']})"
        label = ""
    if not transitions:
        yield label, otherwise


_STEPS: Final = {
    "clock": _clock,
    "expirations": _expirations,
    "rules": _rules,
    "event": _applied,
    "decision": _decision,
    "deadline": _deadline,
}
