"""Matching a breaker's name against a pattern with `*` and `?`, in time linear in the name.

The pattern becomes a bit-parallel automaton (Wu and Manber, "Fast text searching allowing errors", 1992):
one bit a pattern position, a shift and a mask a character, no backtracking.
"""

from collections import defaultdict
from collections.abc import Callable


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """Return a predicate that tells whether a whole name matches the case-sensitive pattern."""
    if pattern == "*":
        return lambda _name: True
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    # Bit i is set in a state set when the first i literals have been consumed.
    literals = [character for character in pattern if character != "*"]
    accepts: defaultdict[str, int] = defaultdict(int)
    any_character = loops = consumed = 0
    for character in pattern:
        if character == "*":
            loops |= 1 << consumed
        else:
            if character == "?":
                any_character |= 1 << consumed
            else:
                accepts[character] |= 1 << consumed
            consumed += 1
    final = 1 << len(literals)
    masks = {character: mask | any_character for character, mask in accepts.items()}

    def matches(name: str) -> bool:
        states = 1
        for character in name:
            states = (states & masks.get(character, any_character)) << 1 | states & loops
            if not states:
                return False
        return bool(states & final)

    return matches
