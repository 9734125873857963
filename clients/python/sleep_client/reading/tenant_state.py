"""The state of a tenant, as callers get it."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

StateName = Literal["active", "light", "deep", "freeze"]
STATES: Final[frozenset[str]] = frozenset(get_args(StateName))
DEPTHS: Final[dict[str, int]] = {name: depth for depth, name in enumerate(get_args(StateName))}


class Cause(NamedTuple):
    """Why a tenant is in its state: a kind, and the key of the claim concerned, as the specification lists them."""

    kind: str
    key: str | None


class TenantState(NamedTuple):
    """How a tenant sleeps at this moment. Times are milliseconds since the epoch, of the log.

    Attributes:
        state: from awake to deepest `active`, `light`, `deep` or `freeze`.
        parameters: the values of `K`, `t`, `tau`, `eta`, `lambda` and `B`. They cannot be changed.
        since: when the state began. None if the tenant is not listed: it is awake, and nobody remembers since when.
        cause: why; None if the tenant is not listed, or is new.
        ends_at: when the next state begins by itself. None if nothing is to come.
        stale: whether the answer is not from an open stream: it follows the last known forecast, or is what the caller
            gave for such a time.
    """

    state: StateName
    parameters: Mapping[str, float]
    since: int | None = None
    cause: Cause | None = None
    ends_at: int | None = None
    stale: bool = False
