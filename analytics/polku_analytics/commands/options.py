"""What the commands have in common: options, the tables they open, how they show an answer."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from polku_analytics.engines.choice import ENGINE_NAMES
from polku_analytics.errors import AnalyticsError
from polku_analytics.period import Period, zone
from polku_analytics.result import AnalysisResult, Unit
from polku_schemas import Plan, builtin_plan_path, load_plan

if TYPE_CHECKING:
    from polku_analytics.analyses.scope import Scope
    from polku_analytics.journeys import Journeys

DEFAULT_LAKE: Final = "./polku-data/lake"

_Command = TypeVar("_Command", bound=Callable[..., Any])
Ask = Callable[..., "AnalysisResult"]
"""Answers a question that was put in options."""
Show = Callable[["AnalysisResult", Mapping[str, Any]], None]
"""Prints an answer, as the options say."""


def common(command: _Command) -> _Command:
    """`--lake`, `--plan` and `--json`."""
    return _with(
        command,
        click.option(
            "--lake", "lake_uri", default=DEFAULT_LAKE, show_default=True, help="Folder or s3:// URL of the lake."
        ),
        click.option(
            "--plan", "plan_folder", type=click.Path(path_type=Path), help="Tracking plan; default: the built-in one."
        ),
        click.option("--json", "as_json_text", is_flag=True, help="Print JSON."),
    )


def in_period(command: _Command) -> _Command:
    """`--since` and `--until`."""
    day = click.DateTime(["%Y-%m-%d"])
    return _with(
        command,
        click.option("--since", type=day, metavar="DAY", help="From this day, such as 2026-03-31."),
        click.option("--until", type=day, metavar="DAY", help="Up to this day, not including it."),
    )


def answering(shown: Show | None = None) -> Callable[[Ask], Callable[..., None]]:
    """A command that prints what the function answers. Python asks the function itself: `ask` of the command."""

    def decorate(ask: Ask) -> Callable[..., None]:
        @functools.wraps(ask)
        def command(**given: Any) -> None:
            (shown or show)(ask(**given), given)

        command.ask = ask  # type: ignore[attr-defined]
        return command

    return decorate


def analysis(*units: Unit, shown: Show | None = None) -> Callable[[Ask], Callable[..., None]]:
    """The options of every analysis; it counts the first of the units unless another is asked for.

    The function takes them as `**given`, for `opened` and `scope_of`, and returns its answer.
    """

    def decorate(ask: Ask) -> Callable[..., None]:
        return common(
            in_period(
                _with(
                    answering(shown)(ask),
                    click.option("--time-zone", default="UTC", show_default=True, help="Of days, weeks and months."),
                    click.option("--unit", type=click.Choice(units), help=f"What is counted.  [default: {units[0]}]"),
                    click.option(
                        "--segment",
                        "segments",
                        multiple=True,
                        help="Only these people: a segment of the plan or a condition such as 'orders >= 2'; given "
                        "again, one beside the other.",
                    ),
                    click.option(
                        "--breakdown", help="For each value of a column of touchpoints or profiles, or property."
                    ),
                    click.option(
                        "--values",
                        default=10,
                        show_default=True,
                        help="So many values of the breakdown by name; the rest is (other).",
                    ),
                    click.option("--previous", is_flag=True, help="Compare with the period before, of equal length."),
                    click.option(
                        "--engine",
                        type=click.Choice(ENGINE_NAMES),
                        default="duckdb",
                        show_default=True,
                        help="Who answers.",
                    ),
                    click.option(
                        "--spark",
                        "spark_remote",
                        envvar="SPARK_REMOTE",
                        metavar="URL",
                        help="Where Spark Connect answers, for --engine spark: sc://HOST:PORT.",
                    ),
                )
            )
        )

    return decorate


def opened(given: Mapping[str, Any], *more_tables: str) -> Journeys:
    """The built tables of the lake that was asked for, in the engine that was asked for; or those that are open."""
    if "journeys" in given:
        return cast("Journeys", given["journeys"])
    from polku_analytics.engines.choice import open_engine
    from polku_analytics.journeys import TABLES, open_journeys
    from polku_analytics.lake import Lake

    engine = functools.partial(open_engine, given.get("engine", "duckdb"), given.get("spark_remote"))
    return open_journeys(Lake(given["lake_uri"]), plan_of(given["plan_folder"]), (*TABLES, *more_tables), engine=engine)


def scope_of(given: Mapping[str, Any], unit: Unit) -> Scope:
    """The scope that was asked for; `unit` where none was."""
    from polku_analytics.analyses.scope import Scope

    return Scope(
        unit=cast("Unit", given["unit"] or unit),
        period=period_of(given["since"], given["until"], given["time_zone"]),
        segments=given["segments"],
        breakdown=given["breakdown"],
        top=given["values"],
        previous=given["previous"],
    )


def show(result: AnalysisResult, given: Mapping[str, Any]) -> None:
    """Print an answer, as text or as JSON."""
    from polku_analytics.printing import as_json, explained

    click.echo(as_json(result) if given["as_json_text"] else explained(result))


def plan_of(folder: Path | None) -> Plan:
    """The plan that was named, or the built-in one."""
    return load_plan(folder if folder is not None else builtin_plan_path())


def period_of(since: datetime.datetime | None, until: datetime.datetime | None, time_zone: str = "UTC") -> Period:
    """The period that was asked for. AnalyticsError for one that ends before it begins."""
    zone(time_zone)
    period = Period(since and since.date(), until and until.date(), time_zone)
    if period.since is not None and period.until is not None and period.since >= period.until:
        raise AnalyticsError(f"--since {period.since} is not before --until {period.until}")
    return period


def _with(command: _Command, *options: Callable[[_Command], _Command]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
