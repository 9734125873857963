"""What was published, read back: a state record as the record that it shows. The inverse of `schemas.public`."""

from collections.abc import Mapping
from typing import Any, Final, get_args

from schemas.claim import Cause, CauseKind, Claim, Source
from schemas.policy import InvalidDocumentError, parse_policy
from schemas.record import Record
from schemas.schedule import PARAMETERS, ParameterSet, Ramp
from schemas.state import BY_LABEL, BreakerState

_SOURCES: Final = frozenset(get_args(Source))
_CAUSES: Final = frozenset(get_args(CauseKind))
_BREAKER_STATES: Final = frozenset(get_args(BreakerState))


def parse_position(position: str) -> tuple[int, int]:
    """Return the partition and the offset of a position `P:O`.

    Raises:
        ValueError: if it is none.
    """
    partition, _, offset = position.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        msg = f"{position!r} is not a position"
        raise ValueError(msg)
    return int(partition), int(offset)


def record_of(document: Mapping[str, Any]) -> Record:
    """Return the record that a state record shows; all of it is shown, so nothing is lost.

    Raises:
        ValueError: if the document is not a state record.
    """
    try:
        _, offset = parse_position(document["position"])
        policy = document["policy"]
        ramp = document["parameters"]
        cause = document["cause"]
        claims = [_claim(found) for found in document["claims"]]
        return Record(
            state=BY_LABEL[document["state"]],
            decided=BY_LABEL[document["decided"]],
            since=_integer(document["since"]),
            cause=None if cause is None else _cause(cause),
            claims={(claim.source, claim.key): claim for claim in claims},
            ramp=Ramp(_set(ramp["from"]), _set(ramp["to"]), _integer(ramp["starts_at"]), _integer(ramp["ends_at"])),
            policy=None if policy is None else parse_policy(policy),
            policy_version=_integer(document["policy_version"]),
            held_until=_integer_or_none(document["held_until"]),
            at=_integer(document["at"]),
            clock=_integer(document["clock"]),
            offset=offset,
            version=_integer(document["version"]),
            rules_number=_integer(document["rules_number"]),
        )
    except (KeyError, TypeError, AttributeError, InvalidDocumentError) as error:
        msg = f"not a state record: {type(error).__name__}: {error}"
        raise ValueError(msg) from error


def _claim(found: Mapping[str, Any]) -> Claim:
    """Return a claim; what a breaker's means is mapped anew at each decision, so its depth is not kept."""
    source, breaker_state, key = found["source"], found["breaker_state"], found["key"]
    wrong = breaker_state is not None and (breaker_state not in _BREAKER_STATES or "@" not in key)
    if source not in _SOURCES or (source == "breaker") != (breaker_state is not None) or wrong:
        msg = f"not a state record: a claim of source {source!r}, key {key!r} in breaker state {breaker_state!r}"
        raise ValueError(msg)
    return Claim(
        source=source,
        key=key,
        state=BY_LABEL[found["state"]] if breaker_state is None else None,
        breaker_state=breaker_state,
        occurred_at=_integer_or_none(found["occurred_at"]),
        since=_integer(found["since"]),
        expires_at=_integer_or_none(found["expires_at"]),
        actor=found["actor"],
        reason=found["reason"],
    )


def _cause(found: Mapping[str, Any]) -> Cause:
    if found["kind"] not in _CAUSES:
        msg = f"not a state record: a cause of kind {found['kind']!r}"
        raise ValueError(msg)
    return Cause(found["kind"], found["key"])


def _set(found: Mapping[str, float]) -> ParameterSet:
    values = [found[name] for name in PARAMETERS]
    if not all(type(value) in (int, float) for value in values):
        msg = f"not a state record: parameters {values}"
        raise ValueError(msg)
    return ParameterSet(*values)


def _integer(value: object) -> int:
    if type(value) is not int:
        msg = f"not a state record: {value!r} where an integer belongs"
        raise ValueError(msg)
    return value


def _integer_or_none(value: object) -> int | None:
    return None if value is None else _integer(value)
