"""resilience4j: the events that Spring Boot Actuator shows under `circuitbreakerevents`.

A document is one event, or the endpoint's answer with a list of them. Source: `CircuitBreakerEventDTO` and
`CircuitBreakerEventsEndpointResponse` of resilience4j-framework-common 2.3, `CircuitBreaker.StateTransition` and
`CircuitBreakerEvent.Type` of resilience4j-circuitbreaker 2.3.

- Only `STATE_TRANSITION` changes a state. `RESET` follows its own transition. The library has types `FORCED_OPEN` and
  `DISABLED`, but reports these states as transitions.
- `creationTime` is what `ZonedDateTime.toString` of Java returns. It may end with a zone in brackets, and has no
  seconds if they are 0. The offset before the brackets counts. The zone's name is ambiguous when clocks go back.
"""

import re
from typing import Final

from schemas.domain.state import BreakerState
from schemas.formats.parts import Found, Part, document_of, milliseconds, wrong
from schemas.formats.report import Content, Report

_TRANSITION: Final = "STATE_TRANSITION"
_TYPES: Final = dict.fromkeys(
    (
        _TRANSITION,
        "ERROR",
        "IGNORED_ERROR",
        "SUCCESS",
        "NOT_PERMITTED",
        "RESET",
        "FORCED_OPEN",
        "DISABLED",
        "FAILURE_RATE_EXCEEDED",
        "SLOW_CALL_RATE_EXCEEDED",
    )
)
_STATES: Final[dict[str, BreakerState]] = {
    "CLOSED": "closed",
    "OPEN": "open",
    "HALF_OPEN": "half_open",
    "FORCED_OPEN": "forced_open",
    "DISABLED": "disabled",
    "METRICS_ONLY": "metrics_only",
}
_TRANSITIONS: Final = {f"{before}_TO_{after}": state for before in _STATES for after, state in _STATES.items()}
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d(?::\d\d)?)(\[[^\]]+\])?")


def read(value: bytes | None) -> Content:
    """Return the transitions of a document.

    Raises:
        UndecodableError: if it is neither an event nor a list of events.
    """
    root = document_of(value)
    events = root.parts("circuitBreakerEvents") if "circuitBreakerEvents" in root.members else [root]
    reports = [report for event in events if (report := _report(event)) is not None]
    others = len(events) - len(reports)
    return Content(reports, {"no_transition": others} if others else {})


def _report(event: Part) -> Report | None:
    event.one_of("type", _TYPES)
    if event.members["type"] != _TRANSITION:
        return None
    transition = event.found("stateTransition").text
    if transition not in _TRANSITIONS:
        raise wrong(event.at("stateTransition"), "must be a transition of resilience4j, such as CLOSED_TO_OPEN")
    return Report(
        event,
        _TRANSITIONS[transition],
        breaker=event.found("circuitBreakerName"),
        occurred_at=_milliseconds(event.found("creationTime")),
        cause=transition,
    )


def _milliseconds(time: Found) -> int:
    match = _TIME.fullmatch(time.text)
    if match is None:
        raise wrong(time.field, "must be a time with an offset (2026-01-31T12:00:00.123+01:00[Europe/Paris])")
    return milliseconds(Found(f"{match[1]}{match[2] or ':00'}{match[3]}", time.field))
