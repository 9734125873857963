"""Parameter schedules: four sets of six parameters, one a state, and the ramp between two sets.

Validation proves that each parameter is monotone over active..freeze and inside its hard bounds, so
sleep can only move a tenant's parameters one way, and waking moves them back to the very same numbers.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.state import LABELS, StateName
from schemas.values import Integer, Number

PARAMETERS: Final = ("K", "t", "tau", "eta", "lambda", "B")
_K = Annotated[Integer, Field(ge=1, le=1_000_000)]
_Positive = Annotated[Number, Field(gt=0, le=1e6)]
_NonNegative = Annotated[Number, Field(ge=0, le=1e6)]


class ParameterSet(NamedTuple):
    """One value of each parameter, in the order of `PARAMETERS`; inside a ramp `K` is a float."""

    K: float
    t: float
    tau: float
    eta: float
    lambda_: float
    B: float

    def as_json(self) -> dict[str, float]:
        """Return the set keyed by parameter name."""
        return dict(zip(PARAMETERS, self, strict=True))


Schedule = tuple[ParameterSet, ParameterSet, ParameterSet, ParameterSet]


class Parameters(BaseModel):
    """A parameter set as it stands in a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    K: _K
    t: _Positive
    tau: _Positive
    eta: _NonNegative
    lambda_: Annotated[_NonNegative, Field(alias="lambda")]
    B: _Positive

    def as_set(self) -> ParameterSet:
        """Return the values as a plain tuple."""
        return ParameterSet(self.K, self.t, self.tau, self.eta, self.lambda_, self.B)


class ScheduleDocument(BaseModel):
    """A schedule as it stands in a policy or in the rules: complete, bounded and monotone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    active: Parameters
    light: Parameters
    deep: Parameters
    freeze: Parameters

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        for name, values in zip(PARAMETERS, zip(*self.as_schedule(), strict=True), strict=True):
            if list(values) not in (sorted(values), sorted(values, reverse=True)):
                msg = f"{name} is not monotone over active, light, deep, freeze"
                raise ValueError(msg)
        return self

    def as_schedule(self) -> Schedule:
        """Return the four sets, from active to freeze."""
        return (self.active.as_set(), self.light.as_set(), self.deep.as_set(), self.freeze.as_set())


def schedule_as_json(schedule: Schedule) -> dict[StateName, dict[str, float]]:
    """Return the document form of a schedule."""
    return {label: values.as_json() for label, values in zip(LABELS, schedule, strict=True)}


# Depth scalars and the factors of lambda, from active to freeze (DESIGN section 3).
_DEPTHS: Final = (Decimal(0), Decimal("0.5"), Decimal(1), Decimal(10))
_LAMBDA_FACTORS: Final = (Decimal(1), Decimal("0.8"), Decimal("0.5"), Decimal(0))


def linear(
    base: Mapping[str, float],
    coefficients: Mapping[str, float],
    floors: Mapping[str, float],
    ceilings: Mapping[str, float],
) -> dict[StateName, dict[str, float]]:
    """Return the classic schedule `p(s) = clamp(p0 * (1 - a*s))` at depth scalars `s = 0, 0.5, 1, 10`.

    `eta` is 0 from `s >= 1`, `lambda` is scaled by 1, 0.8, 0.5 and 0, and `B = B0 + b*s`. Every mapping is
    keyed by parameter name; a missing coefficient is 0, a missing floor or ceiling does not bind.
    Sums are decimal, so that 0.1 at a quarter less is 0.075 and not its neighbour.
    """

    def value(name: str, depth: Decimal, lambda_factor: Decimal) -> float:
        start = Decimal(repr(base[name]))
        slope = Decimal(repr(coefficients.get(name, 0))) * depth
        if name == "lambda":
            raw = start * lambda_factor
        elif name == "B":
            raw = start + slope
        elif name == "eta" and depth >= 1:
            raw = Decimal(0)
        else:
            raw = start * (1 - slope)
        bounded = min(max(float(raw), floors.get(name, 0.0)), ceilings.get(name, 1e6))
        return math.floor(bounded + 0.5) if name == "K" else float(bounded)

    return {
        label: {name: value(name, depth, factor) for name in PARAMETERS}
        for label, depth, factor in zip(LABELS, _DEPTHS, _LAMBDA_FACTORS, strict=True)
    }


BUILT_IN_SCHEDULE: Final[Schedule] = ScheduleDocument.model_validate(
    linear(
        base={"K": 100, "t": 1.0, "tau": 0.1, "eta": 0.01, "lambda": 0.5, "B": 1.0},
        coefficients={"K": 0.8, "t": 0.5, "tau": 0.5, "eta": 1.0, "B": 0.5},
        floors={"K": 1, "t": 0.1, "tau": 1e-6},
        ceilings={"B": 2.0},
    )
).as_schedule()


class Ramp(NamedTuple):
    """A straight line in time from one parameter set to another; times in milliseconds."""

    start: ParameterSet
    target: ParameterSet
    starts_at: int
    ends_at: int

    def at(self, now: int) -> ParameterSet:
        """Return the values at `now`: the start until `starts_at`, exactly the target from `ends_at` on."""
        if now >= self.ends_at:
            return self.target
        if now <= self.starts_at:
            return self.start
        passed = (now - self.starts_at) / (self.ends_at - self.starts_at)
        k, *rest = (a + (b - a) * passed for a, b in zip(self.start, self.target, strict=True))
        # A whole K is an int, as in a schedule, so that it is printed the same before and after it was packed.
        return ParameterSet(int(k) if k.is_integer() else k, *rest)

    def read(self, now: int) -> dict[str, float]:
        """Return the values at `now` as a reader sees them, `K` rounded half up."""
        values: dict[str, Any] = self.at(now).as_json()
        values["K"] = math.floor(values["K"] + 0.5)
        return values

    def as_json(self) -> dict[str, Any]:
        """Return the document form of the ramp."""
        return {
            "from": self.start.as_json(),
            "to": self.target.as_json(),
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
        }
