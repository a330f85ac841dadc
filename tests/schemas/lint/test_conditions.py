"""What is called impossible never holds, and what is called implied always does: against `rules.holds` on documents."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_schemas.lint.conditions import Domain, clash, domain_of, implies, unknown_literals
from polku_schemas.model import Comparison, Property
from polku_schemas.rules import holds, parse_when

LETTERS = "ab_"
PROPERTIES = [
    Property(name="size", type="string", description="", enum=("a", "ab", "b")),
    Property(name="word", type="string", description="", max_length=3),
    Property(name="code", type="string", description="", min_length=2, max_length=3, pattern="^a"),
    Property(name="count", type="integer", description="", minimum=-2, maximum=3),
    Property(name="level", type="integer", description="", enum=(1, 3)),
    Property(name="rate", type="number", description="", minimum=0, maximum=2),
    Property(name="paid", type="boolean", description=""),
    Property(name="sure", type="integer", description="", minimum=0, maximum=2, required=True),
]
NAMES = {prop.name: prop for prop in PROPERTIES}
DOMAINS: dict[str, Domain] = {prop.name: domain for prop in PROPERTIES if (domain := domain_of(prop))}

# Every text of up to three letters over an alphabet that has one letter no pattern names.
TEXTS = ["".join(letters) for length in range(4) for letters in itertools.product(LETTERS + "x", repeat=length)]
VALUES: dict[str, list[Any]] = {
    "size": ["a", "ab", "b"],
    "word": TEXTS,
    "code": [text for text in TEXTS if len(text) >= 2 and text.startswith("a")],
    "count": list(range(-2, 4)),
    "level": [1, 3],
    "rate": [0.0, 0.5, 1.0, 1.5, 2.0, 0.25, 5e-324],
    "paid": [True, False],
    "sure": [0, 1, 2],
}
EXACT = ("size", "word", "count", "level", "paid", "sure")
"""Names of which VALUES holds every value that matters: what never holds there must be called impossible. The pattern
of `code` is not looked into."""


def literals(name: str) -> st.SearchStrategy[Any]:
    kind = NAMES[name].type
    if kind == "string":
        return st.text(alphabet=LETTERS, max_size=3)
    if kind == "integer":
        return st.integers(-3, 4)
    if kind == "number":
        return st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    return st.booleans()


@st.composite
def comparisons(draw: st.DrawFn, names: Sequence[str] = tuple(NAMES)) -> Comparison:
    name = draw(st.sampled_from(names))
    kind = NAMES[name].type
    ops = {"string": ["=", "!=", "in", "like", "like"], "boolean": ["=", "!=", "in"]}
    op: Any = draw(st.sampled_from(ops.get(kind, ["=", "!=", "<", "<=", ">", ">=", "in"])))
    if op == "in":
        return Comparison(name, op, tuple(draw(st.lists(literals(name), min_size=1, max_size=3))))
    if op == "like":
        return Comparison(name, op, draw(st.text(alphabet=LETTERS + "%%", max_size=5)))
    return Comparison(name, op, draw(literals(name)))


def whens(names: Sequence[str] = tuple(NAMES)) -> st.SearchStrategy[list[Comparison]]:
    return st.lists(comparisons(names), min_size=1, max_size=4)


def documents(names: Sequence[str]) -> list[dict[str, Any]]:
    """Documents of which each value of each name is in one; the names vary with each other at random."""
    chosen = random.Random(0)
    rows: list[dict[str, Any]] = []
    for index in range(max(len(VALUES[name]) for name in names)):
        row = {name: VALUES[name][index % len(VALUES[name])] for name in names}
        row |= {name: chosen.choice(VALUES[name]) for name in names if chosen.random() < 0.5}
        rows.append({name: value for name, value in row.items() if name == "sure" or chosen.random() < 0.9})
    return rows


ROWS = documents(tuple(NAMES))


def ever_holds(when: Sequence[Comparison]) -> bool:
    """Whether a document exists: names do not depend on each other, so each is tried on its own."""
    for name in {comparison.name for comparison in when}:
        of_name = [comparison for comparison in when if comparison.name == name]
        if not any(holds(of_name, {name: value}.get) for value in VALUES[name]):
            return False
    return True


@given(whens())
def test_what_can_never_hold_holds_in_no_document(when: list[Comparison]) -> None:
    clashing = clash(when, DOMAINS)
    if clashing:
        assert set(clashing) <= set(when)
        assert not ever_holds(clashing)
        assert not any(holds(when, row.get) for row in ROWS)


@given(whens(EXACT))
def test_what_holds_in_no_document_is_called_impossible(when: list[Comparison]) -> None:
    assert bool(clash(when, DOMAINS)) == (not ever_holds(when))


@given(whens(), whens())
def test_what_is_implied_holds_wherever_the_other_does(stronger: list[Comparison], weaker: list[Comparison]) -> None:
    if implies(stronger, weaker, DOMAINS):
        assert all(holds(weaker, row.get) for row in ROWS if holds(stronger, row.get))


@given(
    st.lists(comparisons(("count", "sure", "paid", "size")), max_size=3), comparisons(("count", "sure", "paid", "size"))
)
def test_what_holds_wherever_the_other_does_is_called_implied(stronger: list[Comparison], weaker: Comparison) -> None:
    rows = [{weaker.name: value} for value in VALUES[weaker.name]]
    same = [comparison for comparison in stronger if comparison.name == weaker.name]
    is_there = bool(same) or weaker.name == "sure"
    always = all(holds([weaker], row.get) for row in rows if holds(same, row.get))
    assert implies(stronger, [weaker], DOMAINS) == (is_there and always)


@given(whens())
def test_a_when_implies_itself_and_what_is_shorter(when: list[Comparison]) -> None:
    assert implies(when, when, DOMAINS)
    assert implies(when, when[:-1], DOMAINS)
    assert implies(when, (), DOMAINS)


KINDS: Any = {"n": "integer", "x": "number", "t": "string", "first_order": "boolean", "repeat_order": "boolean"}
FREE = {
    "n": Domain("integer"),
    "x": Domain("number"),
    "t": Domain("string"),
    "first_order": Domain("boolean", (True, False)),
    "repeat_order": Domain("boolean", (True, False)),
}


@pytest.mark.parametrize(
    ("when", "clashing"),
    [
        ("n > 5 and n < 3", "n > 5 and n < 3"),
        ("n > 5 and n < 6", "n > 5 and n < 6"),
        ("n >= 5 and n <= 5 and n != 5", "n >= 5 and n <= 5 and n != 5"),
        (
            "n > 9223372036854775806 and n != 9223372036854775807",
            "n > 9223372036854775806 and n != 9223372036854775807",
        ),
        ("n = 1 and t = 'a' and n = 2", "n = 1 and n = 2"),
        ("x > 1 and x < 1", "x > 1 and x < 1"),
        ("x > 0 and x < 5e-324", "x > 0 and x < 5e-324"),
        ("t = 'a' and t = 'b'", "t = 'a' and t = 'b'"),
        ("t like 'a%' and t = 'b'", "t like 'a%' and t = 'b'"),
        ("t like 'a%' and t like 'b%'", "t like 'a%' and t like 'b%'"),
        ("t like 'ab' and t != 'ab'", "t like 'ab' and t != 'ab'"),
        ("t like '_' and t like '__%'", "t like '_' and t like '__%'"),
        ("first_order and n > 1 and repeat_order", "first_order and repeat_order"),
        ("n > 5 and n < 7", ""),
        ("x > 5 and x < 6", ""),
        ("t like 'a%' and t like '%b' and t != 'ab'", ""),
        ("t like '%' and t != ''", ""),
        ("first_order and repeat_order = false", ""),
    ],
)
def test_what_clashes_is_named_and_no_more(when: str, clashing: str) -> None:
    found = clash(parse_when(when, KINDS), FREE)
    assert found == (parse_when(clashing, KINDS) if clashing else ())


@pytest.mark.parametrize(
    ("stronger", "weaker", "expected"),
    [
        ("n > 5", "n > 3", True),
        ("n > 3", "n > 5", False),
        ("n > 4", "n >= 5", True),
        ("n = 3", "n in (1, 3)", True),
        ("n in (1, 3)", "n = 3", False),
        ("n = 3 and t = 'a'", "n != 4", True),
        ("t = 'abc'", "t like 'a%'", True),
        ("t like 'ab%'", "t like 'a%'", True),
        ("t like 'a%b'", "t like 'a%' and t like '%b'", True),
        ("t like 'a%'", "t like 'a_%'", False),
        ("t like 'a_%'", "t != 'a'", True),
        ("n > 3", "t != 'a'", False),
    ],
)
def test_one_condition_implies_another(stronger: str, weaker: str, expected: bool) -> None:
    assert implies(parse_when(stronger, KINDS), parse_when(weaker, KINDS), FREE) is expected


def test_a_literal_that_breaks_the_property_is_unknown() -> None:
    assert unknown_literals(Comparison("code", "=", "b"), DOMAINS["code"]) == ("b",)
    assert unknown_literals(Comparison("size", "in", ("a", "c", "d")), DOMAINS["size"]) == ("c", "d")
    assert unknown_literals(Comparison("size", "!=", "c"), DOMAINS["size"]) == ("c",)
    assert unknown_literals(Comparison("count", "<", 9), DOMAINS["count"]) == ()
    assert unknown_literals(Comparison("size", "like", "c%"), DOMAINS["size"]) == ()
