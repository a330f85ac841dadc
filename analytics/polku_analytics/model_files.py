"""The models as files: what the header of each says, in which order they run, how their placeholders are filled in.

A model is one SELECT in `models/<table>.sql`. Its header comment gives grain, keys, inputs, order, how it is brought up
to date, and definition. What depends on the plan or on the engine stands as `{{ name }}` or
`{{ name argument | argument }}`; `fillings.py` says what that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, Literal, cast

from msgspec import Struct

from polku_analytics.errors import BuildError, UnknownNameError

MODELS_FOLDER: Final = Path(__file__).parent / "models"

_HEADER: Final = re.compile(r"^-- (Grain|Keys|Inputs|Order|Stored|Increment|Definition): *(.*)$")
_PLACEHOLDER: Final = re.compile(r"\{\{ *([a-z_]+)((?: [^{}|]+(?:\| *[^{}|]+)*)?) *\}\}")

Filling = str | Callable[..., str]
"""What a placeholder stands for: a text, or a function of its arguments."""


class Model(Struct, frozen=True, kw_only=True):
    """One model as its file has it."""

    name: str
    grain: str
    keys: str
    inputs: tuple[str, ...]
    order: str
    stored: Literal["yes", "no", "view"]
    """In the lake; only while the build runs; or not even then."""
    increment: Literal["person", "sum", "whole"]
    """How an incremental build brings it up to date.

    `person`: every row has a `person_key` and rests on rows of that person alone (across people only by `order_id`),
    so that the rows of the people with new events are computed again; `sum`: all but the keys are whole numbers that
    add up over people, the first one never 0; `whole`: computed again from tables that stay in the lake.
    """
    definition: str
    sql: str


def read_models(folder: Path = MODELS_FOLDER) -> dict[str, Model]:
    """All models of a folder, by name."""
    return {path.stem: _read(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))}


def chosen(models: Mapping[str, Model], names: Sequence[str]) -> dict[str, Model]:
    """The named models and those they rest on; without names all. UnknownNameError for a table that is not one."""
    if not names:
        return dict(models)
    tables = {name for name, model in models.items() if model.stored == "yes"}
    wanted = list(names)
    found: dict[str, Model] = {}
    for name in wanted:
        if name not in tables:
            raise UnknownNameError("table", name, tables)
    while wanted:
        name = wanted.pop()
        if name in models and name not in found:
            found[name] = models[name]
            wanted.extend(models[name].inputs)
    return found


def run_order(models: Mapping[str, Model]) -> list[Model]:
    """The models, each after its inputs, by name where there is a choice. BuildError on a circle."""
    graph = {name: {i for i in model.inputs if i in models} for name, model in sorted(models.items())}
    try:
        return [models[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise BuildError(f"the models need each other in a circle: {' → '.join(error.args[1])}") from None


def fill(sql: str, fillings: Mapping[str, Filling]) -> str:
    """The SQL with every placeholder replaced. BuildError for one that stands for nothing."""

    def replace(match: re.Match[str]) -> str:
        filling = fillings.get(match[1])
        if filling is None:
            raise BuildError(f"a model uses {{{{ {match[1]} }}}}, which stands for nothing")
        if isinstance(filling, str):
            return filling
        return filling(*(part.strip() for part in match[2].split("|")))

    return _PLACEHOLDER.sub(replace, sql)


def _read(name: str, sql: str) -> Model:
    fields: dict[str, str] = {}
    current = ""
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        match = _HEADER.match(line)
        if match:
            current = match[1].lower()
            fields[current] = match[2]
        elif current:
            fields[current] += " " + line.removeprefix("--").strip()
    missing = {"grain", "keys", "inputs", "definition"} - fields.keys()
    if missing:
        raise BuildError(f"the header of models/{name}.sql lacks {', '.join(sorted(missing))}")
    return Model(
        name=name,
        grain=fields["grain"],
        keys=fields["keys"],
        inputs=tuple(part.strip() for part in fields["inputs"].split(",")),
        order=fields.get("order", ""),
        stored=cast("Literal['yes', 'no', 'view']", fields.get("stored", "yes")),
        increment=cast("Literal['person', 'sum', 'whole']", fields.get("increment", "person")),
        definition=fields["definition"],
        sql=sql,
    )
