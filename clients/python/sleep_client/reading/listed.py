"""A listed tenant: its state at a time, and until when it is listed."""

import math
from collections.abc import Collection
from typing import NamedTuple

from sleep_client.reading.parameters import ParameterSet, Ramp
from sleep_client.reading.tenant_state import Cause, StateName, TenantState


class Phase(NamedTuple):
    """A state that a tenant has, or will have if nothing else happens.

    Attributes:
        at: when it begins; ignored for the first one of a tenant.
        state: its name.
        since: when the decision was taken.
        cause: why.
        ramp: the parameters.
    """

    at: int
    state: StateName
    since: int
    cause: Cause | None
    ramp: Ramp


_Remembered = tuple[int, float, bool, TenantState]
"""From when and until when an answer is right, whether it says that it is stale, and the answer."""


class Listed:
    """A listed tenant.

    It remembers its last answer. Threads may replace that at the same time: each one is right for its own time.

    Args:
        offset: of the position of its record.
        phases: the present state, and those to come, in order.
        own_policy: whether the tenant has a policy of its own, and so stays listed.
        default: the default active set of its partition.
    """

    __slots__ = ("_remembered", "offset", "own_policy", "phases", "until")

    def __init__(self, offset: int, phases: tuple[Phase, ...], default: ParameterSet, *, own_policy: bool) -> None:
        self.offset = offset
        self.phases = phases
        self.own_policy = own_policy
        self.until = self._listed_until(default)
        self._remembered: _Remembered | None = None

    def under(self, default: ParameterSet) -> "Listed":
        """Return the tenant under another default active set of its partition."""
        return Listed(self.offset, self.phases, default, own_policy=self.own_policy)

    def _listed_until(self, default: ParameterSet) -> float:
        """Return until when the tenant is listed: until it rests awake at the default set, or for ever."""
        last = self.phases[-1]
        if self.own_policy or last.state != "active" or last.ramp.target.numbers != default.numbers:
            return math.inf
        return last.ramp.ends_at

    def at(self, now: int, stale: bool) -> TenantState | None:  # noqa: FBT001 - a keyword costs a tenth of the call
        """Return the state at a time in milliseconds, None if the tenant is not listed then.

        Args:
            now: the time.
            stale: what the answer says.
        """
        remembered = self._remembered
        if remembered is not None:
            start, end, of_stale, state = remembered
            if start <= now < end and of_stale is stale:
                return state
        return self._find(now, stale)

    def _find(self, now: int, stale: bool) -> TenantState | None:  # noqa: FBT001 - as above
        if now >= self.until:
            return None
        following = None
        phase = self.phases[0]
        for later in self.phases[1:]:
            if later.at > now:
                following = later.at
                break
            phase = later
        ramp = phase.ramp
        state = TenantState(phase.state, ramp.at(now), phase.since, phase.cause, following, stale)
        if now >= ramp.ends_at:
            start = ramp.ends_at if phase is self.phases[0] else max(ramp.ends_at, phase.at)
            self._remembered = (start, self.until if following is None else following, stale, state)
        return state

    def leaves_at(self, states: Collection[str], now: int) -> int | None:
        """Return when the tenant will be in none of these states by its forecast; None if that is not known."""
        for phase in self.phases[1:]:
            if phase.at > now and phase.state not in states:
                return phase.at
        return None
