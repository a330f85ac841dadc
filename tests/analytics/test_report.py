"""The report page: what it says of a small shop whose figures one can count on one's fingers."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polku_analytics.build import build
from polku_analytics.lake import Lake
from polku_analytics.report import ReportFigures, readings, sections, write_report
from polku_analytics.report.wording import amount, change
from polku_analytics.result import AnalysisResult
from polku_schemas import Target, builtin_plan_path, load_plan
from tests.analytics.conftest import START
from tests.analytics.small_shop import write_shop_report

PLAN = load_plan(builtin_plan_path())


class Sections(HTMLParser):
    """The text of each section, what its tables say, and the addresses that the page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.cells: dict[str, list[list[str]]] = {}
        self.references: list[str] = []
        self.ids: list[str] = []
        self.in_cell = self.in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.in_script |= tag == "script"
        self.references += [value or "" for name, value in attrs if name == "href"]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "section":
            self.names.append(values["id"] or "")
        if tag == "tr" and self.names:
            self.cells.setdefault(self.names[-1], []).append([])
        if tag in ("td", "th") and self.names:
            self.cells[self.names[-1]][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell &= tag not in ("td", "th")
        self.in_script &= tag != "script"

    def handle_data(self, data: str) -> None:
        if not self.names or self.in_script:
            return
        self.words.setdefault(self.names[-1], []).append(data)
        if self.in_cell:
            self.cells[self.names[-1]][-1][-1] += data

    def text(self, name: str) -> str:
        """The words of a section, without line ends."""
        return " ".join(" ".join(self.words[name]).split())

    def row(self, name: str, first: str) -> list[str]:
        """The row of a section's table that begins so."""
        return next(row for row in self.cells[name] if row and row[0] == first)


Page = tuple[ReportFigures, Sections]


@pytest.fixture(scope="module")
def page(new_history: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Page:
    figures, out = write_shop_report(tmp_path_factory.mktemp("shop"), new_history(), PLAN)
    return figures, Sections(out.read_text(encoding="utf-8"))


READINGS = {
    # 28 days before the newest event there was nobody; one order of 60 EUR came back whole.
    "recent": "The last 28 days: 12 orders; net revenue 200.00 EUR. 0 of 2 targets met.",
    "stages": "the furthest so far",
    "orders": "12 orders brought 260.00 EUR; most came on 9 Mar 2026 (10).",
    "routes": "83 % of the 12 journeys to it end the same way; the simplest takes 2 steps and 30 s.",
    "carts": "Of 4 carts no longer open 2 (50 %) were abandoned, with 50.00 EUR left in them; 1 of these had begun the "
    "checkout.",
    "checkout": "67 % of 3 checkouts end in an order; most are left at Address (1, 33 % of those there).",
    "campaigns": "Of 1 campaign, “spring” leaves most: 2 orders, 50.00 EUR. For each EUR spent, “spring” brought back "
    "most (2.00).",
    "lifecycle": "In the week from 16 Mar 2026 0 people were active: 0 new, 0 who were there the week before, 0 back "
    "after a pause; 21 of the week before stayed away.",
    "retention": "Of those who come for the first time 4.2 % are there again one week later, and 0 % 2 weeks later.",
    "search": "4 searches, of which 3 (75 %) found nothing, most often “tent” (2); 25 % led on to a product or "
    "content.",
    "deliveries": "1 of 2 promises that were due (50 %) were kept; Snail kept fewest (0 %).",
    "returns": "1 of 12 orders (8.3 %) came back, worth 60.00 EUR (23 % of revenue); most by value: Wrong size.",
    "performance": "Most slow pages: Product · Mobile · Safari, 15 of 20 measurements (75 %); 50 % of the visits there "
    "end in an order.",
    "friction": "Error at Product costs orders: 0 % of the 10 visits with it end in an order, "
    "100 % of those without; about 10 orders are lost.",
}


@pytest.mark.parametrize("name", READINGS)
def test_each_section_says_in_a_line_what_it_shows(page: Page, name: str) -> None:
    assert READINGS[name] in page[1].text(name)


def test_the_tables_behind_the_sections_have_the_figures(page: Page) -> None:
    found = page[1]
    assert found.row("recent", "Orders")[:2] == ["Orders", "12"]
    assert found.row("recent", "Visits")[1] == "25"
    assert found.row("routes", "Product → order")[1:] == ["10", "10", "83 %", "2", "30 s"]
    assert found.row("carts", "EUR") == ["EUR", "4", "2", "0", "2", "0", "50 %", "1", "50.00"]
    assert found.row("checkout", "1 Address")[1:6] == ["3", "2", "1", "0", "33 %"]
    assert found.row("campaigns", "spring")[4:13] == ["2", "2", "2", "2", "100.00", "EUR", "50.00", "50.00", "2.00"]
    assert found.row("lifecycle", "2026-03-09") == ["2026-03-09", "21", "20", "1", "0", "3", "yes"]
    # Who was there last week and has not come yet is not gone.
    assert found.row("lifecycle", "2026-03-23") == ["2026-03-23", "1", "1", "0", "0", "–", "no"]
    assert found.row("retention", "2 Mar 2026") == ["2 Mar 2026", "4", "25 %", "0 %", "0 %"]
    assert found.row("search", "Zero results") == ["Zero results", "3", "4", "75 %", "3"]
    assert found.row("deliveries", "Snail")[1:7] == ["1", "0", "1", "0", "0", "0 %"]
    assert found.row("returns", "Wrong size")[1:] == ["EUR", "12", "1", "8.3 %", "60.00", "23 %"]
    assert found.row("performance", "product")[3:] == ["20", "–", "3.0 s", "75 %", "20", "50 %"]
    assert found.row("friction", "Error")[1:] == ["Product", "10", "0 %", "100 %", "10.0", "costly"]


def test_words_that_one_person_searched_for_are_not_shown(page: Page) -> None:
    assert "“tent” 2 · 2 people" in page[1].text("search")
    assert not any("helmi@example.org" in words for words in page[1].words["search"])


def test_what_has_no_answer_is_named_with_the_reason(page: Page) -> None:
    figures, found = page
    assert set(figures.missing) == {"anomalies"}
    assert "anomalies" not in found.names
    assert "Unusual days no day can be judged: each needs 4 of the same weekday" in found.text("absent")


def test_the_contents_lead_to_every_section(page: Page) -> None:
    found = page[1]
    assert found.references == [f"#{name}" for name in found.names]
    assert len(found.ids) == len(set(found.ids))
    assert [name for name in found.names if name in sections.HEADINGS] == [
        *("recent", "routes", "carts", "checkout", "campaigns", "lifecycle", "retention"),
        *("search", "deliveries", "returns", "performance", "friction"),
    ]


def test_a_lake_of_one_reader_and_an_empty_one_have_a_page(
    make_lake: Callable[..., Lake], event: Callable[..., Any], tmp_path: Path
) -> None:
    reader = make_lake([event("article_read", 0, user_id="aino")])
    build(reader, PLAN)
    figures = write_report(reader, PLAN, tmp_path / "reader.html")
    found = Sections((tmp_path / "reader.html").read_text(encoding="utf-8"))
    assert set(found.names) & set(sections.HEADINGS) == {"recent", "lifecycle", "retention"}
    assert figures.missing["carts"].startswith("not collected: no event product_added or ")
    assert figures.missing["search"] == "not collected: no event products_searched was ever seen"
    assert figures.missing["routes"] == "nobody has reached a goal of the plan"
    assert figures.missing["campaigns"].startswith("no touchpoint says of which campaign it is")
    assert figures.missing["friction"].startswith("no sessions show an error")

    # Events of every kind, and nothing that counts.
    odd = make_lake(
        [
            event("product_removed", 0, product_id="coat", user_id="aino"),
            event("order_returned", 10, order_id="unknown", value=5.0, user_id="aino"),
        ]
    )
    build(odd, PLAN)
    figures = write_report(odd, PLAN, tmp_path / "odd.html")
    assert (figures.missing["carts"], figures.missing["returns"]) == ("no cart was made", "nothing was sold")

    empty = make_lake([event("page_viewed", 0, user_id="aino")])
    empty.delta("events").delete()
    build(empty, PLAN)
    figures = write_report(empty, PLAN, tmp_path / "empty.html")
    assert set(figures.missing.values()) == {"there are no events yet"}
    assert set(sections.HEADINGS) <= set(figures.missing)


def test_revenue_is_that_of_the_currency_of_most_orders(
    make_lake: Callable[..., Lake], event: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [
        event("page_viewed", 0, user_id="u", marketing_channel="search", session_id="s"),
        event("order_completed", 1, order_id="1", revenue=10.0, currency="EUR", user_id="u", session_id="s"),
        event("order_completed", 2, order_id="2", revenue=20.0, currency="EUR", user_id="u", session_id="s"),
        event("order_completed", 3, order_id="3", revenue=500.0, currency="SEK", user_id="u", session_id="s"),
    ]
    unknown = event("order_completed", 4, order_id="4", currency="EUR", user_id="v")
    lake = make_lake(rows)
    build(lake, PLAN)
    figures = write_report(lake, PLAN, tmp_path / "two.html")
    head = {figure.label: figure for figure in figures.key_figures}
    assert (head["Orders"].value, head["Revenue"].value, head["Revenue"].unit) == (3, 30.0, "EUR")
    assert head["Revenue"].note == "15.00 per order; 1 order in other currencies left out"
    notes = {}
    for name, some in (("one", [*rows, unknown]), ("none", [unknown]), ("tie", [rows[3], rows[1]])):
        lake = make_lake(some)
        build(lake, PLAN)
        (notes[name],) = (
            (figure.value, figure.note)
            for figure in write_report(lake, PLAN, tmp_path / f"{name}.html").key_figures
            if figure.label == "Revenue"
        )
    assert notes["one"] == (
        30.0,
        "15.00 per order; 1 order without a value and 1 order in other currencies left out",
    )
    assert notes["none"] == (None, "– per order; 1 order without a value left out")
    assert notes["tie"] == (10.0, "10.00 per order; 1 order in other currencies left out")
    assert figures.orders is not None and (figures.orders.orders, figures.orders.revenue) == ((3,), (30.0,))
    assert readings.of_orders(figures.orders).startswith("3 orders brought 30.00 EUR, without 1 in other currencies;")
    for channels in (figures.channels, figures.marketing_channels):
        assert sum(channel.orders for channel in channels) == 3
        assert sum(channel.revenue for channel in channels) == 30.0


def test_a_target_in_another_currency_is_shown_and_not_compared(
    make_lake: Callable[..., Lake], event: Callable[..., Any], tmp_path: Path
) -> None:
    """30 EUR in 28 days, beside a target of 7 a week: 28 EUR are reached, and 28 SEK are something else."""
    lake = make_lake(
        [
            event("order_completed", 0, order_id="1", revenue=30.0, currency="EUR", user_id="u"),
            event("page_viewed", 86400, user_id="u"),
        ]
    )
    build(lake, PLAN)
    a_week = {"name": "money", "description": "", "measure": "value", "of": "order", "value": 7.0, "period": "week"}
    told = {}
    for currency in ("EUR", "SEK"):
        plan = replace(PLAN, targets={"money": Target(**a_week, currency=currency)})
        write_report(lake, plan, tmp_path / "report.html")
        found = Sections((tmp_path / "report.html").read_text(encoding="utf-8"))
        told[currency] = found.text("recent"), found.row("recent", "Net revenue")[4]
    assert told["EUR"][1] == "28.00 EUR, met" and "target 28.00 EUR met" in told["EUR"][0]
    why = "the target is in SEK, the figure in EUR"
    assert "1 of 1 target met." in told["EUR"][0] and "0 of 1 target met, 1 not compared." in told["SEK"][0]
    assert told["SEK"][1] == f"not compared with 28: {why}" and f"target 28 not compared: {why}" in told["SEK"][0]


def test_names_in_the_answers_cannot_become_markup(
    make_lake: Callable[..., Lake], event: Callable[..., Any], tmp_path: Path
) -> None:
    name = "</section><img src=x>"
    rows = []
    for number in range(20):
        who = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": name, "browser": name}
        rows.append(event("products_searched", number, query=name, results_count=0, **who))
        rows.append(event("page_performance_measured", number + 1, page_type=name, load_ms=9000.0, **who))
        rows.append(event("checkout_step_viewed", number + 2, step=1, step_name=name, **who))
        rows.append(event("order_completed", number + 3, order_id=f"o{number}", revenue=1.0, currency=name, **who))
        rows.append(event("order_shipped", number + 4, order_id=f"o{number}", carrier=name, promised_at=START, **who))
        rows.append(event("order_returned", number + 5, order_id=f"o{number}", value=1.0, reason=name, **who))
    hostile = make_lake(rows)
    build(hostile, PLAN)
    write_report(hostile, PLAN, tmp_path / "hostile.html")
    html = (tmp_path / "hostile.html").read_text(encoding="utf-8")
    found = Sections(html)
    assert "<img" not in html
    assert found.ids and "img" in found.text("search")
    for section in ("checkout", "campaigns", "search", "deliveries", "returns", "performance"):
        assert name in found.text(section)


def answered(columns: str, *rows: tuple[Any, ...], coverage: dict[str, Any] | None = None, **options: Any) -> Any:
    return AnalysisResult(
        question="",
        unit="person",
        window=None,
        options=options,
        coverage=coverage or {},
        as_of=None,
        columns=columns.split(),
        rows=[list(row) for row in rows],
        sql="",
    )


def test_readings_of_what_the_small_shop_has_not() -> None:
    days = "day weekday count expected low high score verdict"
    strange = [
        ("2026-03-18", "Wednesday", 4, 40.0, 20.0, 60.0, -7.0, "lower"),
        ("2026-03-20", "Friday", 90, 40.0, 20.0, 60.0, 5.0, "higher"),
    ]
    judged = {"days_judged": 30}
    assert readings.of_anomalies(answered(days, *strange, coverage=judged)) == (
        "2 days of 30 stand out, most of all 18 March 2026: 4 visits where 40 were to be expected."
    )
    assert (
        readings.of_anomalies(answered(days, coverage=judged)) == "None of the 30 days that can be judged stands out."
    )

    campaigns = "campaign orders net_revenue currency result return_on_spend"
    a, b = ("a", 3, 90.0, "EUR", 70.0, 4.5), ("b", 1, 10.0, "EUR", -10.0, 0.5)
    assert readings.of_campaigns(answered(campaigns, a, b)).endswith(
        "For each EUR spent, “a” brought back most (4.50) and “b” least (0.50)."
    )
    unpaid = ("a", 3, 90.0, "EUR", 90.0, None)
    assert readings.of_campaigns(answered(campaigns, unpaid)).endswith("not known: it comes with polku load spend.")
    assert readings.of_campaigns(answered(campaigns, ("a", 0, 0.0, None, 0.0, None))) == (
        "1 campaign, and no order in a visit that one of them brought."
    )
    unknown, kronor = ("c", 2, None, "EUR", None, None), ("d", 1, 500.0, "SEK", 500.0, None)
    assert readings.of_campaigns(answered(campaigns, unknown)).endswith("that one of them brought says its value.")
    assert readings.of_campaigns(answered(campaigns, a, kronor)).startswith(
        "Of 2 campaigns, “a” leaves most in EUR: 3 orders, 70.00 EUR."
    )
    assert readings.of_friction([{"verdict": "not shown to cost"}]) == "No sign of friction is shown to cost orders."
    months = answered(
        "begins active new returning resurrecting dormant complete",
        ("2026-02-01", 9, 2, 6, 1, 4, True),
        interval="month",
    )
    assert readings.of_lifecycle(months).startswith(
        "In Feb 2026 9 people were active: 2 new, 6 who were there the month"
    )


def test_amounts_and_changes_are_worded_as_one_would_say_them() -> None:
    assert [amount(value, "EUR") for value in (0.5, 999.99, 1000.4)] == ["0.50 EUR", "999.99 EUR", "1,000 EUR"]
    assert [change(value) for value in (0.23, -0.5, 0.001, 12.0)] == ["+23 %", "−50 %", "±0 %", "+1,200 %"]
