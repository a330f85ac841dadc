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
        click.option("--since", type=day, help="From this day."),
        click.option("--until", type=day, help="Up to this day, not including it."),
    )


def analysis(*units: Unit) -> Callable[[_Command], _Command]:
    """The options of every analysis; it counts the first of the units unless another is asked for.

    The command takes them as `**given`, for `opened`, `scope_of` and `show`.
    """

    def decorate(command: _Command) -> _Command:
        return common(
            in_period(
                _with(
                    command,
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
                    click.option("--values", default=10, show_default=True, help="Values of the breakdown by name."),
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


def opened(given: Mapping[str, Any]) -> Journeys:
    """The built tables of the lake that was asked for, in the engine that was asked for."""
    from polku_analytics.engines.choice import open_engine
    from polku_analytics.journeys import open_journeys
    from polku_analytics.lake import Lake

    engine = functools.partial(open_engine, given.get("engine", "duckdb"), given.get("spark_remote"))
    return open_journeys(Lake(given["lake_uri"]), plan_of(given["plan_folder"]), engine=engine)


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
