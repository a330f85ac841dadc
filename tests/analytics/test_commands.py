"""The commands as people type them: what they print, and how they fail."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.commands.build import build as build_command
from polku_analytics.commands.funnel import funnel
from polku_analytics.commands.paths import paths
from polku_analytics.commands.query import query
from polku_analytics.commands.report import report
from polku_analytics.errors import AnalyticsError, LakeError, QueryError, UnknownNameError
from polku_analytics.lake import Lake
from polku_analytics.report.wording import day, percent, title
from polku_analytics.session_rules import DEFAULT_RULES
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.analytics.conftest import write_table

Make = Callable[..., Any]


@pytest.fixture
def lake(make_lake: Make, event: Make, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Lake:
    found: Lake = make_lake(
        [
            event("ad_clicked", 0, anonymous_id="a", session_id="s"),
            event("product_viewed", 10, anonymous_id="a", session_id="s", price=19.5),
            event("product_added", 20, anonymous_id="a", session_id="s", price=19.5),
            event(
                "order_completed", 60, anonymous_id="a", session_id="s", order_id="o<1>", revenue=19.5, currency="EUR"
            ),
            event("product_viewed", 86400, anonymous_id="b"),
        ]
    )
    monkeypatch.setattr(options, "load_plan", lambda folder: plan)
    build(found, plan)
    return found


def run(command: Any, *arguments: str) -> str:
    # Not standalone, as `polku` runs it: errors come through.
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_query_prints_an_aligned_table(lake: Lake) -> None:
    text = run(query, "--lake", lake.uri, "SELECT event_name, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL")

    assert text.splitlines() == [
        "event_name       n",
        "───────────────  ─",
        "ad_clicked       1",
        "order_completed  1",
        "product_added    1",
        "product_viewed   2",
    ]


def test_query_gives_json_and_csv(lake: Lake) -> None:
    sql = "SELECT event_name, price, event_time FROM events ORDER BY event_time LIMIT 2"
    rows = json.loads(run(query, "--lake", lake.uri, "--json", sql))
    assert rows[0] == {"event_name": "ad_clicked", "price": None, "event_time": "2026-03-02T12:00:00Z"}
    table = list(csv.reader(io.StringIO(run(query, "--lake", lake.uri, "--csv", sql))))
    assert table[0] == ["event_name", "price", "event_time"]
    assert table[2][:2] == ["product_viewed", "19.5"]


def test_query_joins_events_and_models(lake: Lake) -> None:
    sql = "SELECT t.person_id, e.price FROM touchpoints t JOIN events e USING (source, event_id) WHERE e.price > 0"
    assert run(query, "--lake", lake.uri, "--csv", sql).splitlines()[1:] == ["a,19.5", "a,19.5"]


def test_query_of_a_period_reads_that_period(lake: Lake) -> None:
    sql = "SELECT count(*) AS n FROM events"
    assert run(query, "--lake", lake.uri, "--csv", "--since", "2026-03-03", sql).splitlines() == ["n", "1"]


def test_query_of_a_period_asks_a_table_that_has_days(lake: Lake) -> None:
    with pytest.raises(AnalyticsError, match="bound events and quarantine, and this asks touchpoints: write the"):
        run(query, "--lake", lake.uri, "--since", "2026-03-03", "SELECT count(*) FROM touchpoints")
    both = "SELECT count(*) AS n FROM touchpoints JOIN events USING (source, event_id)"
    assert run(query, "--lake", lake.uri, "--csv", "--since", "2026-03-03", both).splitlines() == ["n", "1"]


def test_bad_sql_is_one_sentence(lake: Lake) -> None:
    with pytest.raises(QueryError) as caught:
        run(query, "--lake", lake.uri, "SELECT event_nam FROM events")
    assert "event_nam" in str(caught.value) and "\n" not in str(caught.value) and "event_name" in str(caught.value)


def test_a_table_that_is_not_there_is_made_or_the_others_are_named(lake: Lake) -> None:
    with pytest.raises(LakeError) as caught:
        run(query, "--lake", lake.uri, "SELECT * FROM custoners")
    assert f"no table custoners in {lake.uri}; there are " in str(caught.value)
    shutil.rmtree(Path(lake.uri) / "persons")
    with pytest.raises(LakeError, match=r"no table persons in .*: run `polku build` first"):
        run(query, "--lake", lake.uri, "SELECT * FROM Persons")


def test_build_tells_what_it_did(lake: Lake) -> None:
    text = run(build_command, "--lake", lake.uri)
    assert "nothing new since the last build" in text and "5 events counted once" in text
    text = run(build_command, "--lake", lake.uri, "--full")
    assert re.search(r"^touchpoints +5 +\d", text, re.MULTILINE) and "everything was built: it was asked for" in text
    shown = CliRunner().invoke(build_command, ["--lake", lake.uri, "--full", "--json"], standalone_mode=False)
    assert json.loads(shown.stdout)["kind"] == "full", "what is printed beside it does not get into the JSON"
    steps = shown.stderr.splitlines()
    assert [step for step in steps if step in ("  touchpoints …", "  sessions …", "  publishing …")] == [
        *("  touchpoints …", "  sessions …", "  publishing …")
    ]
    told = json.loads(run(build_command, "--lake", lake.uri, "--json", "--select", "sessions"))
    assert {table["name"]: table["rows"] for table in told["tables"]}.keys() == {
        "person_links",
        "event_copies",
        "touchpoints",
        "sessions",
    }
    with pytest.raises(LakeError, match="left out the table persons: run `polku build` without --select"):
        run(funnel, "--lake", lake.uri, "product_viewed", "order_completed", "--segment", "orders >= 1")
    with pytest.raises(UnknownNameError, match=r"unknown table 'session'\. Did you mean sessions"):
        run(build_command, "--lake", lake.uri, "--select", "session")


def test_a_build_since_a_day_has_the_events_of_that_day_and_later(lake: Lake) -> None:
    told = json.loads(run(build_command, "--lake", lake.uri, "--json", "--since", "2026-03-03"))
    assert (told["kind"], told["events"]) == ("full", 1)
    people = "SELECT person_id, touchpoints FROM persons"
    assert json.loads(run(query, "--lake", lake.uri, "--json", people)) == [{"person_id": "b", "touchpoints": 1}]
    told = json.loads(run(build_command, "--lake", lake.uri, "--json"))
    assert (told["kind"], told["events"]) == ("full", 5), "without it all of them are there again"


def test_rules_of_sessions_are_named_once(lake: Lake) -> None:
    text = run(build_command, "--lake", lake.uri, "--session-gap", "10d", "--no-client-sessions")
    rules = "one that ends when more than 10d pass without an event"
    assert f"everything was built: the rules of sessions have changed: now {rules}" in text
    text = run(build_command, "--lake", lake.uri)
    assert f"sessions: {rules}; later builds go on with it, --session-defaults ends it" in text
    assert "nothing new" in text
    told = json.loads(run(build_command, "--lake", lake.uri, "--json", "--session-at-gap"))
    # What is named replaces all of them.
    rules_now = {"new_at_gap": True, "new_on_campaign": False, "midnight": None, "client_ids": True}
    assert told["sessions"] == {"gap_seconds": 1800, **rules_now}
    with pytest.raises(AnalyticsError, match="--session-defaults is the way back"):
        run(build_command, "--lake", lake.uri, "--session-defaults", "--session-gap", "1h")
    text = run(build_command, "--lake", lake.uri, "--session-defaults")
    assert "the rules of sessions have changed" in text and "--session-defaults" not in text
    assert "nothing new" in run(build_command, "--lake", lake.uri)


def test_watching_goes_on_with_the_rules_of_the_lake(make_lake: Make, event: Make) -> None:
    lake = make_lake([event("page_viewed", seconds, user_id="u") for seconds in (0, 3000)])
    watching = (
        sys.executable,
        "-m",
        "polku.cli",
        "build",
        "--watch",
        "--every",
        "0.1",
        "--json",
        "--session-gap",
        "1h",
    )
    with subprocess.Popen([*watching, "--lake", lake.uri], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            assert (told["kind"], told["sessions"]["gap_seconds"]) == ("full", 3600)
            write_table(Path(lake.uri) / "events", [event("page_viewed", 6000, user_id="u")])
            told = json.loads(process.stdout.readline())
            assert (told["kind"], told["sessions"]["gap_seconds"]) == ("incremental", 3600)
            # Somebody else wants it otherwise: that is not undone.
            build(lake, load_plan(builtin_plan_path()), sessions=DEFAULT_RULES)
            write_table(Path(lake.uri) / "events", [event("page_viewed", 9000, user_id="u")])
            told = json.loads(process.stdout.readline())
            assert (told["kind"], told["sessions"]["gap_seconds"]) == ("incremental", 1800)
        finally:
            process.terminate()
        assert process.wait(60) == 0


def test_funnel_prints_its_unit_window_and_coverage(lake: Lake) -> None:
    text = run(funnel, "--lake", lake.uri, "product_viewed", "order_completed", "--window", "1h")
    assert "How many people go product_viewed → order_completed within 1h?" in text
    assert "unit: person; window: 1h; reentry: any" in text
    assert "as of 2026-03-03 12:00:00+00:00" in text


def test_funnel_json_is_the_contract(lake: Lake) -> None:
    answer = json.loads(run(funnel, "--lake", lake.uri, "--json", "buying"))
    assert list(answer) == ["question", "unit", "window", "options", "coverage", "as_of", "columns", "rows", "sql"]
    assert [row[2] for row in answer["rows"]] == [2, 0, 1, 1]


def test_paths_print_edges(lake: Lake) -> None:
    text = run(paths, "--lake", lake.uri, "--from", "ad", "--to", "order", "--max-steps", "4")
    assert "Which touchpoints do sessions pass from ad on the way to order?" in text
    answer = json.loads(run(paths, "--lake", lake.uri, "--json", "--from", "ad", "--to", "order", "--max-steps", "4"))
    text = run(paths, "--lake", lake.uri, "--from", "order", "--to", "ad")
    assert "(no rows) no session has order and after it ad; try --unit person\n" in text
    text = run(paths, "--lake", lake.uri, "--from", "order", "--to", "ad", "--unit", "person")
    assert "(no rows) nobody has order and after it ad\n" in text
    assert [row[1:4] for row in answer["rows"]] == [["ad", "product", 1], ["product", "cart", 1], ["cart", "order", 1]]


def test_errors_have_exit_code_two(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean product_viewed"):
        run(funnel, "--lake", lake.uri, "product_vewed", "order_completed")
    with pytest.raises(LakeError, match="no lake at"):
        run(query, "--lake", str(tmp_path / "none"), "SELECT 1")
    with pytest.raises(LakeError, match="run `polku build` first"):
        run(funnel, "--lake", str(tmp_path), "a", "b")
    with pytest.raises(AnalyticsError, match="is not before"):
        run(query, "--lake", lake.uri, "--since", "2026-03-03", "--until", "2026-03-03", "SELECT 1")
    with pytest.raises(AnalyticsError, match="Europe/Helsinki"):
        run(report, "--lake", lake.uri, "--out", str(tmp_path / "r.html"), "--time-zone", "Mars")
    assert AnalyticsError.exit_code == 2


def test_the_polku_command_ends_with_one_sentence_and_code_two(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "polku.cli", "build", "--lake", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "no table events" in ended.stderr and "Traceback" not in ended.stderr


class Page(HTMLParser):
    """What a report refers to, and the text of its figures."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "data")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_report_is_one_file_that_needs_nothing(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    run(
        report,
        *("--lake", lake.uri, "--out", str(out), "--title", "A & <B>", "--note", "Two <visitors>."),
        *("--link", "The other=other.html", "--not-collected", "referral", "--time-zone", "Europe/Helsinki"),
    )

    html = out.read_text()
    page = Page()
    page.feed(html)
    assert [address for address in page.references if not address.startswith("#")] == ["other.html"]
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert "<title>A &amp; &lt;B&gt;</title>" in html and "Two &lt;visitors&gt;." in html
    for heading in ("How far people come", "The paths people take", "Orders and revenue over time", "When people come"):
        assert heading in html
    text = " ".join(" ".join(page.text).split())
    assert "2 people and 5 touchpoints" in text
    assert "not collected" in text
    assert "Europe/Helsinki" in text
    assert "Funnel: Buying" in text
    assert "Other report: The other →" in text
    # A day of the report's time zone, and steps that say where people go on to.
    assert "3 March 2026, 14:00 (Europe/Helsinki)" in text
    assert "go on to Product added" in text
    assert "Products searched (optional) not collected" in text
    assert "1 order " in text and "1 orders" not in text


def test_names_in_the_data_cannot_become_markup(
    make_lake: Make, event: Make, plan: Plan, tmp_path: Path, lake: Lake
) -> None:
    name = "</script><img src=x>"
    hostile = make_lake(
        [event(f"{name}{n}", n, anonymous_id="a", channel=name, marketing_channel=name) for n in (0, 9)]
    )
    build(hostile, plan)

    run(report, "--lake", hostile.uri, "--out", str(tmp_path / "r.html"))

    page = Page()
    page.feed((tmp_path / "r.html").read_text())
    assert "img" not in page.tags
    assert page.tags.count("script") == 3
    assert "\\u003c/script>" in (tmp_path / "r.html").read_text()


def test_a_report_marks_stages_whose_events_were_never_seen(lake: Lake, tmp_path: Path) -> None:
    figures = json.loads(run(report, "--lake", lake.uri, "--json", "--out", str(tmp_path / "r.html")))

    assert {stage["stage"]: stage["people"] for stage in figures["stages"]} == {
        "awareness": 1,
        "interest": 2,
        "comparison": 1,
        "purchase": 1,
        "relationship": None,
        "repeat": 0,
        "referral": None,
    }
    assert figures["orders"]["orders"] == [1]
    assert [(row["channel"], row["people"], row["orders"]) for row in figures["channels"]] == [
        ("web", 2, 1),
        ("ads", 1, 0),
    ]
    assert figures["marketing_channels"] == []
    assert sum(map(sum, figures["heat_maps"][0]["counts"])) in (1, 2)


def test_a_report_of_an_empty_lake_says_so(
    make_lake: Make, event: Make, plan: Plan, tmp_path: Path, lake: Lake
) -> None:
    empty = make_lake([event("page_viewed", 0, anonymous_id="a")])
    empty.delta("events").delete()
    build(empty, plan)

    run(report, "--lake", empty.uri, "--out", str(tmp_path / "r.html"))

    html = (tmp_path / "r.html").read_text()
    assert "This data has no orders." in html and "no events" in html


def test_figures_are_worded_as_one_would_say_them() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.05, 0.5, 0.996, 1)] == [
        *("0 %", "<0.1 %", "5.0 %", "50 %", ">99 %", "100 %")
    ]
    assert title("ai_assistant") == "AI assistant"
    late = datetime.datetime(2026, 3, 2, 23, 30, tzinfo=datetime.UTC)
    assert (day(late), day(late, "Europe/Helsinki")) == ("2 March 2026", "3 March 2026")
