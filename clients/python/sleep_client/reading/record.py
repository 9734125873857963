"""The public record of a tenant, from the JSON of the stream."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, cast

from sleep_client.reading.errors import BadStreamError
from sleep_client.reading.listed import Phase
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.tenant_state import DEPTHS, STATES, Cause, StateName


class Position(NamedTuple):
    """A position `P:O` of the log; the offset is -1 before the first record."""

    partition: int
    offset: int


class PublicRecord(NamedTuple):
    """What counts of a record."""

    tenant: str
    position: Position
    phases: tuple[Phase, ...]
    own_policy: bool


def read_position(text: object) -> Position:
    """Return the position of a text.

    Raises:
        BadStreamError: if it is none.
    """
    if isinstance(text, str):
        partition, _, offset = text.partition(":")
        if partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit():
            return Position(int(partition), int(offset))
    raise BadStreamError(f"{text!r:.60} is no position")


def read_record(document: Mapping[str, Any], sets: ParameterReader) -> PublicRecord:
    """Return what counts of a record; further fields are ignored.

    Raises:
        BadStreamError: if it is no record that this client understands.
    """
    try:
        first = Phase(
            document["at"],
            _state(document["state"]),
            document["since"],
            _cause(document["cause"]),
            sets.ramp(document["parameters"]),
        )
        phases = [first]
        for change in document["forecast"]:
            at = change["at"]
            cause = _cause_of_end(document["claims"], at)
            phases.append(Phase(at, _state(change["state"]), at, cause, sets.ramp(change["parameters"])))
        tenant = document["tenant"]
        own_policy = document["policy"] is not None
    except (KeyError, TypeError, AttributeError) as error:
        raise BadStreamError(f"a record of a tenant cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(tenant, str) or any(
        type(time) is not int for phase in phases for time in (phase.at, phase.since)
    ):
        raise BadStreamError("a record has no tenant, or no time in milliseconds")
    if any(before.at >= after.at for before, after in pairwise(phases[1:])):
        raise BadStreamError("a forecast is not in order")
    return PublicRecord(tenant, read_position(document.get("position")), tuple(phases), own_policy)


def _state(name: object) -> StateName:
    if name not in STATES:
        raise BadStreamError(f"{name!r:.40} is no state that this client knows")
    return cast("StateName", name)


def _cause(document: Mapping[str, Any] | None) -> Cause | None:
    return None if document is None else Cause(document["kind"], document["key"])


def _cause_of_end(claims: list[Mapping[str, Any]], at: int) -> Cause:
    """Return the cause of a change that the forecast names: which claims end then. The log will say the same."""
    ended = [claim for claim in claims if claim["expires_at"] == at]
    if not ended:
        return Cause("hold_ended", None)
    if any(claim["source"] == "pin" for claim in ended):
        return Cause("pin_ended", "pin")
    deepest = min(ended, key=lambda claim: (-DEPTHS[claim["state"]], claim["source"], claim["key"]))
    return Cause("expired", deepest["key"])
