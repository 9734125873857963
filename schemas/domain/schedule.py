"""Parameter schedules: a set of six parameters for each of the four states, and the ramp between two sets.

Validation requires that each parameter is monotone from active to freeze and inside its hard bounds. So deeper sleep
moves a parameter in one direction only, and waking returns it to exactly the same value.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from msgspec import Struct
from msgspec.structs import astuple
from pydantic import Field, model_validator

from schemas.domain.document import Document
from schemas.domain.state import LABELS, StateName
from schemas.domain.values import Integer, Number

PARAMETERS: Final = ("K", "t", "tau", "eta", "lambda", "B")
_K = Annotated[Integer, Field(ge=1, le=1_000_000)]
_Positive = Annotated[Number, Field(gt=0, le=1e6)]
_NonNegative = Annotated[Number, Field(ge=0, le=1e6)]


class ParameterSet(Struct, frozen=True, gc=False, rename={"lambda_": "lambda"}):
    """One value for each parameter, in the order of `PARAMETERS`. On a ramp `K` is a float. Encodes as its document."""

    K: float
    t: float
    tau: float
    eta: float
    lambda_: float
    B: float

    def as_json(self) -> dict[str, float]:
        """Return the set keyed by parameter name."""
        return dict(zip(PARAMETERS, astuple(self), strict=True))


Schedule = tuple[ParameterSet, ParameterSet, ParameterSet, ParameterSet]


class Parameters(Document):
    """A parameter set in a document."""

    K: _K
    t: _Positive
    tau: _Positive
    eta: _NonNegative
    lambda_: Annotated[_NonNegative, Field(alias="lambda")]
    B: _Positive

    def as_set(self) -> ParameterSet:
        """Return the values as a plain tuple."""
        return ParameterSet(self.K, self.t, self.tau, self.eta, self.lambda_, self.B)


class ScheduleDocument(Document):
    """A schedule in a policy or in the rules: complete, bounded and monotone."""

    active: Parameters
    light: Parameters
    deep: Parameters
    freeze: Parameters

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        for name, values in zip(PARAMETERS, zip(*map(astuple, self.as_schedule()), strict=True), strict=True):
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


# Depth scalars and the factors of lambda, from active to freeze (specification.md#parameters).
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
    keyed by parameter name. A missing coefficient is 0; a missing floor or ceiling does not bind.
    Sums are decimal, so that 0.1 reduced by a quarter is exactly 0.075.
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


class Ramp(Struct, frozen=True, gc=False, rename={"start": "from", "target": "to"}):
    """A straight line in time from one parameter set to another; times in milliseconds. Encodes as its document."""

    start: ParameterSet
    target: ParameterSet
    starts_at: int
    ends_at: int

    def at(self, now: int) -> ParameterSet:
        """Return the values at `now`: the start until `starts_at`, and exactly the target from `ends_at` on."""
        if now >= self.ends_at:
            return self.target
        if now <= self.starts_at:
            return self.start
        progress = (now - self.starts_at) / (self.ends_at - self.starts_at)
        pairs = zip(astuple(self.start), astuple(self.target), strict=True)
        k, *rest = (a + (b - a) * progress for a, b in pairs)
        # An integral K is an int, as in a schedule, so that it is printed the same before and after `pack`.
        return ParameterSet(int(k) if k.is_integer() else k, *rest)

    def read(self, now: int) -> dict[str, float]:
        """Return the values at `now` for readers, with `K` rounded half up."""
        values: dict[str, Any] = self.at(now).as_json()
        values["K"] = math.floor(values["K"] + 0.5)
        return values
