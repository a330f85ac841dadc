"""docs/definitions.md: every command and table is in it, with the units, options and grain of the code, and an example.

Examples that no other test of this folder runs are run here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_analytics.analyses.campaigns import CampaignsQuestion, run_campaigns
from polku_analytics.analyses.contacts import ContactsQuestion, run_contacts
from polku_analytics.analyses.deliveries import DeliveriesQuestion, run_deliveries
from polku_analytics.analyses.friction import FrictionQuestion, run_friction
from polku_analytics.analyses.graph import GraphQuestion, run_graph
from polku_analytics.analyses.paths import PathsQuestion, run_paths
from polku_analytics.analyses.performance import PerformanceQuestion, run_performance
from polku_analytics.analyses.person import PersonQuestion, run_person
from polku_analytics.analyses.prompts import PromptQuestion, run_prompt
from polku_analytics.analyses.recommend import RecommendQuestion, run_recommend
from polku_analytics.analyses.satisfaction import run_bands
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.searches import SearchQuestion, run_search
from polku_analytics.analyses.significance import proportions
from polku_analytics.build import build
from polku_analytics.commands.options import analysis
from polku_analytics.journeys import BUILT_TABLES, Journeys, open_journeys
from polku_analytics.result import AnalysisResult
from polku_schemas import builtin_plan_path, load_plan
from tests.analytics.test_bad_input import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "definitions.md").read_text(encoding="utf-8")
SECTIONS = {
    re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): text
    for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
PLAN = load_plan(builtin_plan_path())
HOUR = 3_600
DAY = 24 * HOUR

ASK_NO_MEASURE = {"build", "load", "query"}
NO_MODEL = {"person_links": "an id, or a piece of its timeline", "event_copies": "copy of an event"}
"""Tables that the build makes without a model, and what a row of them is."""


def listed(first: str) -> dict[str, list[str]]:
    """The rows of the table whose header begins with this cell, by their first one."""
    lines = PAGE.split(f"| {first} |")[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in _until_blank(lines)]
    return {row[0].strip("`"): row[1:] for row in cells}


def _until_blank(lines: list[str]) -> list[str]:
    return lines[: lines.index("")]


def linked(cell: str) -> list[str]:
    return re.findall(r"\]\(#([\w-]+)\)", cell)


def own_options(name: str) -> set[str]:
    @analysis("person")
    def everybodys() -> None: ...

    common = {option.name for option in everybodys.__click_params__}  # type: ignore[attr-defined]
    parameters = [p for p in COMMANDS[name].params if p.name not in common and p.param_type_name == "option"]
    return {parameter.opts[0] for parameter in parameters}


def test_every_command_is_defined_with_its_units_and_options() -> None:
    rows = listed("command")
    assert set(rows) == set(COMMANDS) - ASK_NO_MEASURE
    for name, (units, options, source, sections) in rows.items():
        unit = next((p for p in COMMANDS[name].params if p.name == "unit"), None)
        choices = list(unit.type.choices) if unit is not None else None  # type: ignore[attr-defined]
        assert choices is None or units == ", ".join(choices), f"{name}: {choices}"
        assert set(re.findall(r"`(--[\w-]+)`", options)) == own_options(name), f"{name}: {own_options(name)}"
        assert source, name
        for section in linked(sections):
            assert "*Example" in SECTIONS[section] or section in ("report",), f"{name}: {section} has no example"
        assert linked(sections), name


def test_every_table_is_defined_with_its_grain() -> None:
    rows = listed("table")
    models = ROOT / "analytics" / "polku_analytics" / "models"
    assert set(rows) == set(BUILT_TABLES)
    for name, (grain, sections) in rows.items():
        file = models / f"{name}.sql"
        header = file.read_text(encoding="utf-8").split("-- Grain: ")[1].split("\n")[0] if file.is_file() else None
        # The header may say more, in brackets.
        assert (header or NO_MODEL[name]).startswith(grain), f"{name}: {header}"
        assert linked(sections) and all("*Example" in SECTIONS[section] for section in linked(sections)), name


def test_every_link_of_the_page_to_itself_has_a_section() -> None:
    assert set(linked(PAGE)) <= set(SECTIONS)


def named(result: AnalysisResult) -> list[dict[str, Any]]:
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def only(result: AnalysisResult, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in named(result)]


def opened(make_lake: Callable[..., Any], rows: list[dict[str, Any]]) -> Journeys:
    lake = make_lake(rows)
    build(lake, PLAN)
    return open_journeys(lake, PLAN)


@pytest.fixture(scope="module")
def two(make_lake: Callable[..., Any], new_history: Callable[..., Any]) -> Journeys:
    """The example of two people: Aino buys, Eino looks."""
    event = new_history()
    aino, eino = {"user_id": "aino"}, {"user_id": "eino"}
    return opened(
        make_lake,
        [
            event("ad_clicked", 0, channel="ads", **aino),
            event("product_viewed", 10, **aino),
            event("product_viewed", 20, **aino),
            event("order_completed", 60, order_id="o1", revenue=20.0, currency="EUR", **aino),
            event("product_viewed", 0, **eino),
        ],
    )


def test_stages(two: Journeys) -> None:
    sql = (
        "SELECT stage, COUNT(*), COUNT(CASE WHEN is_present THEN 1 END) FROM stages GROUP BY stage, stage_number "
        "ORDER BY stage_number"
    )
    assert two.rows(sql) == [("interest", 2, 1), ("purchase", 1, 1)]


def test_paths(two: Journeys) -> None:
    found = run_paths(two, PathsQuestion(scope=Scope(unit="person")))
    assert sorted(only(found, "step", "from", "to", "transitions", "median_seconds")) == [
        (1, "ad", "product", 1, 10),
        (1, "product", "(left)", 1, None),
        (2, "product", "order", 1, 50),
        (3, "order", "(left)", 1, None),
    ]


def test_graph_and_transitions(two: Journeys) -> None:
    found = run_graph(two, GraphQuestion(scope=Scope(unit="person")))
    edges = {(row["from"], row["to"]): row["transitions"] for row in named(found)}
    assert edges == dict.fromkeys(
        [
            *(("(begin)", "ad"), ("(begin)", "product"), ("ad", "product"), ("product", "product")),
            *(("product", "order"), ("order", "(end)"), ("product", "(end)")),
        ],
        1,
    )
    loops = named(run_graph(two, GraphQuestion(show="loops", scope=Scope(unit="person"))))
    assert [(row["item"], row["returns"], row["share"]) for row in loops if row["returns"]] == [("product", 1, 0.5)]
    sql = "SELECT transitions, people, total_microseconds FROM transitions WHERE scope = 'person' "
    assert two.rows(sql + "AND from_touchpoint = 'product' AND to_touchpoint = 'product'") == [(1, 1, 10_000_000)]


def test_figures_of_a_day(two: Journeys) -> None:
    sql = "SELECT channel, people, touchpoints, orders, net_revenue, valued_orders FROM daily_metrics ORDER BY channel"
    assert two.rows(sql) == [("ads", 1, 1, 0, 0.0, 0), ("web", 2, 4, 1, 20.0, 1)]


def test_coverage_and_a_timeline(two: Journeys) -> None:
    assert run_paths(two, PathsQuestion()).coverage["touchpoints"] == 5
    two_again = open_journeys(two.lake, PLAN, (*BUILT_TABLES,))
    found = run_person(two_again, PersonQuestion(id="aino", last=2))
    assert only(found, "event") == [("product_viewed",), ("order_completed",)]
    assert found.coverage["earlier_touchpoints_left_out"] == 2


@pytest.fixture(scope="module")
def shop(make_lake: Callable[..., Any], new_history: Callable[..., Any]) -> Journeys:
    """The examples of searches, deliveries, revenue, service, bands and prompts, of other people each."""
    event = new_history()
    aino, eino, veikko = ({"user_id": name} for name in ("aino", "eino", "veikko"))
    rows = [
        event("products_searched", 0, session_id="s1", query="tent", results_count=0, **aino),
        event("products_searched", 10, session_id="s1", query="tents", results_count=5, **aino),
        event("search_result_clicked", 20, session_id="s1", query="tents", position=2, **aino),
        event("product_viewed", 30, session_id="s1", product_id="p1", **aino),
        event("products_searched", 0, session_id="s2", query="lamp", results_count=3, **eino),
    ]
    promised = event("x")["event_time"].replace(hour=12)
    wednesday = promised.replace(day=promised.day + 2)
    for number, late in enumerate((0, 6, None)):
        order = {"order_id": f"d{number}", "shipment_id": f"s{number}", "user_id": f"buyer{number}"}
        rows.append(event("order_shipped", HOUR, carrier="DHL", promised_at=wednesday, **order))
        if late is not None:
            at = wednesday.replace(hour=wednesday.hour + late)
            rows.append(event("order_delivered", 2 * DAY + late * HOUR, carrier="DHL", delivered_at=at, **order))
    rows += [
        event("order_completed", HOUR, order_id="v1", revenue=100.0, currency="EUR", **veikko),
        event("order_refunded", 2 * HOUR, order_id="v1", revenue=30.0, currency="EUR", **veikko),
        event("subscription_renewed", 3 * HOUR, subscription_id="a", value=9.9, currency="EUR", **veikko),
        event("agent_contacted", 4 * HOUR, contact_reason="delivery", duration_seconds=100.0, resolved=True, **veikko),
        event("agent_contacted", 5 * HOUR, contact_reason="return", duration_seconds=300.0, resolved=False, **veikko),
        event("survey_answered", 2 * DAY, survey_id="n", scale="nps", score=9.0, **veikko),
        event("order_completed", 3 * DAY, order_id="v2", revenue=10.0, currency="EUR", **veikko),
        event("product_viewed", 4 * DAY - HOUR, anonymous_id="u1"),
        event("product_viewed", 4 * DAY - HOUR, anonymous_id="u2"),
        event("product_added", 4 * DAY - HOUR + 10, anonymous_id="u2"),
        event("product_viewed", 4 * DAY, anonymous_id="u3"),
    ]
    return opened(make_lake, rows)


def test_searches(shop: Journeys) -> None:
    found = {row["measure"]: (row["searches"], row["of"]) for row in named(run_search(shop, SearchQuestion()))}
    assert found["zero results"] == (1, 3) and found["refined"] == (1, 3)
    assert found["chosen from"] == (1, 3) and found["success"] == (1, 3)
    assert found["exit without a product"] == (1, 3)


def test_deliveries(shop: Journeys) -> None:
    everything = named(run_deliveries(shop, DeliveriesQuestion()))[0]
    assert (everything["on_time"], everything["late"], everything["overdue"]) == (1, 1, 1)
    assert everything["kept_share"] == pytest.approx(1 / 3, abs=1e-6) and everything["median_late_hours"] == 6


def test_revenue(shop: Journeys) -> None:
    sql = "SELECT kind, amount FROM revenue ORDER BY earned_at"
    assert shop.rows(sql) == [("order", 70.0), ("subscription", 9.9), ("order", 10.0)]


def test_service_and_bands(shop: Journeys) -> None:
    everything = named(run_contacts(shop, ContactsQuestion(scope=Scope(segments=("did:agent_contacted",)))))[0]
    assert (everything["contacts"], everything["contacts_per_order"]) == (2, 1)
    assert (everything["median_seconds"], everything["p90_seconds"]) == (200, 280)
    assert (everything["resolved_share"], everything["repeat_share"]) == (0.5, 0)
    assert (everything["answers"], everything["promoter_share"]) == (1, 1)
    (promoter,) = [row for row in named(run_bands(shop, Scope(), None)) if row["band"] == "promoter"]
    assert (promoter["people"], promoter["repeat_rate"], promoter["ordered_after_share"]) == (1, 1, 1)


def test_prompts(shop: Journeys) -> None:
    found = named(run_prompt(shop, PromptQuestion(fewest=2, scope=Scope(unit="event"))))
    shown = ("step", "passes", "open", "then_left", "share")
    assert [tuple(row[name] for name in shown) for row in found] == [("product", 3, 1, 1, 0.5)]


@pytest.fixture(scope="module")
def crowd(make_lake: Callable[..., Any], new_history: Callable[..., Any]) -> Journeys:
    """The examples that need many: a mail, baskets, a fault in the cart, slow pages; each of other people."""
    event, number = new_history(), iter(range(10**6))

    def orders(count: int, people: list[str], at: int) -> list[dict[str, Any]]:
        made = ({"order_id": f"o{next(number)}", "user_id": people[place % len(people)]} for place in range(count))
        return [event("order_completed", at + place, revenue=1.0, **order) for place, order in enumerate(made)]

    mailed, others = [f"m{n}" for n in range(50)], [f"o{n}" for n in range(50)]
    rows = [event("page_viewed", 0, user_id=user) for user in (*mailed, *others)]
    for people, before, after in ((mailed, 30, 40), (others, 30, 25)):
        rows += [*orders(before, people, 4 * DAY), *orders(after, people, 11 * DAY)]
    rows += [event("email_sent", 10 * DAY, user_id=user, campaign_id="spring", channel="email") for user in mailed]
    for buyer in range(10):
        has = {"tent": buyer < 4, "stove": buyer < 5, "socks": buyer < 9, "rope": buyer == 9}
        basket = [{"product_id": name, "quantity": 1} for name, bought in has.items() if bought]
        order = {"order_id": f"b{buyer}", "revenue": 1.0, "products": basket}
        rows.append(event("order_completed", 40 * DAY, user_id=f"buyer{buyer}", **order))
    for visit in range(400):
        who, error = {"anonymous_id": f"v{visit}"}, visit < 80
        rows.append(event("product_added", 50 * DAY, **who))
        rows += [event("error_shown", 50 * DAY + 5, **who)] if error else []
        if visit % 10 < (1 if error else 5):
            rows.append(event("order_completed", 50 * DAY + 9, order_id=f"v{visit}", revenue=1.0, **who))
    for place, load in enumerate((1000.0, 2000.0, 4000.0)):
        page = {"page_type": "home", "load_ms": load, "device": "desktop", "browser": "Firefox"}
        rows.append(event("page_performance_measured", 60 * DAY, anonymous_id=f"p{place}", **page))
    return opened(make_lake, rows)


def test_campaigns(crowd: Journeys) -> None:
    (spring,) = named(run_campaigns(crowd, CampaignsQuestion(window_seconds=7 * DAY)))
    assert (spring["sent"], spring["extra_orders_per_person"]) == (50, pytest.approx(0.3))


def test_recommendations(crowd: Journeys) -> None:
    found = only(run_recommend(crowd, RecommendQuestion(product="tent", fewest=3)), "recommended", "lift", "share")
    assert found == [("stove", 2, 1), ("socks", pytest.approx(10 / 9, abs=1e-6), 1)]


def test_friction(crowd: Journeys) -> None:
    found = named(run_friction(crowd, FrictionQuestion()))[0]
    assert (found["friction"], found["place"], found["units"]) == ("error", "cart", 80)
    assert (found["loss"], found["lost"], found["verdict"]) == (0.4, 32, "costly")


def test_page_speed(crowd: Journeys) -> None:
    assert only(run_performance(crowd, PerformanceQuestion(fewest=3)), "p75_load_ms", "slow") == [(3000, 1)]


def test_comparison() -> None:
    found = proportions(3, 8, 1, 9)
    assert (round(found.difference or 0, 6), round(found.p_value or 0, 6)) == (0.263889, 0.294118)
    assert found.test == "Fisher"
