"""Parses a published state record into a record: the inverse of `schemas.wire.tenant_view`."""

from collections.abc import Container, Mapping
from typing import Any, Final, get_args

from schemas.domain.claim import Cause, CauseKind, Claim, Source
from schemas.domain.policy import InvalidDocumentError, parse_policy
from schemas.domain.record import Record
from schemas.domain.schedule import PARAMETERS, ParameterSet, Ramp
from schemas.domain.sealing import NewerCodeError
from schemas.domain.state import BY_LABEL, BreakerState

POSITION_HEADER: Final = "sleep.position"
"""Header of a tombstone on the states topic: the position of the event that retired the record."""
NEW_HEADER: Final = "sleep.new"
"""Header of a state whose tenant had no record before its commit: the position at which that commit began."""

_SOURCES: Final = frozenset(get_args(Source))
_CAUSE_KINDS: Final = frozenset(get_args(CauseKind))
_BREAKER_STATES: Final = frozenset(get_args(BreakerState))


def parse_position(position: str) -> tuple[int, int]:
    """Return the partition and the offset of a position `P:O`.

    Raises:
        ValueError: if it is not a position.
    """
    partition, _, offset = position.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        msg = f"{position!r} is not a position"
        raise ValueError(msg)
    return int(partition), int(offset)


def parse_state_record(document: Mapping[str, Any]) -> Record:
    """Return the record of a state record, which contains all of it.

    Raises:
        NewerCodeError: if it holds a name that only a newer release knows.
        ValueError: if the document is not a state record.
    """
    try:
        _, offset = parse_position(document["position"])
        policy = document["policy"]
        ramp = document["parameters"]
        cause = document["cause"]
        claims = [_claim(claim) for claim in document["claims"]]
        return Record(
            state=BY_LABEL[_known("state", document["state"], BY_LABEL)],
            decided=BY_LABEL[_known("state", document["decided"], BY_LABEL)],
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
    except InvalidDocumentError as error:
        if error.unknown is not None:
            raise NewerCodeError("policy field", error.unknown) from error
        msg = f"not a state record: {error}"
        raise ValueError(msg) from error
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"not a state record: {type(error).__name__}: {error}"
        raise ValueError(msg) from error


def _claim(claim: Mapping[str, Any]) -> Claim:
    """Return a claim. The depth of a breaker's claim is dropped, since each decision maps it again."""
    source, breaker_state, key = _known("claim source", claim["source"], _SOURCES), claim["breaker_state"], claim["key"]
    if breaker_state is not None:
        _known("breaker state", breaker_state, _BREAKER_STATES)
    if (source == "breaker") != (breaker_state is not None) or (breaker_state is not None and "@" not in key):
        msg = f"not a state record: a claim of source {source!r}, key {key!r} in breaker state {breaker_state!r}"
        raise ValueError(msg)
    return Claim(
        source=source,
        key=key,
        state=BY_LABEL[_known("state", claim["state"], BY_LABEL)] if breaker_state is None else None,
        breaker_state=breaker_state,
        occurred_at=_integer_or_none(claim["occurred_at"]),
        since=_integer(claim["since"]),
        expires_at=_integer_or_none(claim["expires_at"]),
        actor=claim["actor"],
        reason=claim["reason"],
    )


def _cause(cause: Mapping[str, Any]) -> Cause:
    return Cause(_known("cause", cause["kind"], _CAUSE_KINDS), cause["key"])


def _known(what: str, name: Any, names: Container[str]) -> Any:  # noqa: ANN401 - one of a `Literal`'s names
    if not isinstance(name, str):
        msg = f"not a state record: {name!r} where the name of a {what} belongs"
        raise ValueError(msg)  # noqa: TRY004 - the document is wrong, not the caller
    if name not in names:
        raise NewerCodeError(what, name)
    return name


def _set(parameters: Mapping[str, float]) -> ParameterSet:
    values = [parameters[name] for name in PARAMETERS]
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
