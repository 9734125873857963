"""The actions of callers, and the budgets of the rate limits."""

from typing import Final, Literal

Action = Literal[
    "read",
    "sleep",
    "cognitive_sleep",
    "cognitive_sleep_override",
    "cognitive_sleep_policy",
    "emit",
    "list",
    "watch",
    "audit",
    "inspect",
]
"""The actions of callers, as named in the authorisation policy and the rate limits."""
Budget = Literal[Action, "wake", "mass", "refused"]
"""The budgets of the rate limits: the actions, requests that wake a tenant, requests of a run, and refused requests."""

ANY_ACTION: Final = "*"
RATE_LIMITS: Final[dict[Literal[Budget, "*"], str]] = {
    "*": "600/minute",
    "read": "6000/minute",
    "emit": "60000/minute",
    "wake": "600/minute",
    "mass": "60000/minute",
    "refused": "600/minute",
}
"""The default rate limits."""
