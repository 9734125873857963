"""Sets of a partition's offsets as ranges, and their text in headers: `3-7,9,12-40`. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_TEXT: Final = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?(,[0-9]{1,19}(-[0-9]{1,19})?)*")


class Range(NamedTuple):
    """Offsets from the first to the last, both included."""

    first: int
    last: int


Ranges = Sequence[Range]
"""Ranges in order, without overlap."""


def text_of(ranges: Iterable[tuple[int, int]]) -> str:
    """Return ranges as text."""
    return ",".join(f"{first}-{last}" if first < last else str(first) for first, last in ranges)


def parse(text: str) -> Ranges:
    """Return the ranges in a text.

    Raises:
        ValueError: if the text is not a list of ranges, or the ranges are not in order.
    """
    if _TEXT.fullmatch(text) is None:
        msg = f"{text[:100]!r} is not a list of offsets"
        raise ValueError(msg)
    parts = (part.partition("-") for part in text.split(","))
    ranges = [Range(int(first), int(last or first)) for first, _, last in parts]
    before = -1
    for first, last in ranges:
        if not before < first <= last:
            msg = f"the offsets {first}-{last} do not follow {before}"
            raise ValueError(msg)
        before = last
    return ranges


def count(ranges: Ranges) -> int:
    """Return how many offsets there are."""
    return sum(last - first + 1 for first, last in ranges)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """Return the offsets of some ranges that are not in others."""
    left: list[Range] = []
    at = 0
    for first, last in ranges:
        begin = first
        while at < len(others) and others[at].last < begin:
            at += 1
        other = at
        while other < len(others) and others[other].first <= last and begin <= last:
            if begin < others[other].first:
                left.append(Range(begin, others[other].first - 1))
            begin = max(begin, others[other].last + 1)
            other += 1
        if begin <= last:
            left.append(Range(begin, last))
    return left


def joined(offsets: Iterable[int]) -> Ranges:
    """Return offsets in order as ranges."""
    ranges: list[Range] = []
    for offset in offsets:
        if ranges and ranges[-1].last == offset - 1:
            ranges[-1] = Range(ranges[-1].first, offset)
        else:
            ranges.append(Range(offset, offset))
    return ranges
