"""A report of a breaker: names that the server accepts, and a state in its spelling."""

import re
from typing import Final, Literal, NamedTuple

from sleep_client.protocol.names import check_tenant

State = Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]
DropReason = Literal["invalid", "full", "replaced", "refused", "closed", "failed"]
"""Why a report was not sent.

- `invalid`: a name or the state is not valid.
- `full`: too many different breakers and instances are remembered.
- `replaced`: a later state of the same breaker and instance came before the report could be sent.
- `refused`: the server finds the report invalid.
- `closed`: the emitter was closed before, or its close ended before the report was sent.
- `failed`: an error of this library.
"""

SLEEPING: Final[frozenset[State]] = frozenset({"open", "half_open", "forced_open"})
"""The states that put a tenant to sleep. Its policy decides how deep."""
MOST_NAME: Final = 200
MOST_TEXT: Final = 256

_STATES: Final[dict[str, State]] = {
    "closed": "closed",
    "open": "open",
    "halfopen": "half_open",
    "forcedopen": "forced_open",
    "disabled": "disabled",
    "metricsonly": "metrics_only",
}
_SEPARATORS: Final = str.maketrans("", "", "-_ ")
# Control characters, and lone surrogates, which no UTF-8 can hold.
_UNSENDABLE: Final = "\x00-\x1f\x7f-\x9f\ud800-\udfff"
_BREAKER: Final = re.compile(f"[^@{_UNSENDABLE}]{{1,{MOST_NAME}}}")
_INSTANCE: Final = re.compile(f"[^{_UNSENDABLE}]{{0,{MOST_NAME}}}")
_IN_TEXT: Final = re.compile(f"[{_UNSENDABLE}]+")


class Key(NamedTuple):
    """The breaker of one instance. The server has at most one claim for each key."""

    tenant: str
    breaker: str
    instance: str


class Report(NamedTuple):
    """The state of a breaker, as of a moment.

    Attributes:
        key: the breaker and its instance.
        state: in the server's spelling.
        cause: for people; None if there is none.
        at: seconds of the local monotonic clock.
    """

    key: Key
    state: State
    cause: str | None
    at: float


def read(tenant: object, breaker: object, state: object, instance: object, cause: object, at: float) -> Report:
    """Return a report whose fields the server accepts.

    A cause is cut and cleaned, never refused: it often is the text of an exception.

    Raises:
        ValueError: if a name or the state is invalid; the text says which and what is allowed.
    """
    name_of_tenant = check_tenant(tenant)
    if not isinstance(breaker, str) or _BREAKER.fullmatch(breaker) is None:
        raise ValueError(f"breaker {breaker!r:.100}: use 1 to {MOST_NAME} characters without @ and control characters")
    if not isinstance(instance, str) or _INSTANCE.fullmatch(instance) is None:
        raise ValueError(f"instance {instance!r:.100}: use up to {MOST_NAME} characters without control characters")
    return Report(Key(name_of_tenant, breaker, instance), read_state(state), text(cause), at)


def read_state(spelling: object) -> State:
    """Return a state; case, hyphens, underscores and spaces do not matter.

    Raises:
        ValueError: if there is no such state.
    """
    if isinstance(spelling, str):
        state = _STATES.get(spelling) or _STATES.get(spelling.translate(_SEPARATORS).lower())
        if state is not None:
            return state
    raise ValueError(f"state {spelling!r:.100}: use one of {', '.join(_STATES.values())}")


def text(value: object) -> str | None:
    """Return text that an event may carry: at most 256 characters, without control characters; None for none."""
    if value is None:
        return None
    return _IN_TEXT.sub(" ", str(value)[:MOST_TEXT]) or None


def name(value: str) -> str:
    """Return a name of an instance that an event may carry, cut to its longest length."""
    return _IN_TEXT.sub(" ", value)[:MOST_NAME]
