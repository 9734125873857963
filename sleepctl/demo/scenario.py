"""The scenario that `sleepctl run` plays, as data: actions, and what must be seen after each."""

from typing import Any, Final, NamedTuple

from schemas.domain.state import BreakerState, StateName
from schemas.wire.events import SleepingState


class Trip(NamedTuple):
    """A breaker reports its state over Kafka."""

    tenant: str
    name: str
    instance: str
    state: BreakerState


class SetPolicy(NamedTuple):
    """A tenant gets a policy, over HTTP."""

    tenant: str
    policy: dict[str, Any]


class Sleep(NamedTuple):
    """A tenant gets a utility sleep, over HTTP."""

    tenant: str
    target: SleepingState
    ttl_seconds: float


class Cancel(NamedTuple):
    """The tenant's last utility sleep is cancelled, over HTTP."""

    tenant: str


Action = Trip | SetPolicy | Sleep | Cancel


class Moves(NamedTuple):
    """The audit on the transitions topic shows this transition."""

    tenant: str
    before: StateName
    after: StateName
    cause: str

    def __str__(self) -> str:
        return f"{self.tenant} goes from {self.before} to {self.after} ({self.cause})"


class Stands(NamedTuple):
    """The API shows the tenant in this state."""

    tenant: str
    state: StateName

    def __str__(self) -> str:
        return f"{self.tenant} is {self.state}"


class Ramps(NamedTuple):
    """The API shows the tenant's parameters on a ramp, and then exactly at its end."""

    tenant: str

    def __str__(self) -> str:
        return f"{self.tenant}'s parameters move and arrive"


class Answers(NamedTuple):
    """The last request got this status, and this code if it is a problem."""

    status: int
    code: str | None = None

    def __str__(self) -> str:
        return f"HTTP {self.status}" + ("" if self.code is None else f" {self.code}")


Expectation = Moves | Stands | Ramps | Answers


class Step(NamedTuple):
    """An action with its title, and what must be seen after it, in order."""

    title: str
    action: Action
    expected: tuple[Expectation, ...]


ACME: Final = "acme"
GLOBEX: Final = "globex"
TENANTS: Final = (ACME, GLOBEX)
_PAYMENTS: Final = ("payments", "pod-1")

STEPS: Final = (
    Step(
        "acme gets a policy of its own: a wake ramp of 2.5 s, and no sleep longer than a minute",
        SetPolicy(ACME, {"ramp_seconds": {"wake": 2.5}, "max_ttl_seconds": 60}),
        (Answers(200), Stands(ACME, "active")),
    ),
    Step(
        "acme's breaker payments opens",
        Trip(ACME, *_PAYMENTS, "open"),
        (Moves(ACME, "active", "freeze", "breaker"), Stands(ACME, "freeze"), Stands(GLOBEX, "active")),
    ),
    Step(
        "it half-opens",
        Trip(ACME, *_PAYMENTS, "half_open"),
        (Moves(ACME, "freeze", "light", "breaker"), Stands(ACME, "light"), Ramps(ACME)),
    ),
    Step(
        "it closes",
        Trip(ACME, *_PAYMENTS, "closed"),
        (Moves(ACME, "light", "active", "breaker"), Stands(ACME, "active"), Ramps(ACME)),
    ),
    Step(
        "globex is put to sleep for 1.5 s, which ends by itself",
        Sleep(GLOBEX, "deep", 1.5),
        (
            Answers(200),
            Moves(GLOBEX, "active", "deep", "operation"),
            Stands(ACME, "active"),
            Moves(GLOBEX, "deep", "active", "expired"),
            Stands(GLOBEX, "active"),
        ),
    ),
    Step(
        "globex is put to sleep for ten minutes",
        Sleep(GLOBEX, "freeze", 600),
        (Answers(200), Moves(GLOBEX, "active", "freeze", "operation"), Stands(GLOBEX, "freeze")),
    ),
    Step(
        "that sleep is cancelled",
        Cancel(GLOBEX),
        (Answers(200), Moves(GLOBEX, "freeze", "active", "cancel"), Stands(GLOBEX, "active")),
    ),
    Step(
        "acme asks for ten minutes, more than its policy allows",
        Sleep(ACME, "light", 600),
        (Answers(422, "ttl_out_of_range"), Stands(ACME, "active")),
    ),
)
"""About ten seconds. Each tenant's transitions must be those of `Moves`, and no others."""


def moves_of(tenant: str, steps: tuple[Step, ...]) -> list[Moves]:
    """Return all transitions that a tenant must make, in order."""
    moves = [expected for step in steps for expected in step.expected if isinstance(expected, Moves)]
    return [move for move in moves if move.tenant == tenant]
