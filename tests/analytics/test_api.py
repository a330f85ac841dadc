"""The analyses from Python: they answer what the commands answer, and take the same options."""

from __future__ import annotations

import datetime
import inspect
import json
import shlex
from collections.abc import Callable
from typing import Any, Final

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

import polku_analytics
from polku_analytics import api
from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.errors import AnalyticsError, LakeError, UnknownNameError
from polku_analytics.lake import Lake
from polku_schemas import builtin_plan_path, load_plan

Make = Callable[..., Any]

PLAN = load_plan(builtin_plan_path())

DAYS: Final = {"since": datetime.date(2026, 3, 2), "until": datetime.date(2026, 3, 3)}

# One a line: the name, how Python asks, and what one types for the same.
ASKED: Final[tuple[tuple[str, tuple[Any, ...], dict[str, Any], str], ...]] = (
    ("anomalies", ("product_viewed",), {"false_alarms": 0.05}, "product_viewed --false-alarms 0.05"),
    ("attribution", (), {"model": ["first", "linear"], "by": "campaign"}, "--model first --model linear --by campaign"),
    ("audience", ("orders >= 1",), {"with_": "trait_email"}, "'orders >= 1' --with trait_email"),
    ("campaigns", (), {"window": datetime.timedelta(days=7)}, "--window 7d"),
    ("carts", (), {"idle": "12h", "breakdown": "device", "values": 3}, "--idle 12h --breakdown device --values 3"),
    ("checkout", (), {"open": "1h"}, "--open 1h"),
    ("compare", (), {"variant": "device", "split": "(none)=1"}, "--variant device --split '(none)=1'"),
    ("contacts", (), {"complaints": True}, "--complaints"),
    ("deliveries", (), {"unit": "account"}, "--unit account"),
    ("friction", (), {"fewest": 1, "error": ["product_viewed"]}, "--fewest 1 --error product_viewed"),
    (
        "funnel",
        ("product_viewed[price > 50]", "order_completed"),
        {"window": "12h", "segment": ["orders >= 1", "did:ad_clicked"], **DAYS, "previous": True},
        "'product_viewed[price > 50]' order_completed --window 12h --segment 'orders >= 1' --segment did:ad_clicked "
        "--since 2026-03-02 --until 2026-03-03 --previous",
    ),
    ("graph", (), {"variants": True, "collapse": True}, "--variants --collapse"),
    ("identity", (), {"many": 2}, "--many 2"),
    ("lifecycle", ("product_viewed",), {"interval": "day"}, "product_viewed --interval day"),
    ("paths", (), {"from_": "ad", "to": "order", "unit": "person"}, "--from ad --to order --unit person"),
    ("performance", (), {"by": "page", "fewest": 1}, "--by page --fewest 1"),
    ("person", ("a",), {"last": 2, "time_zone": "Europe/Helsinki"}, "a --last 2 --time-zone Europe/Helsinki"),
    ("recommend", (), {"prompt": True, "fewest": 1}, "--prompt --fewest 1"),
    ("retention", ("product_viewed",), {"intervals": 2, "rolling": True}, "product_viewed --intervals 2 --rolling"),
    ("returns", (), {"by": "category"}, "--by category"),
    ("routes", ("order",), {"micro": True, "previous": False}, "order --micro"),
    ("satisfaction", (), {"bands": True}, "--bands"),
    ("scorecard", ("management",), {}, "management"),
    ("search", (), {"show": "terms"}, "--show terms"),
    ("segments", ("orders >= 1", "orders >= 2"), {"overlap": True}, "'orders >= 1' 'orders >= 2' --overlap"),
    ("stickiness", (), {"week_start": "sunday", "interval": "week"}, "--week-start sunday --interval week"),
    ("tasks", ("product_viewed", "order_completed"), {"limit": "1d"}, "product_viewed order_completed --limit 1d"),
    ("when", (), {"unit": "event"}, "--unit event"),
)


@pytest.fixture(scope="module")
def place(make_lake: Make, new_history: Make) -> str:
    event = new_history()
    lake = make_lake(
        [
            event("ad_clicked", 0, anonymous_id="a", session_id="s"),
            event("product_viewed", 10, anonymous_id="a", session_id="s", price=60.0),
            event("order_completed", 60, anonymous_id="a", session_id="s", order_id="o1", revenue=20.0, currency="EUR"),
            event("product_viewed", 90000, anonymous_id="b", session_id="t", price=10.0),
        ]
    )
    build(lake, PLAN)
    return str(lake.uri)


@pytest.fixture(scope="module")
def lake(place: str) -> polku_analytics.OpenLake:
    return polku_analytics.open(place, PLAN)


@pytest.mark.parametrize(("name", "args", "kwargs", "typed"), ASKED, ids=[one[0] for one in ASKED])
def test_python_answers_what_the_command_answers(
    lake: polku_analytics.OpenLake,
    place: str,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    typed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "load_plan", lambda folder: PLAN)  # reading it takes most of a second
    command = api.ANALYSES[name]
    words = [*shlex.split(typed), "--json", "--lake", place]
    printed = CliRunner().invoke(command, words, standalone_mode=False)
    assert printed.exception is None, printed.exception

    answer = getattr(lake, name)(*args, **kwargs)

    assert json.loads(answer.json()) == json.loads(printed.stdout)


def test_every_analysis_is_there_with_every_option() -> None:
    """What a command is told about, Python can say, but for where the lake is and how to print."""
    assert {one[0] for one in ASKED} == set(api.ANALYSES)
    for name, command in api.ANALYSES.items():
        method = getattr(api.OpenLake, name)
        known = list(inspect.signature(method).parameters)[1:]
        told = [param for param in command.params if param.name not in api.LEFT_OUT]
        assert len(known) == len(told), name
        for param in told:
            if isinstance(param, click.Option) and param.help:
                assert param.help in method.__doc__, f"{name} {param.name}"


def test_an_answer_is_an_arrow_table_dictionaries_and_text(lake: polku_analytics.OpenLake) -> None:
    answer = lake.funnel("product_viewed", "order_completed")

    assert answer.arrow().select(["name", "count"]) == pa.table(
        {"name": ["product_viewed", "order_completed"], "count": [2, 1]}
    )
    assert [row["count"] for row in answer.dicts()] == [2, 1]
    assert str(answer).startswith("How many people go product_viewed → order_completed within 7d?")


def test_sql_over_the_built_tables_is_an_arrow_table(lake: polku_analytics.OpenLake) -> None:
    assert lake.query("SELECT order_id, revenue FROM orders") == pa.table({"order_id": ["o1"], "revenue": [20.0]})


def test_the_same_open_lake_is_asked_again_and_again(lake: polku_analytics.OpenLake) -> None:
    """What one question keeps for itself does not reach into the next."""
    before = lake.funnel("product_viewed", "order_completed").rows
    lake.funnel("product_viewed", "order_completed", breakdown="device", segment="orders >= 1")
    lake.paths(breakdown="channel", unit="person")
    assert lake.funnel("product_viewed", "order_completed").rows == before


def test_mistakes_are_told_as_the_commands_tell_them(lake: polku_analytics.OpenLake, place: str, tmp_path: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown option of funnel 'windw'. Did you mean window"):
        lake.funnel("product_viewed", "order_completed", windw="7d")
    with pytest.raises(AnalyticsError, match="'sideways' is not one of 'in-order', 'strict', 'any'"):
        lake.funnel("product_viewed", "order_completed", order="sideways")
    with pytest.raises(UnknownNameError, match="Did you mean product_viewed"):
        lake.funnel("product_vewed", "order_completed")
    with pytest.raises(AnalyticsError, match="is not a length of time"):
        lake.carts(idle="soon")
    with pytest.raises(TypeError, match="goal"):
        lake.routes()
    with pytest.raises(AttributeError, match=r"unknown analysis 'funel'. Did you mean funnel"):
        lake.funel()
    with pytest.raises(LakeError, match=r"no lake at .*nowhere: start `polku collector"):
        polku_analytics.open(tmp_path / "nowhere", PLAN)
    with pytest.raises(LakeError, match="run `polku build` first"):
        polku_analytics.open(tmp_path, PLAN)
    with pytest.raises(UnknownNameError, match=r"unknown engine 'datafusio'. Did you mean datafusion"):
        polku_analytics.open(place, PLAN, engine="datafusio")  # type: ignore[arg-type]  # a slip


def test_a_plan_and_a_lake_of_ones_own(place: str) -> None:
    opened = polku_analytics.open(Lake(place), builtin_plan_path())
    assert opened.journeys.plan.fingerprint == PLAN.fingerprint
    assert "OpenLake" in repr(opened) and "2026-03-03" in repr(opened)


def test_importing_the_package_imports_no_engine() -> None:
    import subprocess
    import sys

    code = "import polku_analytics, sys; print('duckdb' in sys.modules, callable(polku_analytics.open))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
