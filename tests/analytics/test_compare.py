"""Comparisons against scipy over the units that a plain loop counts, with an effect put in and one that was not."""

from __future__ import annotations

import datetime
import math
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from polku_analytics.analyses.compare import CompareQuestion, run_compare
from polku_analytics.analyses.funnel import funnel_question
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.significance import Sums, means, proportions, same_ratio, wilson
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

DAY = 86_400
MONDAY = datetime.date(2026, 3, 2)
CHANGE = MONDAY + datetime.timedelta(days=14)

Row = dict[str, Any]


def by_name(journeys: Journeys, question: CompareQuestion) -> dict[tuple[str, str, str], Row]:
    result = run_compare(journeys, question)
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return {(row["comparison"], row["measure"], row["group"]): row for row in rows}


@pytest.fixture(scope="module")
def shop(
    new_history: Callable[[], Callable[..., Row]], built: Callable[..., Journeys]
) -> tuple[Journeys, dict[str, list[list[float]]]]:
    """Three weeks of 300 people each: the third week's buy far more often. Per week what each of them brought."""
    draw, event, rows = random.Random(3), new_history(), []
    brought: dict[str, list[list[float]]] = defaultdict(list)
    for week, chance in enumerate((0.2, 0.2, 0.45)):
        for number in range(300):
            person, at = f"w{week}-{number}", week * 7 * DAY + draw.randrange(6 * DAY)
            kind = "new" if draw.random() < 0.5 else "old"
            rows.append(event("page_viewed", at, user_id=person, kind=kind))
            rows.append(event("product_viewed", at + 1, user_id=person))
            mine = []
            while draw.random() < chance:
                mine.append(draw.randrange(1, 5000) / 100)
                order = {"order_id": f"{person}-{len(mine)}", "revenue": mine[-1], "currency": "EUR"}
                rows.append(event("order_completed", at + 60 * len(mine), user_id=person, **order))
            brought[f"{week}"].append(mine)
            brought[f"{week}{kind}"].append(mine)
    rows.append(event("page_viewed", 21 * DAY, user_id="w2-0"))
    return built(rows), brought


def expect(row: Row, group: list[list[float]], control: list[list[float]]) -> None:
    """What scipy says of the two lists."""
    assert (row["units"], row["control_units"]) == (len(group), len(control))
    if row["measure"] == "conversion":
        reached, before = (sum(bool(mine) for mine in people) for people in (group, control))
        pooled = (reached + before) / (len(group) + len(control))
        z = (reached / len(group) - before / len(control)) / math.sqrt(
            pooled * (1 - pooled) * (1 / len(group) + 1 / len(control))
        )
        p_value = 2 * stats.norm.sf(abs(z))
        figures = reached / len(group), before / len(control)
    else:
        values = [[sum(mine) for mine in people] for people in (group, control)]
        tested = stats.ttest_ind(*values, equal_var=False)
        p_value, figures = tested.pvalue, (np.mean(values[0]), np.mean(values[1]))
        interval = tested.confidence_interval(0.95)
        assert (row["low"], row["high"]) == (
            pytest.approx(interval.low, abs=1e-5),
            pytest.approx(interval.high, abs=1e-5),
        )
    assert row["figure"] == pytest.approx(figures[0], abs=1e-5)
    assert row["control_figure"] == pytest.approx(figures[1], abs=1e-5)
    assert row["lift"] == pytest.approx(figures[0] / figures[1] - 1, abs=1e-4)
    assert row["p_value"] == pytest.approx(p_value, abs=1e-8)


def test_before_and_after_find_what_was_put_in_and_the_control_finds_nothing(
    shop: tuple[Journeys, dict[str, list[list[float]]]],
) -> None:
    journeys, brought = shop
    found = by_name(journeys, CompareQuestion(change=str(CHANGE)))
    for measure in ("conversion", "value per unit"):
        changed, control = found["change", measure, "after"], found["no-change control", measure, "before"]
        expect(changed, brought["2"], brought["1"])
        expect(control, brought["1"], brought["0"])
        assert (changed["verdict"], control["verdict"]) == ("higher", "no difference shown")
    assert found["change", "sample ratio", "after"]["verdict"] == "as expected"

    steps = funnel_question(journeys, ["product_viewed", "order_completed"])
    funnel = by_name(journeys, CompareQuestion(funnel=steps, change=str(CHANGE), days=7))
    expect(funnel["change", "conversion", "after"], brought["2"], brought["1"])
    # Two years earlier there was nobody.
    empty = by_name(journeys, CompareQuestion(change="2024-03-16", days=7))
    assert {row["verdict"] for row in empty.values()} == {"too little data"}


def test_what_is_in_two_currencies_is_not_compared(
    new_history: Callable[[], Callable[..., Row]], built: Callable[..., Journeys]
) -> None:
    """Each week is in one currency, but the last one in another: 100 SEK are not more than 10 EUR."""
    event, rows = new_history(), []
    for week, currency in enumerate(("EUR", "EUR", "SEK")):
        for number in range(6):
            order = {"order_id": f"{week}-{number}", "revenue": 10.0 + number, "currency": currency}
            rows.append(event("order_completed", week * 7 * DAY, user_id=f"u{number}", **order))
    rows.append(event("page_viewed", 21 * DAY, user_id="x"))
    found = by_name(built(rows), CompareQuestion(change=CHANGE.isoformat()))
    assert ("change", "value per unit", "after") not in found
    assert found["no-change control", "value per unit", "before"]["difference"] == 0.0
    assert found["change", "conversion", "after"]["figure"] == 1.0


def test_who_tells_no_currency_is_taken_to_mean_the_only_one_told(
    new_history: Callable[[], Callable[..., Row]], built: Callable[..., Journeys]
) -> None:
    """A shop that began to say EUR in the second week; in the third it sold in SEK, too."""
    event, rows = new_history(), []
    for week, currencies in enumerate(((None, None), ("EUR", None), ("EUR", "SEK"))):
        for number in range(4):
            money = {"revenue": 10.0 * (1 + week) + number, "currency": currencies[number % 2]}
            told = {name: value for name, value in money.items() if value is not None}
            rows.append(
                event("order_completed", week * 7 * DAY, user_id=f"u{number}", order_id=f"{week}{number}", **told)
            )
    rows.append(event("page_viewed", 21 * DAY, user_id="x"))
    found = by_name(built(rows), CompareQuestion(change=CHANGE.isoformat()))
    assert found["no-change control", "value per unit", "before"]["difference"] == 10.0
    assert ("change", "value per unit", "after") not in found


def test_a_value_that_is_not_known_is_not_zero(
    new_history: Callable[[], Callable[..., Row]], built: Callable[..., Journeys]
) -> None:
    """In the first two weeks one of three orders says none, in the last none of them says one."""
    event, rows = new_history(), []
    for week, revenues in enumerate(((10.0, 20.0, None), (30.0, 50.0, None), (None, None, None))):
        for number, revenue in enumerate(revenues):
            told = {"currency": "EUR", "revenue": revenue} if revenue else {"currency": "SEK"}
            order = {"order_id": f"{week}{number}", "user_id": f"u{number}", **told}
            rows.append(event("order_completed", week * 7 * DAY, **order))
        rows.append(event("page_viewed", week * 7 * DAY, user_id="only looks"))
    # Who has an order with a value and one without may have brought anything.
    rows.append(event("order_completed", 7 * DAY + 5, order_id="more", user_id="u1"))
    rows.append(event("page_viewed", 21 * DAY, user_id="x"))
    result = run_compare(built(rows), CompareQuestion(change=CHANGE.isoformat()))
    assert result.coverage["conversions_without_value"] == 1 + 2 + 3
    found = {(row["comparison"], row["measure"]): row for row in result.dicts()}
    before = found["no-change control", "value per unit"]
    assert (before["units"], before["figure"]) == (2, 15.0)  # (30 + 0) ÷ 2
    assert (before["control_units"], before["control_figure"]) == (3, 10.0)  # (10 + 20 + 0) ÷ 3
    assert ("change", "value per unit") not in found
    assert (found["change", "conversion"]["units"], found["change", "conversion"]["figure"]) == (4, 0.75)


def test_variants_are_compared_and_their_split_is_checked(
    shop: tuple[Journeys, dict[str, list[list[float]]]],
) -> None:
    journeys, brought = shop
    scope = Scope(period=Period(CHANGE, CHANGE + datetime.timedelta(days=7)))
    found = by_name(journeys, CompareQuestion(variant="kind", control="old", scope=scope))
    expect(found["variant", "conversion", "new"], brought["2new"], brought["2old"])
    expect(found["variant", "value per unit", "new"], brought["2new"], brought["2old"])
    assert found["variant", "conversion", "new"]["verdict"] == "no difference shown"
    ratio = found["variant", "sample ratio", "new"]
    counts = [len(brought["2new"]), len(brought["2old"])]
    assert ratio["p_value"] == pytest.approx(stats.chisquare(counts).pvalue)
    assert ratio["verdict"] == "as expected"
    wrong = by_name(journeys, CompareQuestion(variant="kind", split={"new": 9, "old": 1}, scope=scope))
    assert wrong["variant", "sample ratio", "old"]["verdict"] == "not as expected"
    # None of them was there the week before: nothing to compare, and it is said.
    assert found["no-change control", "conversion", "new"]["verdict"] == "too little data"


def test_the_options_of_every_question(shop: tuple[Journeys, dict[str, list[list[float]]]]) -> None:
    journeys, brought = shop
    result = run_compare(journeys, CompareQuestion(change=str(CHANGE), scope=Scope(breakdown="kind")))
    assert [row[0] for row in result.rows] == ["new"] * 6 + ["old"] * 6
    expect(dict(zip(result.columns[1:], result.rows[0][1:], strict=True)), brought["2new"], brought["1new"])
    buyers = run_compare(
        journeys, CompareQuestion(change=str(CHANGE), scope=Scope(segments=("orders >= 1", "orders = 0")))
    )
    assert [(row[0], row[5]) for row in buyers.rows if row[1:3] == ["change", "conversion"]] == [
        ("orders >= 1", 1.0),
        ("orders = 0", 0.0),
    ]
    for wrong, said in (
        (CompareQuestion(), "of a change"),
        (CompareQuestion(change="2026-03-16", scope=Scope(previous=True)), "no-change control"),
        (CompareQuestion(change="2026-03-16", scope=Scope(period=Period(MONDAY))), "leave out --since"),
        (CompareQuestion(change="2026-03-23"), "has not a whole day after"),
    ):
        with pytest.raises(AnalyticsError, match=said):
            run_compare(journeys, wrong)
    with pytest.raises(UnknownNameError, match="unknown change"):
        run_compare(journeys, CompareQuestion(change="new_checkout"))
    with pytest.raises(UnknownNameError, match="Did you mean new"):
        run_compare(journeys, CompareQuestion(variant="kind", control="news"))


def test_few_and_none() -> None:
    few = proportions(3, 8, 1, 9)
    assert few.test == "Fisher"
    assert few.p_value == pytest.approx(stats.fisher_exact([[3, 5], [1, 8]]).pvalue)
    assert proportions(0, 0, 1, 9).p_value is None
    assert proportions(0, 50, 0, 50).p_value == 1.0
    assert means(Sums(1, 5.0, 25.0), Sums(9, 9.0, 9.0)).p_value is None
    assert same_ratio([0, 0], [1, 1]) is None and same_ratio([5], [1]) is None
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == pytest.approx(1.0)
