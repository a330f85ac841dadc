"""Recommendations: which products go together, ranked by lift, and what a person does not have yet.

Lift says how much more often two products are had by the same people than if they were chosen independently. Ranking
by it, and not by how many buyers of the one bought the other, keeps what everybody buys from being recommended to all.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import UNIT_WORDS, AnalysisResult
from polku_schemas.rules import sql_literal

BasedOn = Literal["bought", "viewed"]
"""What ties products together: the same people bought them, or looked at them."""

COLUMNS: Final = (
    "product",
    "recommended",
    "name",
    "lift",
    "both",
    "share",
    "with_product",
    "with_recommended",
    "units",
)

_UNIT_PRODUCTS: Final = "unit_products"
_VIEWS: Final = ("product_viewed",)


class RecommendQuestion(Struct, frozen=True, kw_only=True):
    """For one product, for one person, or for each product."""

    product: str | None = None
    person: str | None = None
    based_on: BasedOn = "bought"
    fewest: int = 5
    """Pairs that fewer units have are left out: their lift says nothing."""
    top: int = 10
    scope: Scope = Scope()


def run_recommend(journeys: Journeys, question: RecommendQuestion) -> AnalysisResult:
    """Recommend over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "a recommendation")
    if question.product is not None and question.person is not None:
        raise AnalyticsError("recommendations are for a product or for a person, not both")
    if question.fewest < 1 or question.top < 1:
        raise AnalyticsError("recommendations need at least one unit behind them, and at least one row")
    owned = _owned(journeys, question.person) if question.person is not None else None
    if question.product is not None:
        _check_product(journeys, question)
    who = question.person or question.product or "each product"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, owned, part),
        question=f"What goes with {who}?" if question.person is None else f"What to suggest to {who}?",
        options={
            "product": question.product,
            "person": question.person,
            "based_on": question.based_on,
            "fewest": question.fewest,
            "owned_products": None if owned is None else len(owned.bought),
            "counted": UNIT_WORDS[question.scope.unit],
        },
        columns=COLUMNS,
        # To a person each is suggested once, whatever leads to it.
        keys=("recommended",) if owned is not None else ("product", "recommended"),
        measure="lift",
        adds_up=False,
    )


class _Owned(Struct, frozen=True):
    """What a person has bought, and what else they have looked at."""

    bought: frozenset[str]
    viewed: frozenset[str]


def _find(question: RecommendQuestion, owned: _Owned | None, part: Part) -> Finding:
    engine = part.journeys.engine
    products = products_sql(part, question.based_on)
    engine.keep(
        _UNIT_PRODUCTS, f"SELECT unit, product_id, MAX(name) AS name FROM ({products}) AS p GROUP BY unit, product_id"
    )
    units = engine.rows(f"SELECT COUNT(DISTINCT unit) FROM {_UNIT_PRODUCTS}")[0][0]
    have = {
        str(product): (int(count), name)
        for product, count, name in engine.rows(
            f"SELECT product_id, COUNT(*) AS units, MAX(name) AS name FROM {_UNIT_PRODUCTS} GROUP BY product_id"
        )
    }
    wanted = "TRUE"
    if question.product is not None:
        wanted = f"a.product_id = {sql_literal(question.product)}"
    if owned is not None:
        basis = owned.bought if question.based_on == "bought" else owned.bought | owned.viewed
        wanted = f"a.product_id IN ({', '.join(map(sql_literal, sorted(basis))) or 'NULL'})"
    pairs = (
        f"SELECT a.product_id AS product, b.product_id AS recommended, COUNT(*) AS both "
        f"FROM {_UNIT_PRODUCTS} AS a JOIN {_UNIT_PRODUCTS} AS b ON b.unit = a.unit AND b.product_id <> a.product_id "
        f"WHERE {wanted} GROUP BY a.product_id, b.product_id"
    )
    sql = f"{pairs} HAVING COUNT(*) >= {question.fewest}"
    rows: list[list[Any]] = []
    found = engine.rows(sql)
    for product, recommended, both in found:
        lift = both * units / (have[product][0] * have[recommended][0])
        if lift > 1 and (owned is None or recommended not in owned.bought):
            share = round(both / have[product][0], 6)
            counts = [have[product][0], have[recommended][0], units]
            rows.append([product, recommended, have[recommended][1], round(lift, 6), both, share, *counts])
    rows.sort(key=lambda row: (-row[3], -row[4], row[0], row[1]))
    if owned is not None:
        # The best reason for each; the others would be the same advice again.
        rows = list({row[1]: row for row in reversed(rows)}.values())[::-1]
        rows.sort(key=lambda row: (-row[3], -row[4], row[0], row[1]))
    why = None
    if not rows:
        most = max((both for _, _, both in found or engine.rows(pairs)), default=0)
        why = _why_none(question, owned, part, units, most)
    covered = {"products": len(have), "units_with_products": units}
    return Finding(rows=rows[: question.top], rest=rows[question.top :], sql=sql, coverage=covered, why_empty=why)


def _why_none(question: RecommendQuestion, owned: _Owned | None, part: Part, units: int, most: int) -> str:
    """Why nothing is recommended; `most` is the number of units that have the most frequent pair."""
    counted, had = UNIT_WORDS[part.unit], "bought" if question.based_on == "bought" else "looked at"
    if not units:
        return f"there are no {counted} that {had} a product"
    if owned is not None and not (owned.bought if question.based_on == "bought" else owned.bought | owned.viewed):
        more = "; try --based-on viewed" if question.based_on == "bought" and owned.viewed else ""
        return f"{question.person} has {had} nothing to start from{more}"
    if not most:
        start = f"{question.product} and something else" if question.product is not None else "two products"
        return f"no {counted} {had} {start}, of {units} that {had} any"
    if most < question.fewest:
        return (
            f"the most frequent pair stands on {most} {counted}, and a row must stand on {question.fewest}: "
            f"lower --fewest to {most}, or ask about a longer period"
        )
    if owned is None:
        return (
            f"no pair of at least {question.fewest} {counted} comes together more often than by chance (lift above 1)"
        )
    return f"nothing that {question.person} does not have comes with what is there more often than by chance"


def products_sql(part: Part, based_on: BasedOn) -> str:
    """Which unit has which product, with repeats: `unit`, `product_id`, `name`."""
    journeys, unit = part.journeys, part.unit_column
    if based_on == "bought" and journeys.columns_of("order_lines"):
        return (
            f"SELECT l.{unit} AS unit, l.product_id, l.name FROM {part.rows('order_lines', 'ordered_at')} AS l "
            "WHERE l.product_id IS NOT NULL AND NOT l.cancelled "
            "AND COALESCE(l.returned_quantity, 0) < COALESCE(l.quantity, 1)"
        )
    journeys.with_events()
    joined = f"FROM {part.rows()} AS t JOIN events AS e ON e.source = t.source AND e.event_id = t.event_id"
    if based_on == "viewed":
        name = "e.name" if "name" in journeys.plan.properties else "CAST(NULL AS VARCHAR)"
        if "product_id" not in journeys.plan.properties:
            raise AnalyticsError("the plan has no product_id: nothing says which product was looked at")
        names = ", ".join(map(sql_literal, _VIEWS))
        return (
            f"SELECT t.{unit} AS unit, e.product_id, {name} AS name {joined} "
            f"WHERE t.event_name IN ({names}) AND e.product_id IS NOT NULL"
        )
    lines = journeys.plan.properties.get("products")
    if lines is None or lines.items is None or "product_id" not in lines.items.fields:
        raise AnalyticsError("the plan has no products with a product_id: nothing says what was bought")
    name = "x.line.name" if "name" in lines.items.fields else "CAST(NULL AS VARCHAR)"
    return (
        f"SELECT x.unit, x.line.product_id AS product_id, {name} AS name FROM (SELECT t.{unit} AS unit, "
        f"{journeys.engine.dialect.each('e.products')} AS line {joined} WHERE t.order_id IS NOT NULL) AS x "
        "WHERE x.line.product_id IS NOT NULL"
    )


def _owned(journeys: Journeys, person: str) -> _Owned:
    found = journeys.rows(f"SELECT person_key FROM persons WHERE person_id = {sql_literal(person)}")
    if not found:
        raise AnalyticsError(f"nobody has the person_id {person!r}")
    everything = Part(journeys=journeys, unit="person", period=Period(), units=str(int(found[0][0])))

    def ids(based_on: BasedOn) -> frozenset[str]:
        sql = f"SELECT DISTINCT product_id FROM ({products_sql(everything, based_on)}) AS p"
        return frozenset(str(row[0]) for row in journeys.rows(sql))

    viewable = "product_id" in journeys.plan.properties
    return _Owned(ids("bought"), ids("viewed") if viewable else frozenset())


def _check_product(journeys: Journeys, question: RecommendQuestion) -> None:
    everything = Part(journeys=journeys, unit="person", period=Period())
    sql = f"SELECT DISTINCT product_id FROM ({products_sql(everything, question.based_on)}) AS p"
    known = {str(row[0]) for row in journeys.rows(sql)}
    if question.product not in known:
        raise UnknownNameError("product", str(question.product), known)
