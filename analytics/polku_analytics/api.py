"""The analyses as Python calls: `open` a lake, then ask it.

Each analysis that is a command is a method of the same name. Its keywords are the command's options, read by the
command itself, so that an option is described in one place and means the same in both.
"""

from __future__ import annotations

import datetime
import importlib
import inspect
import keyword
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa

from polku_analytics import commands
from polku_analytics.commands.options import plan_of
from polku_analytics.engines.choice import EngineName, open_engine
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import TABLES, Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.result import AnalysisResult, window_text
from polku_schemas import Plan

LEFT_OUT: Final = frozenset(
    ("lake_uri", "plan_folder", "engine", "spark_remote", "as_json_text", "formulas", "out", "path")
)
"""What a command is told about the lake, which is open already, and about printing."""


def open(  # noqa: A001, people write polku_analytics.open(…)
    lake: str | Path | Lake,
    plan: str | Path | Plan | None = None,
    *,
    engine: EngineName = "duckdb",
    spark: str | None = None,
) -> OpenLake:
    """A lake whose tables are built, as they are now: what is built later is seen by the next `open`.

    `plan`: a plan or its folder; the built-in one, unless another is given. `engine`: duckdb, datafusion, chdb or
    spark, which needs the address of Spark Connect (`sc://HOST:PORT`).
    """
    found = lake if isinstance(lake, Lake) else Lake(lake)
    known = plan if isinstance(plan, Plan) else plan_of(None if plan is None else Path(plan))
    tables = (*TABLES, "person_links")
    return OpenLake(open_journeys(found, known, tables, engine=lambda: open_engine(engine, spark)))


class OpenLake:
    """A lake to ask; each answer is an `AnalysisResult` with `arrow()`, `json()` and `dicts()`."""

    def __init__(self, journeys: Journeys) -> None:
        self.journeys = journeys
        """The tables that are open, for the functions of `polku_analytics.analyses`."""

    def __repr__(self) -> str:
        return f"<OpenLake {self.journeys.lake.uri}, newest event {self.journeys.as_of}>"

    def __getattr__(self, name: str) -> Callable[..., AnalysisResult]:
        # Only names that are no method come here; type checkers read that all others are.
        raise AttributeError(str(UnknownNameError("analysis", name, ANALYSES)), name=name, obj=self)

    def query(self, sql: str) -> pa.Table:
        """The rows of SQL over the built tables, in the engine's own SQL; times are in UTC."""
        return self.journeys.engine.arrow(sql)


def _commands() -> Iterator[click.Command]:
    for module in pkgutil.iter_modules(commands.__path__):
        for value in vars(importlib.import_module(f"{commands.__name__}.{module.name}")).values():
            if isinstance(value, click.Command) and hasattr(value.callback, "ask"):
                yield value


ANALYSES: Final[Mapping[str, click.Command]] = {str(command.name): command for command in _commands()}
"""The commands that answer a question."""


def _method(command: click.Command) -> Callable[..., AnalysisResult]:
    params = {_keyword(param): param for param in command.params if param.name not in LEFT_OUT}

    def ask(self: OpenLake, *args: Any, **kwargs: Any) -> AnalysisResult:
        for name in kwargs:
            if name not in params:
                raise UnknownNameError(f"option of {command.name}", name, params)
        given = signature.bind(self, *args, **kwargs).arguments
        options = {name: value for name, value in given.items() if name != "self"}
        return _answer(command, self.journeys, _words({params[name]: value for name, value in options.items()}))

    signature = inspect.Signature(_parameters(params), return_annotation="AnalysisResult")
    ask.__name__ = str(command.name)
    ask.__qualname__ = f"OpenLake.{command.name}"
    ask.__signature__ = signature  # type: ignore[attr-defined]
    ask.__doc__ = _described(command, params)
    return ask


def _keyword(param: click.Parameter) -> str:
    """`--from` is `from_`, as Python has that word for itself."""
    if isinstance(param, click.Argument):
        return str(param.name)
    name = max(param.opts, key=len).lstrip("-").replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _parameters(params: Mapping[str, click.Parameter]) -> list[inspect.Parameter]:
    """Arguments by place or by name, several as they come; options by name."""
    found = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    for name, param in params.items():
        if not isinstance(param, click.Argument):
            continue
        if param.nargs == -1:
            found.append(inspect.Parameter(name, inspect.Parameter.VAR_POSITIONAL))
        else:
            default = inspect.Parameter.empty if param.required else None
            found.append(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default))
    for name, param in params.items():
        if isinstance(param, click.Option):
            found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(param)))
    return found


def _default(option: click.Option) -> Any:
    shown = option.to_info_dict()["default"]
    if option.is_flag:
        return False
    return () if option.multiple and not shown else shown


def _described(command: click.Command, params: Mapping[str, click.Parameter]) -> str:
    lines = [inspect.cleandoc(command.help or ""), ""]
    for name, param in params.items():
        if isinstance(param, click.Option):
            choice = f" One of {', '.join(param.type.choices)}." if isinstance(param.type, click.Choice) else ""
            lines.append(f"{name}: {param.help or ''}{choice}")
    return "\n".join(lines)


def _words(given: Mapping[click.Parameter, Any]) -> list[str]:
    """What somebody would have typed."""
    options: list[str] = []
    arguments: list[str] = []
    for param, value in given.items():
        if isinstance(param, click.Argument):
            # An argument that is left out can only be followed by such ones.
            arguments += [str(one) for one in (value if param.nargs == -1 else [value]) if one is not None]
        elif isinstance(param, click.Option) and param.is_flag:
            options += [param.opts[0]] if value else []
        elif value is not None:
            options += [f"{param.opts[0]}={_word(one)}" for one in _each(value, param.multiple)]
    return [*options, "--", *arguments]


def _each(value: Any, several: bool) -> Iterable[Any]:
    return value if several and isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _word(value: Any) -> str:
    if isinstance(value, datetime.timedelta):
        return window_text(round(value.total_seconds()))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    return str(value)


def _answer(command: click.Command, journeys: Journeys, words: list[str]) -> AnalysisResult:
    try:
        with command.make_context(str(command.name), words) as context:
            ask: Callable[..., AnalysisResult] = command.callback.ask  # type: ignore[union-attr]
            return ask(**context.params, journeys=journeys)
    except click.UsageError as error:
        raise AnalyticsError(error.format_message()) from None


for _name, _command in ANALYSES.items():
    setattr(OpenLake, _name, _method(_command))
