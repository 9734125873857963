"""Claims: the reasons for which a tenant sleeps."""

from typing import Any, Final, Literal, NamedTuple

from schemas.state import LABELS, BreakerState, SleepState

Source = Literal["breaker", "mode", "operation", "pin"]
CauseKind = Literal[
    "breaker", "operation", "cancel", "mode", "pin", "policy", "rules", "expired", "pin_ended", "hold_ended"
]
ClaimKey = tuple[Source, str]
PIN: Final[ClaimKey] = ("pin", "pin")
MODE: Final[ClaimKey] = ("mode", "mode")
MAX_BREAKERS: Final = 256
MAX_OPERATIONS: Final = 32


class Claim(NamedTuple):
    """One reason for sleep.

    `state` is what the claim asks for; a breaker's is None, since the policy in force maps its
    `breaker_state` anew at each decision. `since` and `expires_at` are milliseconds, `expires_at` None
    where the claim has no end of its own.
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

    def as_json(self, depth: SleepState) -> dict[str, Any]:
        """Return the document form, with the depth that the claim means at present."""
        return {
            "source": self.source,
            "key": self.key,
            "state": LABELS[depth],
            "breaker_state": self.breaker_state,
            "occurred_at": self.occurred_at,
            "since": self.since,
            "expires_at": self.expires_at,
            "actor": self.actor,
            "reason": self.reason,
        }


Claims = dict[ClaimKey, Claim]
"""A tenant's claims. Treated as immutable: a change makes a new dict."""


class Cause(NamedTuple):
    """What made a decision change: a kind, and the key of the claim concerned (None for `hold_ended`, `rules`)."""

    kind: CauseKind
    key: str | None

    def as_json(self) -> dict[str, str | None]:
        """Return the document form."""
        return {"kind": self.kind, "key": self.key}
