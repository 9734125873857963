"""Matching breaker names against patterns."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.domain.glob import compile_globs
from tests.support.claims import QUICK


def naive(pattern: str, name: str) -> bool:
    """Match by the definition, trying every split for a `*`."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(naive(pattern[1:], name[skipped:]) for skipped in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and naive(pattern[1:], name[1:])


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", ""), ("*", "anything"), ("payments", "payments"), ("pay*", "pay"), ("pay*", "payments"),
        ("*-db", "orders-db"), ("p?y", "pay"), ("p?y", "p\U0001f634y"), ("*a*b*", "xxaxxbxx"), ("**", "x"),
        ("?*", "x"),
        ("[ab]", "[ab]"), ("a.c", "a.c"), ("\\*", "\\anything"),
    ],
)  # fmt: skip
def test_a_pattern_matches_the_whole_name(pattern: str, name: str) -> None:
    """Only `*` and `?` are special."""
    assert compile_globs([pattern])(name) == 0


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("payments", "Payments"), ("PAY*", "payments"), ("pay", "payments"), ("ments", "payments"),
        ("p?y", "py"),
        ("?", ""), ("?*", ""), ("*-db", "orders-dbx"), ("[ab]", "a"), ("a.c", "abc"), ("*a*b*", "ba"),
    ],
)  # fmt: skip
def test_a_pattern_matches_no_part_and_no_other_case(pattern: str, name: str) -> None:
    """Brackets and dots stand for themselves."""
    assert compile_globs([pattern])(name) is None


@QUICK
@given(st.text("ab*?", max_size=8), st.text("abc", max_size=8))
def test_every_pattern_agrees_with_the_definition(pattern: str, name: str) -> None:
    """The automaton and the naive matcher say the same."""
    assert (compile_globs([pattern])(name) == 0) == naive(pattern, name)


@QUICK
@given(st.lists(st.text("ab*?", max_size=6), max_size=6), st.text("abc", max_size=8))
def test_the_first_of_several_patterns_that_matches_counts(patterns: list[str], name: str) -> None:
    """One automaton for all of them says what trying one after the other says."""
    expected = next((index for index, pattern in enumerate(patterns) if naive(pattern, name)), None)
    assert compile_globs(patterns)(name) == expected


class CountedName(str):
    """A name that counts how often one of its characters is looked at."""

    __slots__ = ("looks",)
    looks: int

    def __iter__(self) -> Iterator[str]:
        self.looks = 0
        for character in super().__iter__():
            self.looks += 1
            yield character

    def __getitem__(self, index: object) -> str:
        raise AssertionError("the name is read from left to right, once")


@pytest.mark.parametrize("pattern", ["*a" * 100, "a*" * 99 + "b", "?*" * 100, "*" * 199 + "b"])
def test_an_adversarial_pattern_looks_at_each_character_once(pattern: str) -> None:
    """A pattern that makes a backtracking matcher run for ever takes one step a character."""
    matches = compile_globs([pattern] * 32)
    for length in (50, 100, 200):
        name = CountedName("a" * length)
        matches(name)
        assert name.looks <= length
