"""The text of SQL as engines spell it, word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_analytics.engines.spelling import Spelling, tokens

SPARK = Spelling(
    backslash_escapes=True,
    backslash_in_like=True,
    backticks=True,
    nulls_first=True,
    ignores_outside=True,
    types={"VARCHAR": "STRING"},
)


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("SELECT 'it''s', '\\'", "SELECT 'it\\'s', '\\\\'"),
        ('SELECT "a `b` ""c""", \'VARCHAR "x"\'', 'SELECT `a ``b`` "c"`, \'VARCHAR "x"\''),
        ("CAST(x AS varchar) -- VARCHAR 'a", "CAST(x AS STRING) -- VARCHAR 'a"),
        ("a LIKE 'x\\_'", "a LIKE 'x\\\\\\\\_'"),
        (
            "SELECT a ORDER BY a, f(b, c) DESC LIMIT 2",
            "SELECT a ORDER BY a NULLS LAST, f(b, c) DESC NULLS LAST LIMIT 2",
        ),
        ("ORDER BY a NULLS FIRST, b, c NULLS LAST", "ORDER BY a NULLS FIRST, b NULLS LAST, c NULLS LAST"),
        (
            "SUM(x) OVER (PARTITION BY p, q ORDER BY a, b ROWS UNBOUNDED PRECEDING), y",
            "SUM(x) OVER (PARTITION BY p, q ORDER BY a NULLS LAST, b NULLS LAST ROWS UNBOUNDED PRECEDING), y",
        ),
        (
            "(SELECT a ORDER BY (b)) ORDER BY CASE WHEN x IS NULL THEN 1 END, (y)",
            "(SELECT a ORDER BY (b) NULLS LAST) ORDER BY CASE WHEN x IS NULL THEN 1 END NULLS LAST, (y) NULLS LAST",
        ),
        ("SELECT a FROM t GROUP BY a, b", "SELECT a FROM t GROUP BY a, b"),
        (
            "LAST_VALUE(f(x) IGNORE NULLS) OVER (ORDER BY a) ORDER BY ignore, b",
            "LAST_VALUE(f(x) )IGNORE NULLS OVER (ORDER BY a NULLS LAST) ORDER BY ignore NULLS LAST, b NULLS LAST",
        ),
    ],
)
def test_what_spark_reads(written: str, spelled: str) -> None:
    assert SPARK.spell(written) == spelled


@given(st.text(alphabet="ab'\"\\`-/*(), \n;0.e", max_size=30))
def test_no_character_is_lost_and_duckdb_reads_what_was_written(text: str) -> None:
    assert "".join(piece.text for piece in tokens(text)) == text
    assert Spelling().spell(text) == text
