"""Matching a breaker's name against patterns with `*` and `?`, in time linear in the name.

The patterns become one bit-parallel automaton (Wu and Manber, "Fast text searching allowing errors", 1992). It has a
bit for each position in each pattern. A character costs a shift and a mask, and there is no backtracking.
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


def match_every_name(patterns: Sequence[str], longest: int) -> bool:
    """Tell whether each name of 1 to `longest` characters matches one of the patterns.

    A pattern with a literal never helps. There are more characters than literals in all patterns, so some name of every
    length contains none of them.
    """
    wild = [pattern for pattern in patterns if pattern.strip("*?") == ""]
    # `*` and so many `?` match every name of that length and above.
    above = min((pattern.count("?") for pattern in wild if "*" in pattern), default=longest + 1)
    return {len(pattern) for pattern in wild if "*" not in pattern}.issuperset(range(1, min(above, longest + 1)))
