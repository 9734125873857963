"""The flags of OpenFeature: what the provider and the gate's OFREP answer, from the state of a tenant."""

from typing import Final, NamedTuple

from sleep_client.reading.parameters import NAMES
from sleep_client.reading.tenant_state import TenantState

STATE: Final = "sleep.state"
PARAMETERS: Final[dict[str, str]] = {f"sleep.{name}": name for name in NAMES}
KEYS: Final = (STATE, *PARAMETERS)
_WHOLE: Final = "K"
"""The parameter that is a whole number."""


class Flag(NamedTuple):
    """The value of a flag for a tenant.

    Attributes:
        key: such as `sleep.K`.
        value: a text for `sleep.state`, an integer for `sleep.K`, else a float.
        variant: the state of the tenant.
        reason: `TARGETING_MATCH`; `STALE` if the value is not from an open stream.
        metadata: `state` and `stale`; `ends_at` if the tenant's forecast has a next state.
    """

    key: str
    value: str | int | float
    variant: str
    reason: str
    metadata: dict[str, bool | int | float | str]


def flag_of(key: str, state: TenantState) -> Flag | None:
    """Return a flag for a tenant in this state; None if there is no such flag, or its parameter is not known."""
    value: str | int | float = state.state
    if key != STATE:
        name = PARAMETERS.get(key, "")
        number = state.parameters.get(name)
        if number is None:
            return None
        value = int(number) if name == _WHOLE else float(number)
    metadata: dict[str, bool | int | float | str] = {"state": state.state, "stale": state.stale}
    if state.ends_at is not None:
        metadata["ends_at"] = state.ends_at
    return Flag(key, value, state.state, "STALE" if state.stale else "TARGETING_MATCH", metadata)
