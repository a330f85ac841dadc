"""Every command that is registered, asked about nothing, about one person, about no days, and with names nobody knows.

A new command fails here until it has a line in `ASKED` (or, if it asks nothing of the tables, in `NOT_ASKED`).
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import shlex
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from polku_analytics import journeys
from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.lake import Lake
from polku_analytics.printing import explained
from polku_analytics.result import AnalysisResult
from polku_schemas import builtin_plan_path, load_plan
from tests.analytics.conftest import START

ROOT = Path(__file__).parents[2]
PLAN = load_plan(builtin_plan_path())

ASKED: dict[str, tuple[str, ...]] = {
    "query": ("'SELECT * FROM orders'", "'SELECT max(as_of) AS as_of FROM builds'"),
    "funnel": (
        "product_viewed order_completed",
        "product_viewed order_completed --times",
        "product_viewed order_completed --drop-off 1",
        "product_viewed order_completed --order strict --window-per-step 1h",
        "product_viewed order_completed --exclude page_viewed --ties strict",
        "product_viewed order_completed --order any --reentry first",
        "'product_viewed[price > 10]' stage:purchase touchpoint:order",
    ),
    "paths": ("", "--from product --to order", "--to order --by touchpoint --staged"),
    "carts": ("",),
    "checkout": ("",),
    "search": ("", "--show zero", "--show terms", "--show positions"),
    "deliveries": ("",),
    "returns": ("", "--by category", "--by reason"),
    "retention": (
        "",
        "product_viewed order_completed --rolling --interval day",
        "order_completed --cohorts recurring --interval month --mode on-or-after",
    ),
    "lifecycle": ("", "order_completed --interval month"),
    "stickiness": ("", "--interval week --week-start sunday"),
    "routes": ("order", "signup --micro"),
    "graph": ("", "--variants", "--loops"),
    "attribution": ("--model all", "--by campaign", "--goal signup --by touchpoint --model linear"),
    "compare": ("--change 2026-03-02", "--variant device", "product_viewed order_completed --change 2026-03-02"),
    "recommend": ("", "--based-on viewed", "--prompt"),
    "campaigns": ("",),
    "performance": ("", "--by page"),
    "friction": ("", "--by page --unit person"),
    "anomalies": ("", "order_completed --unit event --all-days"),
    "report": ("--out report.html",),
    "identity": ("",),
    "person": ("aino",),
    "segments": ("", "--overlap", "--rfm", "did:product_viewed 'orders >= 1'"),
    "audience": ("'orders >= 1'", "--cart-idle 24h", "'orders >= 1' --products viewed --out ndjson"),
    "contacts": ("", "--by reason", "--complaints"),
    "tasks": ("product_viewed order_completed", "product_viewed order_completed --limit 1d"),
    "satisfaction": ("", "--by about", "--bands"),
    "when": ("", "order_completed --unit event"),
    "scorecard": ("management", "marketing", "ecommerce", "it", "service --formulas"),
}
COMPARED_ALREADY = {"compare", "anomalies"}
"""They compare days with other days, and refuse --previous with that reason."""

NOT_ASKED = {"build", "load"}
"""They make tables; test_models.py and test_reference.py ask them about nothing."""

UNKNOWN: dict[str, tuple[tuple[str, str], ...]] = {
    "query": (("'SELECT * FROM ordrs'", "orders"),),
    "funnel": (
        ("product_viewd order_completed", "product_viewed"),
        ("'product_viewed[pricee > 10]' order_completed", "price"),
        ("touchpoint:ordr order_completed", "order"),
        ("stage:purchas order_completed", "purchase"),
        ("product_viewed order_completed --exclude page_viewd", "page_viewed"),
        ("product_viewed order_completed --drop-off product_viewd", "product_viewed"),
        ("purchas", "purchase"),
    ),
    "paths": (("--from prodct", "product"), ("--to order_complete --by event", "order_completed")),
    "retention": (("product_viewd", "product_viewed"), ("product_viewed order_complete", "order_completed")),
    "lifecycle": (("order_complete", "order_completed"),),
    "stickiness": (("order_complete", "order_completed"),),
    "routes": (("sign_up", "signup"),),
    "attribution": (("--goal ordrs", "orders"), ("--model linar", "linear")),
    "compare": (
        ("--change new_chekout", "new_checkout"),
        ("--variant devic", "device"),
        ("--variant device --control dektop", "desktop"),
        ("product_viewd order_completed --change 2026-03-02", "product_viewed"),
        ("--change 2026-03-02 --days 1 --goal sign_up", "signup"),
    ),
    "recommend": (
        ("--product cot", "coat"),
        ("--prompt --contact touchpoint:servce", "service"),
    ),
    "campaigns": (("--campaign srping", "spring"),),
    "performance": (("--goal sign_up", "signup"),),
    "friction": (("--goal sign_up", "signup"), ("--error error_show", "error_shown")),
    "anomalies": (("order_complete", "order_completed"),),
    "report": (("--out report.html --not-collected purchas", "purchase"),),
    "person": (("ain", "ain"),),
    "segments": (
        ("regulrs", "regulars"),
        ("orders", "orders >= 1"),
        ("'ordrs >= 1'", "orders"),
        ("stage:purchas", "purchase"),
        ("did:product_viewd", "product_viewed"),
        ("'orders >= 1' did:product_viewd --overlap", "product_viewed"),
    ),
    "audience": (
        ("'ordrs >= 1'", "orders"),
        ("'orders >= 1' --with trait_emial", "trait_email"),
    ),
    "tasks": (("product_viewd order_completed", "product_viewed"),),
    "satisfaction": (("--bands --referral referal_sent", "referral_sent"),),
    "when": (("order_complete", "order_completed"),),
    "scorecard": (("managment", "management"),),
}
"""What a command answers to a name with a letter missing: the one that was meant. People are not suggested."""


def registered() -> dict[str, click.Command]:
    """The commands of this package, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commands = {}
    for name, place in project["entry-points"]["polku.commands"].items():
        reference = place.split(" ")[0]
        if reference.startswith("polku_analytics."):
            commands[name] = importlib.metadata.EntryPoint(name, reference, "polku.commands").load()
    return commands


COMMANDS = registered()
LINES = [(name, line) for name, lines in ASKED.items() for line in lines]


def has(name: str, option: str) -> bool:
    """Whether a command takes the option."""
    return any(option in parameter.opts for parameter in COMMANDS[name].params)


def test_every_registered_command_is_asked() -> None:
    assert set(COMMANDS) == set(ASKED) | NOT_ASKED
    takes_names = {name for name, command in COMMANDS.items() if any(_is_named(p) for p in command.params)}
    assert takes_names - NOT_ASKED <= set(UNKNOWN)


def _is_named(parameter: click.Parameter) -> bool:
    """Whether it takes a name that somebody may misspell: a text, and not one of those that are no names."""
    others = {
        "lake_uri",
        "plan_folder",
        "time_zone",
        "segments",
        "breakdown",
        "spark_remote",
        "title",
        "notes",
        "links",
    }
    durations = {
        "window",
        "window_per_step",
        "limit",
        "idle",
        "still_open",
        "lookback",
        "half_life",
        "cart_idle",
        "split",
    }
    if getattr(parameter, "is_flag", False):
        return False
    return isinstance(parameter.type, click.types.StringParamType) and parameter.name not in others | durations


@pytest.fixture(scope="module")
def lakes(make_lake: Callable[..., Lake], new_history: Callable[..., Any]) -> dict[str, Lake]:
    """An empty lake; one of a person who did one thing of each kind within two minutes; one of nights."""
    event = new_history()
    empty = make_lake([event("page_viewed", 0, anonymous_id="aino")])
    empty.delta("events").delete()
    event = new_history()
    who = {"user_id": "aino", "device": "desktop"}
    line = [{"product_id": "coat", "quantity": 1, "price": 60.0, "revenue": 60.0, "category": "outer"}]
    one = make_lake(
        [
            event("email_sent", 0, campaign_id="spring", channel="email", **who),
            event("product_viewed", 10, product_id="coat", price=60.0, category="outer", **who),
            event("product_added", 20, product_id="coat", price=60.0, quantity=1.0, **who),
            event("order_completed", 60, order_id="o1", revenue=60.0, currency="EUR", products=line, **who),
            event("agent_contacted", 90, agent_role="support", contact_reason="delivery", **who),
            event("survey_answered", 120, survey_id="s", scale="nps", score=9.0, **who),
        ]
    )
    event = new_history()
    nights = make_lake(
        [event("product_viewed", (at - START).total_seconds(), user_id="aino", device="desktop") for at in NIGHTS]
    )
    event = new_history()
    reader = make_lake([event("article_read", 0, user_id="aino", device="desktop")])
    made = {"empty": empty, "one person": one, "nights": nights, "reader": reader}
    for lake in made.values():
        build(lake, PLAN)
    return made


@functools.cache
def opened_once(lake_uri: str, tables: tuple[str, ...]) -> journeys.Journeys:
    """Opening two dozen tables is most of a command's time, and the same for all of them."""
    return _open_journeys(Lake(lake_uri, environ={}), PLAN, tables)


_open_journeys = journeys.open_journeys


@pytest.fixture(autouse=True)
def _opened_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def open_journeys(lake: Lake, plan: object, tables: Sequence[str] = journeys.TABLES, **_: object) -> Any:
        return opened_once(lake.uri, tuple(tables))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "load_plan", lambda folder: PLAN)
    monkeypatch.setattr(journeys, "open_journeys", open_journeys)


def ask(name: str, lake: Lake, *arguments: str) -> Result:
    """What the command prints; its error is raised."""
    result = CliRunner().invoke(COMMANDS[name], ["--lake", lake.uri, *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def figures(text: str) -> Any:
    """An answer in JSON, in which every number is one."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {text}")

    return json.loads(text, parse_constant=refuse)


HELSINKI = ZoneInfo("Europe/Helsinki")
CHANGES = (datetime.date(2026, 3, 28), datetime.date(2026, 10, 24))
"""Saturdays; the Sundays after them have 23 and 25 hours."""
NIGHTS = [
    datetime.datetime.combine(first + datetime.timedelta(days=day), datetime.time(hour, 30), tzinfo=HELSINKI)
    for first in CHANGES
    for day in range(3)
    for hour in (0, 23)
]
"""Half an hour after and before midnight, in Helsinki, on those Saturdays, Sundays and Mondays."""


PLAIN = {"compare": "--variant device"}
"""Where the first line of `ASKED` has a period of its own."""

REFUSED = {
    ("person", "empty"): "unknown person 'aino'",
    ("compare", "one person"): "has not a whole day",
    # Of its tables none lies by day: a period would bound nothing.
    ("query", "empty"): "bound events and quarantine",
    ("query", "one person"): "bound events and quarantine",
}
"""The questions that make no sense of such a lake, and the sentence that says so."""


@pytest.mark.parametrize("which", ["empty", "one person"])
@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{name} {line}".strip() for name, line in LINES])
def test_nothing_one_person_and_no_days_have_an_answer(
    lakes: dict[str, Lake], name: str, line: str, which: str
) -> None:
    lake, arguments = lakes[which], shlex.split(line)
    narrowed = list(arguments)
    refuses_period = "--change" in arguments or (name == "query" and "FROM events" not in line)
    if has(name, "--since") and not refuses_period:
        narrowed += ["--since", "2031-01-01", "--until", "2031-01-08"]
    if has(name, "--breakdown"):
        narrowed += ["--breakdown", "device", *([] if name in COMPARED_ALREADY else ["--previous"])]
        # Where nobody is in a segment, that is the answer.
        narrowed += ["--segment", "orders >= 0"] if which == "one person" and "--overlap" not in arguments else []
    try:
        text = ask(name, lake, *arguments).output
        assert text.strip() and not {"nan", "inf", "None", "NaT"} & set(text.split()), text
        assert "(no rows)" not in text or which != "empty" or "(no rows) there are no events yet" in text
        answer = figures(ask(name, lake, *narrowed, "--json").stdout)
    except AnalyticsError as error:
        assert (name, which) in REFUSED, error
        assert REFUSED[name, which] in str(error)
        return
    if isinstance(answer, dict) and "rows" in answer:
        assert all(len(row) == len(answer["columns"]) for row in answer["rows"])
        if (
            not answer["rows"]
            and which == "one person"
            and "--since" in narrowed
            and "touchpoints" in answer["coverage"]
        ):
            assert "(no rows) nothing happened in this period" in explained(msgspec.convert(answer, AnalysisResult))


@pytest.mark.parametrize("which", ["one person", "reader"])
@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{name} {line}".strip() for name, line in LINES])
def test_an_answer_without_rows_says_why(lakes: dict[str, Lake], name: str, line: str, which: str) -> None:
    more = ["", "--segment 'orders >= 9' --breakdown device"] if has(name, "--breakdown") else [""]
    for narrower in more:
        if "--overlap" in line and narrower:
            continue
        try:
            text = ask(name, lakes[which], *shlex.split(line), *shlex.split(narrower)).output
        except AnalyticsError:  # names what is missing
            continue
        assert "(no rows)" not in map(str.strip, text.splitlines()), text


CASES = [(name, line, meant) for name, cases in UNKNOWN.items() for line, meant in cases]


@pytest.mark.parametrize(("name", "line", "meant"), CASES, ids=[f"{name} {line}" for name, line, _ in CASES])
def test_a_name_nobody_knows_gets_the_one_that_was_meant(
    lakes: dict[str, Lake], name: str, line: str, meant: str
) -> None:
    with pytest.raises(AnalyticsError) as caught:
        ask(name, lakes["one person"], *shlex.split(line))
    assert meant in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("retention", "--since 0001-01-01 --previous", "before 0001-01-01 lies outside of the years 1 to 9999"),
        ("lifecycle", "--since 9999-12-30 --interval week", "after 9999-12-27 lies outside of the years 1 to 9999"),
        ("when", "--until 0001-01-01 --time-zone Asia/Tokyo", "0001-01-01 in Asia/Tokyo lies outside of the years"),
        ("scorecard", "management --since 0001-01-01", "before 0001-01-01 lies outside of the years 1 to 9999"),
        ("attribution", "--lookback 99999999999w", "'99999999999w' is longer than any data: write at most 366000d"),
        ("funnel", "product_viewed order_completed --window 366001d", "longer than any data: write at most 366000d"),
        ("retention", "--intervals 99999999999", "at most 4000: --intervals 12"),
        ("compare", "--change 2026-03-09 --days 99999999999999999999", "at most 36600 days on each side"),
        ("compare", "--change 0002-01-01 --days 400", "800 days before 0002-01-01 lies outside of the years 1 to 9999"),
    ],
)
def test_what_no_calendar_and_no_number_holds_is_told(lakes: dict[str, Lake], name: str, line: str, words: str) -> None:
    with pytest.raises(AnalyticsError) as caught:
        ask(name, lakes["one person"], *shlex.split(line))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NOT_ASKED))
def test_segments_breakdowns_and_time_zones_nobody_knows(lakes: dict[str, Lake], name: str) -> None:
    lake, arguments = lakes["one person"], shlex.split(PLAIN.get(name, ASKED[name][0]))
    for option, wrong, meant in (
        ("--segment", "ordrs >= 1", "orders"),
        ("--segment", "regulrs", "regulars"),
        ("--breakdown", "devce", "device"),
    ):
        if has(name, option):
            with pytest.raises(UnknownNameError) as caught:
                ask(name, lake, *arguments, option, wrong)
            assert meant in str(caught.value)
    if has(name, "--time-zone"):
        with pytest.raises(AnalyticsError, match=r"unknown time zone 'Helsinki'.*Europe/Helsinki"):
            ask(name, lake, *arguments, "--time-zone", "Helsinki")


IN_ZONES = [name for name in sorted(COMMANDS) if has(name, "--time-zone") and has(name, "--since")]


@pytest.mark.parametrize("name", IN_ZONES)
def test_a_day_is_that_of_the_time_zone_also_when_the_clocks_change(lakes: dict[str, Lake], name: str) -> None:
    line = PLAIN.get(name, ASKED[name][0])
    for sunday in ("2026-03-29", "2026-10-25"):
        until = str(datetime.date.fromisoformat(sunday) + datetime.timedelta(days=1))
        period = ["--since", sunday, "--until", until, "--time-zone", "Europe/Helsinki"]
        answer = figures(ask(name, lakes["nights"], *shlex.split(line), *period, "--json").stdout)
        assert answer["coverage"]["touchpoints"] == 2
        assert answer["options"]["time_zone"] == "Europe/Helsinki"


def rows(lake: Lake, name: str, *arguments: str) -> list[dict[str, Any]]:
    answer = figures(ask(name, lake, *arguments, "--time-zone", "Europe/Helsinki", "--json").stdout)
    if has(name, "--week-start") and "week" in arguments:
        assert answer["options"]["week_start"] in ("monday", "sunday")
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


def test_intervals_are_whole_days_and_weeks_also_when_the_clocks_change(lakes: dict[str, Lake]) -> None:
    nights = lakes["nights"]
    days = [str(first + datetime.timedelta(days=day)) for first in CHANGES for day in range(3)]
    assert [row["begins"] for row in rows(nights, "lifecycle", "--interval", "day") if row["active"]] == days
    assert [row["intervals"] for row in rows(nights, "stickiness") if row["count"]] == [len(days)]
    back = {row["interval"]: row["count"] for row in rows(nights, "retention", "--interval", "day") if row["size"]}
    assert (back[0], back[1], back[2], back[3]) == (1, 1, 1, 0)
    weeks = {
        start: [
            row["begins"]
            for row in rows(nights, "lifecycle", "--interval", "week", "--week-start", start)
            if row["active"]
        ]
        for start in ("monday", "sunday")
    }
    assert weeks == {
        "monday": ["2026-03-23", "2026-03-30", "2026-10-19", "2026-10-26"],
        "sunday": ["2026-03-22", "2026-03-29", "2026-10-18", "2026-10-25"],
    }
    hours = {(row["weekday"], row["hour"]): row["count"] for row in rows(nights, "when", "--unit", "event")}
    assert {cell: count for cell, count in hours.items() if count} == {
        (day, hour): 2 for day in ("Saturday", "Sunday", "Monday") for hour in (0, 23)
    }
