"""Which tenants a reader of states has to know: until when a tenant is listed, by its public record alone. Pure.

A reader takes an unlisted tenant for `active`, with the default active set of the tenant's partition.
"""

import math

import msgspec
from msgspec import Struct

from schemas.domain.deadlines import forecast
from schemas.domain.policy import Terms
from schemas.domain.record import Record
from schemas.domain.schedule import ParameterSet, Ramp
from schemas.domain.state import SleepState, StateName


class _Change(Struct, frozen=True, gc=False):
    """A change of `state` to come."""

    at: int
    state: StateName
    parameters: Ramp


class _OwnPolicy(Struct, frozen=True, gc=False):
    """A policy of the tenant's own. Only its presence counts."""


class PublicState(Struct, frozen=True, gc=False):
    """The fields of a state record by which a tenant is listed. Further fields are ignored."""

    tenant: str
    state: StateName
    parameters: Ramp
    forecast: list[_Change]
    policy: _OwnPolicy | None
    position: str


_DECODER = msgspec.json.Decoder(PublicState)


def parse_public_state(value: bytes) -> PublicState:
    """Return the state in a record of the states topic.

    Raises:
        ValueError: if it is not such a record.
    """
    return _DECODER.decode(value)


class Rest(Struct, frozen=True, gc=False):
    """How a tenant ends up awake by itself.

    Attributes:
        parameters: the set at which its last ramp ends.
        at: when that ramp ends, in milliseconds of the log.
    """

    parameters: ParameterSet
    at: int


def rest_of(record: PublicState) -> Rest | None:
    """Return how a tenant ends up awake by its own forecast, None if it does not.

    A tenant with a policy of its own never does. Its active set follows its own schedule, or that of the rules without
    the schedule of their policy. So new rules may change the default, and not the tenant.
    """
    if record.policy is not None:
        return None
    last = record.forecast[-1] if record.forecast else record
    if last.state != "active":
        return None
    return Rest(last.parameters.target, last.parameters.ends_at)


def rest_of_record(record: Record, terms: Terms) -> Rest | None:
    """Return the same as `rest_of`, of a record under the terms that it was last folded under."""
    if record.policy is not None:
        return None
    changes = forecast(record, terms)
    state, ramp = (changes[-1].state, changes[-1].ramp) if changes else (record.state, record.ramp)
    return Rest(ramp.target, ramp.ends_at) if state is SleepState.active else None


def listed_until(rest: Rest | None, default: ParameterSet) -> float:
    """Return until when a tenant is listed, in milliseconds of the log; infinity if for ever.

    Args:
        rest: from `rest_of`.
        default: the active set of the rules of the tenant's partition.
    """
    return math.inf if rest is None or rest.parameters != default else rest.at
