"""Matching a breaker's name against patterns with `*` and `?`, in time linear in the name.

The patterns become one bit-parallel automaton (Wu and Manber, "Fast text searching allowing errors", 1992): a bit
for each position in each pattern, a shift and a mask a character, no backtracking.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence


def compile_globs(patterns: Sequence[str]) -> Callable[[str], int | None]:
    """Return a function from a name to the index of the first pattern that matches all of it, else None.

    Patterns are case-sensitive, and only `*` and `?` are special.
    """
    # Bit i of a pattern's field is set in a state set when its first i literals have been consumed. The last bit of
    # a field accepts nothing, so that no pattern runs into the next one's field.
    accepts: defaultdict[str, int] = defaultdict(int)
    start = any_character = loops = bit = 0
    finals: list[int] = []
    for pattern in patterns:
        start |= 1 << bit
        for character in pattern:
            if character == "*":
                loops |= 1 << bit
                continue
            if character == "?":
                any_character |= 1 << bit
            else:
                accepts[character] |= 1 << bit
            bit += 1
        finals.append(1 << bit)
        bit += 1
    masks = {character: mask | any_character for character, mask in accepts.items()}

    def first_match(name: str) -> int | None:
        states = start
        for character in name:
            states = (states & masks.get(character, any_character)) << 1 | states & loops
        return next((index for index, final in enumerate(finals) if states & final), None)

    return first_match
