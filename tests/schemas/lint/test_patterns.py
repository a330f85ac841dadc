"""Which parts of a regular expression other languages read differently."""

import re

import pytest

from polku_schemas.lint.patterns import dialect_notes


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"(a)\1", "backreference"),
        (r"(?P<x>a)(?P=x)", "backreference"),
        (r"(?<=a)b", "lookbehind"),
        (r"(?<!a)b", "lookbehind"),
        (r"a(?=b)", "lookahead"),
        (r"a(?!b)", "lookahead"),
        (r"a++b", "possessive"),
        (r"a{2,3}+b", "possessive"),
        (r"(?>a)b", "atomic"),
        (r"(a)?(?(1)b|c)", "condition"),
        (r"a(?#why)", "comment"),
        (r"(?P<x>a)", "named"),
        (r"(?i)a", "flags"),
        (r"(?i:a)b", "flags"),
        (r"a\Z", r"\Z"),
    ],
)
def test_a_construct_that_differs_is_noted(pattern: str, word: str) -> None:
    re.compile(pattern)
    assert any(word in note.message for note in dialect_notes(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]{2}$",
        r"^\d{3}-[a-z_]+\.(jpg|png)$",
        r"[+?*]+",
        r"\(\?<=",
        r"[(?=]",
        r"[]\1+]+",
        r"\\+x",
        r"a\++",
        r"(?:ab)+?c*?",
        r"^[^\]]+$",
    ],
)
def test_what_all_read_alike_is_not(pattern: str) -> None:
    re.compile(pattern)
    assert list(dialect_notes(pattern)) == []


def test_each_kind_of_construct_is_noted_once() -> None:
    assert len(list(dialect_notes(r"(?=a)(?=b)(?<=c)"))) == 2
