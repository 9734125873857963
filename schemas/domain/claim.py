"""Claims: the reasons for which a tenant sleeps."""

from typing import Final, Literal

from msgspec import Struct

from schemas.domain.state import BreakerState, SleepState

Source = Literal["breaker", "mode", "operation", "pin"]
CauseKind = Literal[
    "breaker", "operation", "cancel", "mode", "pin", "policy", "rules", "expired", "pin_ended", "hold_ended"
]
NOT_YET_MADE: Final[frozenset[CauseKind]] = frozenset()
"""Kinds that this release reads and does not make. The next release makes them (`CONTRIBUTING.md`)."""
NEVER_HELD_CAUSES: Final[frozenset[CauseKind]] = frozenset({"pin", "pin_ended"})
"""Causes of decisions that no minimum sleep holds: a pin's, or its end. The depth of a pin ends with the pin."""
ClaimKey = tuple[Source, str]
PIN: Final[ClaimKey] = ("pin", "pin")
MODE: Final[ClaimKey] = ("mode", "mode")
MAX_BREAKERS: Final = 256
MAX_BREAKER_BYTES: Final = 48 * 1024
"""The largest total size of the keys and reasons of a tenant's breaker claims, in bytes of UTF-8."""
MAX_OPERATIONS: Final = 32


class Claim(Struct, frozen=True, gc=False):
    """One reason for sleep.

    `state` is the depth that the claim asks for. A breaker's is None: the policy in force maps its `breaker_state` at
    each decision. `since` and `expires_at` are milliseconds; `expires_at` is None if the claim does not expire.
    """

    source: Source
    key: str
    state: SleepState | None
    breaker_state: BreakerState | None
    occurred_at: int | None
    since: int
    expires_at: int | None
    actor: str | None
    reason: str | None


Claims = dict[ClaimKey, Claim]
"""A tenant's claims. Treated as immutable: a change makes a new dict."""


class Cause(Struct, frozen=True, gc=False):
    """The cause of a change: a kind, and a key.

    `key` is that of the claim concerned; it is `policy` for a policy, and None for `rules` and `hold_ended`.
    """

    kind: CauseKind
    key: str | None

    def as_json(self) -> dict[str, str | None]:
        """Return the document form."""
        return {"kind": self.kind, "key": self.key}
