"""Whether a text exists for LIKE patterns: against every short text, and bounded for hostile patterns."""

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from polku_schemas.lint.like import text_exists
from polku_schemas.rules import like_pattern

LONGEST = 4
TEXTS = ["".join(letters) for length in range(LONGEST + 1) for letters in itertools.product("abx", repeat=length)]
patterns = st.lists(st.text(alphabet="ab%_", max_size=4), max_size=3)


def found(matching: Sequence[str], others: Sequence[str], shortest: int, longest: int) -> bool:
    return any(
        shortest <= len(text) <= longest
        and all(like_pattern(pattern).fullmatch(text) for pattern in matching)
        and not any(like_pattern(pattern).fullmatch(text) for pattern in others)
        for text in TEXTS
    )


@given(patterns, patterns, st.integers(0, 3), st.integers(0, LONGEST))
def test_it_is_exact_for_short_texts(matching: list[str], others: list[str], shortest: int, longest: int) -> None:
    assert text_exists(matching, others, shortest, longest) == found(matching, others, shortest, longest)


@given(patterns, patterns)
def test_without_a_length_nothing_that_exists_is_denied(matching: list[str], others: list[str]) -> None:
    assert text_exists(matching, others) or not found(matching, others, 0, LONGEST)


def test_patterns_that_would_take_hours_are_given_up() -> None:
    """A regression shows as a test that does not end."""
    assert text_exists(["%a" + "_" * n for n in range(1, 40)], ["%b" + "_" * n for n in range(1, 40)])


def test_a_long_least_length_is_not_counted() -> None:
    assert text_exists(["a%"], [], shortest=1_000_000)
