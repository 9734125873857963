"""Sets of parameters, and straight ramps between two of them."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from sleep_client.reading.errors import BadStreamError

NAMES: Final = ("K", "t", "tau", "eta", "lambda", "B")
_MOST_KEPT: Final = 1_000
"""Different sets that are kept to be shared. A platform has four for each schedule; ramps add some."""

Numbers = tuple[float, ...]
"""The values in the order of `NAMES`."""


def shown(numbers: Numbers) -> Mapping[str, float]:
    """Return values for callers: by name, with `K` rounded half up."""
    values: dict[str, float] = dict(zip(NAMES, numbers, strict=True))
    values["K"] = math.floor(numbers[0] + 0.5)
    return MappingProxyType(values)


class ParameterSet:
    """A set: its numbers, and what callers get. Many tenants share one."""

    __slots__ = ("numbers", "shown")

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.shown = shown(numbers)


class Ramp:
    """A straight line in time from one set to another; times in milliseconds."""

    __slots__ = ("ends_at", "start", "starts_at", "target")

    def __init__(self, start: Numbers, target: ParameterSet, starts_at: int, ends_at: int) -> None:
        self.start = start
        self.target = target
        self.starts_at = starts_at
        self.ends_at = ends_at

    def at(self, now: int) -> Mapping[str, float]:
        """Return the values at a time: exactly those of the target from `ends_at` on."""
        if now >= self.ends_at:
            return self.target.shown
        if now <= self.starts_at:
            return shown(self.start)
        share = (now - self.starts_at) / (self.ends_at - self.starts_at)
        # Without a loop, since this is what a call inside of a ramp costs.
        k, t, tau, eta, lambda_, b = self.start
        k_end, t_end, tau_end, eta_end, lambda_end, b_end = self.target.numbers
        return MappingProxyType(
            {
                "K": math.floor(k + (k_end - k) * share + 0.5),
                "t": t + (t_end - t) * share,
                "tau": tau + (tau_end - tau) * share,
                "eta": eta + (eta_end - eta) * share,
                "lambda": lambda_ + (lambda_end - lambda_) * share,
                "B": b + (b_end - b) * share,
            }
        )


class ParameterReader:
    """Reads sets and ramps, and keeps equal sets once."""

    def __init__(self) -> None:
        self._kept: dict[Numbers, ParameterSet] = {}

    def set(self, document: Mapping[str, Any]) -> ParameterSet:
        """Return the set of a document.

        Raises:
            BadStreamError: if it is none.
        """
        numbers = _numbers(document)
        known = self._kept.get(numbers)
        if known is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            known = self._kept[numbers] = ParameterSet(numbers)
        return known

    def ramp(self, document: Mapping[str, Any]) -> Ramp:
        """Return the ramp of a document.

        Raises:
            BadStreamError: if it is none.
        """
        target = self.set(document["to"])
        start = _numbers(document["from"])
        # Most ramps start at a set that is known, and share its numbers.
        known = self._kept.get(start)
        ramp = Ramp(start if known is None else known.numbers, target, document["starts_at"], document["ends_at"])
        if type(ramp.starts_at) is not int or type(ramp.ends_at) is not int:
            raise BadStreamError("a ramp has no start or end in milliseconds")
        return ramp


def _numbers(document: Mapping[str, Any]) -> Numbers:
    numbers = tuple([document[name] for name in NAMES])
    for number in numbers:
        if type(number) not in (float, int) or not math.isfinite(number):
            raise BadStreamError("a set of parameters has a value that is no number")
    return numbers
