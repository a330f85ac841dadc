"""The language of `when`: what it takes, and that Python and SQL mean the same by it."""

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_schemas.model import Comparison, Rule
from polku_schemas.rules import Kind, RuleError, first_match, holds, parse_when, sql_literal, when_sql

KINDS: dict[str, Kind] = {"topic": "string", "count": "integer", "price": "number", "paid": "boolean"}
DUCKDB = duckdb.connect()
COLUMNS = "topic VARCHAR, count BIGINT, price DOUBLE, paid BOOLEAN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paid", (Comparison("paid", "=", True),)),
        ("paid = false", (Comparison("paid", "=", False),)),
        ("count >= 2", (Comparison("count", ">=", 2),)),
        ("price < 9.5", (Comparison("price", "<", 9.5),)),
        ("price = 3", (Comparison("price", "=", 3.0),)),
        ("topic = 'it''s'", (Comparison("topic", "=", "it's"),)),
        ('topic != "and"', (Comparison("topic", "!=", "and"),)),
        ("topic like '/blog%'", (Comparison("topic", "like", "/blog%"),)),
        ("topic in ('a', 'b')", (Comparison("topic", "in", ("a", "b")),)),
        ("count in [1,2]  and  paid", (Comparison("count", "in", (1, 2)), Comparison("paid", "=", True))),
    ],
)  # fmt: skip
def test_what_can_be_said(text: str, expected: tuple[Comparison, ...]) -> None:
    assert parse_when(text, KINDS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("topic", "`topic` is a string: compare it with something"),
        ("colour = 'red'", "unknown name `colour`; known here: count, paid, price, topic"),
        ("topic = red", "`topic` is a string: expected a text in quotes, found `red`"),
        ("topic > 'a'", "`>` orders numbers, and `topic` is a string"),
        ("count = 1.5", "`count` is a integer: expected a whole number, found `1.5`"),
        ("count like '1%'", "`like` is for strings, and `count` is a integer"),
        ("price ~ 3", "cannot read `~ 3`"),
        ("price = ", "`price` is a number: expected a number, found `the end`"),
        ("paid or paid", "expected one of = != < <= > >= in like after `paid`, found `or`"),
        ("paid = true or paid", "expected `and`, found `or`"),
        ("paid and", "expected a name, found `the end`"),
        ("count in 3", "expected a list in brackets after `count in`"),
        ("count in (1, 2", "the list after `count in` is not closed with `)`"),
        ("count in (1, 2]", "the list after `count in` is not closed with `)`"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_when(text, KINDS)
    assert str(caught.value) == message


def test_the_first_rule_that_holds_decides() -> None:
    rules = (Rule("many", parse_when("count > 5", KINDS)), Rule("some", parse_when("count > 0", KINDS)), Rule("none"))
    assert [first_match(rules, {"count": n}.get) for n in (6, 5, 0, None)] == ["many", "some", "none", "none"]
    assert first_match(rules[:2], {"count": 0}.get) is None


@pytest.mark.parametrize(
    ("value", "sql"), [(1, "1"), (1.0, "1.0e0"), (1e22, "1e+22"), (True, "TRUE"), ("it's", "'it''s'")]
)
def test_literals_in_sql(value: Any, sql: str) -> None:
    assert sql_literal(value) == sql


texts = st.sampled_from(["a", "b", "A", "/blog", "/blog/x", "it's", "", "a%b", "ä\nö", "_"])
integers = st.sampled_from([-1, 0, 1, 2, 2**62])
numbers = st.sampled_from([-0.5, 0.0, 0.1, 1.0, 1e22, 1e-7])
literals = {"topic": texts, "count": integers, "price": numbers, "paid": st.booleans()}
rows = st.fixed_dictionaries({name: st.none() | values for name, values in literals.items()})


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    name = draw(st.sampled_from(list(literals)))
    ops = {"topic": ["=", "!=", "in", "like"], "paid": ["=", "!="]}.get(name, ["=", "!=", "<", "<=", ">", ">=", "in"])
    op = draw(st.sampled_from(ops))
    if op == "like":
        return Comparison(name, "like", draw(st.sampled_from(["%", "/blog%", "_", "a%b", "%'s", "%ö", ""])))
    value = literals[name]
    literal = tuple(draw(st.lists(value, min_size=1, max_size=3))) if op == "in" else draw(value)
    return Comparison(name, op, literal)  # type: ignore[arg-type]


@given(st.lists(comparisons(), max_size=3), st.lists(rows, min_size=1, max_size=8))
@settings(max_examples=100)
def test_python_and_sql_mean_the_same(when: list[Comparison], table: list[dict[str, Any]]) -> None:
    inserted = [(n, *(row[name] for name in literals)) for n, row in enumerate(table)]
    DUCKDB.execute(f"CREATE OR REPLACE TABLE r (n BIGINT, {COLUMNS})")
    DUCKDB.executemany("INSERT INTO r VALUES (?, ?, ?, ?, ?)", inserted)
    found = DUCKDB.execute(f"SELECT n FROM r AS x WHERE {when_sql(when, 'x')} ORDER BY n").fetchall()
    assert [n for (n,) in found] == [n for n, row in enumerate(table) if holds(when, row.get)]
