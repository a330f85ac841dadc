"""Every analysis has the same answer on every engine."""

from __future__ import annotations

import ast
import datetime
import functools
import importlib
import inspect
import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner

from polku_analytics import journeys
from polku_analytics.commands import options
from polku_analytics.engines.choice import ENGINE_NAMES, open_engine
from polku_analytics.errors import AnalyticsError
from polku_analytics.lake import Lake
from polku_schemas import Plan
from tests.docs.blocks import ROOT, tables_of
from tests.engines.cases import CANNOT, CASES
from tests.engines.compare import differences

ANALYTICS = ROOT / "analytics" / "polku_analytics"
OTHERS = tuple(name for name in ENGINE_NAMES if name != "duckdb")

Ask = Callable[[str, str], dict[str, Any]]


def commands() -> dict[str, click.Command]:
    """The commands that take `--engine`, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {}
    for name, point in project["project"]["entry-points"]["polku.commands"].items():
        module, _, attribute = point.partition(" ")[0].partition(":")
        if module.startswith("polku_analytics.commands."):
            command = getattr(importlib.import_module(module), attribute)
            if any("--engine" in option.opts for option in command.params):
                found[name] = command
    return found


@pytest.fixture(scope="module")
def ask(lake: Lake, plan: Plan, spark_remote: str) -> Ask:
    """`ask(engine, command line)`: the answer. The lake is opened once an engine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(options, "plan_of", lambda folder: plan)
        opened = {
            name: journeys.open_journeys(lake, plan, engine=functools.partial(open_engine, name, spark_remote))
            for name in ENGINE_NAMES
        }
        newest = opened["duckdb"].as_of
    assert newest is not None
    days = {
        "earlier": (newest - datetime.timedelta(days=70)).date(),
        "late": (newest - datetime.timedelta(days=40)).date(),
        "later": (newest - datetime.timedelta(days=10)).date(),
    }

    @functools.cache
    def answer(engine: str, line: str) -> dict[str, Any]:
        name, *arguments = shlex.split(line.format(**days))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(options, "plan_of", lambda folder: plan)
            patched.setattr(journeys, "open_journeys", lambda *given, **named: opened[engine])
            given = [*arguments, "--lake", lake.uri, "--engine", engine, "--json"]
            result = CliRunner().invoke(commands()[name], given, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        found: dict[str, Any] = json.loads(result.output)
        return found

    return answer


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("line", CASES)
def test_an_answer_is_the_same_on_every_engine(line: str, engine: str, ask: Ask, is_apache_spark: bool) -> None:
    expected = ask("duckdb", line)
    if (engine, line) in CANNOT and not (engine == "spark" and is_apache_spark):
        with pytest.raises(AnalyticsError):
            ask(engine, line)
        return
    answer = ask(engine, line)
    if not line.startswith("scorecard"):  # whose figures have a query each
        assert answer["sql"] and expected["sql"]
    del answer["sql"]
    assert differences(answer, {name: value for name, value in expected.items() if name != "sql"}) == []


@pytest.mark.parametrize("line", CASES)
def test_a_question_has_an_answer_that_could_differ(line: str, ask: Ask) -> None:
    """Equal answers prove something only where there is something to answer."""
    answer = ask("duckdb", line)
    numbers = [value for row in answer["rows"] for value in row if isinstance(value, int | float) and value]
    assert len(answer["rows"]) > 1 and len(numbers) > 3


COMPARED: Final = (
    ("funnel product_viewed product_added order_completed", ("step",), "count"),
    ("lifecycle --interval week", ("interval",), "active"),
    ("graph --variants --top 99", ("variant",), "units"),
    ("routes order_completed --top 99", ("route",), "journeys"),
    ("search --show terms --top 99", ("term",), "searches"),
    ("attribution --by touchpoint --model linear", ("model", "item", "currency"), "conversions"),
    ("contacts --by reason", ("reason",), "contacts"),
    ("performance --by page --fewest 1 --top 99", ("page", "device", "browser"), "p75_load_ms"),
    ("deliveries", ("carrier",), "kept_share"),
)
"""Questions, what tells their rows apart, and their main figure."""


@pytest.mark.parametrize(("line", "keys", "figure"), COMPARED)
def test_the_period_before_is_what_it_answers_by_itself(
    line: str, keys: tuple[str, ...], figure: str, ask: Ask
) -> None:
    """For two segments, and in each for the values of a breakdown."""
    line += " --segment 'orders >= 1' --segment 'orders = 0' --breakdown device --time-zone Europe/Helsinki"
    keys = ("segment", "device", *keys)

    def figures(asked: str, column: str) -> dict[tuple[Any, ...], Any]:
        answer = ask("duckdb", f"{line} {asked}")
        rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
        return {tuple(row[key] for key in keys): row[column] for row in rows}

    earlier = figures("--since {earlier} --until {late}", figure)
    before = figures("--since {late} --until {later} --previous", "previous")
    assert len(before) > 3 and any(before.values())
    assert {key: value for key, value in before.items() if value} == {
        key: value for key, value in earlier.items() if value
    }


def test_every_command_that_takes_an_engine_is_asked() -> None:
    asked = {line.split()[0] for line in CASES}
    wanted = commands().keys() - {"build"}  # test_build.py
    without = ", ".join(sorted(wanted - asked))
    assert not without, f"tests/engines/cases.py has no line for: {without}"
    unknown = ", ".join(sorted(asked - wanted))
    assert not unknown, f"tests/engines/cases.py asks commands that are not there or take no --engine: {unknown}"


def test_every_analysis_is_asked() -> None:
    """Each module of an analysis is behind a command that has a case."""
    reached: set[str] = set()
    for command in commands().values():
        assert command.callback is not None
        reached |= analyses_of(Path(inspect.getfile(inspect.unwrap(command.callback))))
    own = {
        path.stem for path in (ANALYTICS / "analyses").glob("*.py") if "answer(" in path.read_text(encoding="utf-8")
    } - {"answer"}
    behind_none = ", ".join(sorted(own - reached))
    assert not behind_none, f"no command that takes --engine leads to: {behind_none}"


def analyses_of(path: Path) -> set[str]:
    """The modules of `analyses` that a module imports, and those that these import."""
    reached: set[str] = set()
    waiting = [path]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            name = module.removeprefix("polku_analytics.analyses.")
            if name not in (module, *reached):
                reached.add(name)
                waiting.append(ANALYTICS / "analyses" / f"{name}.py")
    return reached


def test_the_page_says_what_an_engine_cannot_answer() -> None:
    table = tables_of(ROOT / "docs" / "query" / "engines.md").get("What an engine cannot answer", {})
    listed = {(cells[1].split("`")[1], line): cells[2] for line, cells in table.items() if line != "command line"}
    assert listed == CANNOT


def test_an_engine_that_is_not_there_is_told() -> None:
    with pytest.raises(AnalyticsError, match="give --spark sc://HOST:PORT or set SPARK_REMOTE"):
        open_engine("spark")
    with pytest.raises(AnalyticsError, match=r"no Spark Connect server answers at sc://127\.0\.0\.1:1: .*refused"):
        open_engine("spark", "sc://127.0.0.1:1")
