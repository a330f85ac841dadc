"""DataFusion, embedded: the table files are read by it or through Arrow's data sets, all in this process."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import datafusion
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from polku_analytics.delta_types import quoted
from polku_analytics.engines.dialect import Dialect, code_by_case, utc_text
from polku_analytics.engines.duckdb import engine_words
from polku_analytics.engines.engine import table_arrays, table_rows
from polku_analytics.engines.files import Files, arrow_schema, files_of
from polku_analytics.engines.spelling import Spelling, Token, closing, tokens
from polku_analytics.errors import QueryError
from polku_analytics.lake import Lake, TableSnapshot
from polku_schemas.rules import sql_literal

_UTC: Final = "'Timestamp(Microsecond, Some(\"UTC\"))'"

_SETTINGS: Final = {
    "datafusion.sql_parser.default_null_ordering": "nulls_last",
    # Text as everybody else has it; numpy knows no views.
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
    "datafusion.execution.parquet.schema_force_view_types": "false",
}

_NO_SUBQUERY: Final = ("expression InSubquery", "Too many columns! The subquery should only return one column")
"""How it says that it takes IN (SELECT …) only as a condition of WHERE, and only of one column."""

_JOINER: Final = "\x1f"
"""Between the values of a row that is looked for; ids do not hold it."""


class DataFusionDialect(Dialect):
    """What DataFusion says otherwise."""

    name = "datafusion"
    reads_times = False
    spelling = Spelling(backslash_in_like=True)

    def microseconds(self, column: str) -> str:
        """A timestamp as microseconds since 1970 in UTC, a whole number."""
        return f"CAST(ARROW_CAST({column}, {_UTC}) AS BIGINT)"

    def moment(self, at: datetime.datetime) -> str:
        """A timestamp literal."""
        return f"ARROW_CAST('{utc_text(at)}', {_UTC})"

    def local_day(self, column: str, time_zone: str) -> str:
        """The date a timestamp falls on in a time zone."""
        kind = sql_literal(f'Timestamp(Microsecond, Some("{time_zone}"))')
        return f"CAST(TO_LOCAL_TIME(ARROW_CAST({column}, {kind})) AS DATE)"

    def code(self, column: str, names: Sequence[str]) -> str:
        """A text as its place in `names`, which hold all that occur."""
        return code_by_case(column, names)


class DataFusion:
    """One session context, with a table for each of the lake."""

    dialect = DataFusionDialect()

    def __init__(self) -> None:
        config = datafusion.SessionConfig()
        for name, value in _SETTINGS.items():
            config = config.set(name, value)
        self.context = datafusion.SessionContext(config)
        self._functions = 0

    def open(self, lake: Lake, snapshot: TableSnapshot, expected: Mapping[str, str]) -> None:
        """Let SQL read one version of a table under its name; what no file holds is null."""
        schema = arrow_schema({**expected, **snapshot.columns})
        groups = files_of(lake, snapshot)
        self._drop(snapshot.name)
        if not groups:
            self.context.register_record_batches(snapshot.name, [[_empty(schema)]])
        elif len(groups) == 1 and len(groups[0].paths) == 1 and not groups[0].partition:
            # A table of one file, as models are, is read by DataFusion itself, which is faster.
            self.context.register_parquet(snapshot.name, groups[0].paths[0], schema=schema)
        else:
            self.context.register_dataset(snapshot.name, _dataset(schema, groups))

    def arrow(self, sql: str) -> pa.Table:
        """All rows as Arrow. QueryError with DataFusion's words."""
        spelled = self.dialect.spelling.spell(sql)
        try:
            try:
                return self._asked(spelled)
            except Exception as error:
                if not any(words in str(error) for words in _NO_SUBQUERY):
                    raise
                return self._asked(self._without_subqueries(spelled))
        except QueryError:
            raise
        except Exception as error:
            raise QueryError(engine_words(error)) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows as tuples; times are aware, in UTC."""
        return table_rows(self.arrow(sql))

    def columns(self, sql: str) -> dict[str, np.ndarray[Any, Any]]:
        """All rows as one array a column."""
        return table_arrays(self.arrow(sql))

    def batches(self, sql: str, rows: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """All rows at once."""
        yield self.columns(sql)

    def runs_in_order(self, table: str) -> int:
        """It promises no order that is not asked for."""
        return 0

    def keep(self, name: str, sql: str) -> None:
        """Compute a query into a table in memory, in the place of an earlier one of the name."""
        table = self.arrow(sql)
        self._drop(name)
        self.context.register_record_batches(name, [table.to_batches() or [_empty(table.schema)]])

    def show(self, name: str, sql: str) -> None:
        """Let later queries read a query under this name, in the place of an earlier one of the name."""
        try:
            self._drop(name)
            self.context.sql(f"CREATE VIEW {quoted(name)} AS {self.dialect.spelling.spell(sql)}")
        except Exception as error:
            raise QueryError(engine_words(error)) from error

    def _asked(self, sql: str) -> pa.Table:
        table: pa.Table = self.context.sql(sql).to_arrow_table()
        return table

    def _drop(self, name: str) -> None:
        if self.context.table_exist(name):
            self.context.deregister_table(name)

    def _without_subqueries(self, sql: str) -> str:
        """The same with each `IN (SELECT …)` asked first, and a function that says whether a value is in its answer."""
        pieces = list(tokens(sql))
        for opening, first, last in _memberships(pieces):
            query = "".join(piece.text for piece in pieces[first + 1 : last])
            needle = "".join(piece.text for piece in pieces[opening:first]).rstrip()
            negated = needle.upper().endswith(" NOT IN")
            needle = needle[: -len(" NOT IN") if negated else -len(" IN")].strip()
            function = self._membership(self.arrow(query))
            joined = f"{function}({needle[1:-1] if needle.startswith('(') else needle})"
            rest = "".join(piece.text for piece in pieces[last + 1 :])
            before = "".join(piece.text for piece in pieces[:opening])
            return self._without_subqueries(f"{before}{'NOT ' if negated else ''}{joined}{rest}")
        return sql

    def _membership(self, table: pa.Table) -> str:
        """The name of a function of as many values as the table has columns: whether they are one of its rows."""
        rows = _joined([column.combine_chunks() for column in table.columns])
        keys = rows.drop_null()
        # SQL's three values: what is not among some known and some unknown ones may be one of these.
        absent = pa.scalar(None if rows.null_count else False, pa.bool_())
        self._functions += 1
        name = f"polku_is_in_{self._functions}"

        def is_in(*values: Any) -> Any:
            wanted = _joined(values)
            found = pc.if_else(pc.is_in(wanted, value_set=keys), pa.scalar(True), absent)
            return pc.if_else(pc.is_valid(wanted), found, pa.scalar(None, pa.bool_()))

        text = [pa.string()] * table.num_columns
        self.context.register_udf(datafusion.udf(is_in, text, pa.bool_(), "stable", name))
        return name


def _memberships(pieces: list[Token]) -> Iterator[tuple[int, int, int]]:
    """Each `X IN (SELECT …)`: where X begins, and the parentheses of the subquery."""
    solid = [place for place, piece in enumerate(pieces) if piece.kind not in ("space", "comment")]
    for at, place in enumerate(solid[:-2]):
        opening, select = solid[at + 1], solid[at + 2]
        if pieces[place].is_word("IN") and pieces[opening].text == "(" and pieces[select].is_word("SELECT", "WITH"):
            last = at - 2 if pieces[solid[at - 1]].is_word("NOT") else at - 1
            yield solid[_begin(pieces, solid, last)], opening, closing(pieces, opening)


def _begin(pieces: list[Token], solid: list[int], last: int) -> int:
    """Where an operand that ends at `last` begins: a row in parentheses, a call, or a name with its dots."""
    at = last
    if pieces[solid[at]].text == ")":
        depth = 0
        while True:
            depth += {")": 1, "(": -1}.get(pieces[solid[at]].text, 0)
            if depth == 0:
                break
            at -= 1
        return at - 1 if pieces[solid[at - 1]].kind == "word" and not pieces[solid[at - 1]].is_word(*_OPERATORS) else at
    while at >= 2 and pieces[solid[at - 1]].text == ".":
        at -= 2
    return at


_OPERATORS: Final = ("AND", "OR", "NOT", "WHEN", "WHERE", "ON", "THEN", "ELSE", "HAVING", "SELECT")


def _joined(values: Sequence[Any]) -> Any:
    """The values of each row as one text; null where one of them is."""
    texts: list[Any] = [value.cast(pa.string()) for value in values]
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, _JOINER)


def _dataset(schema: pa.Schema, groups: Sequence[Files]) -> ds.Dataset:
    paths: list[str] = []
    known: list[ds.Expression] = []
    for group in groups:
        terms = ds.scalar(True)
        for name, value in group.partition.items():
            kind = schema.field(name).type
            is_value = ds.field(name) == pa.scalar(value).cast(kind) if value is not None else ds.field(name).is_null()
            terms = terms & is_value
        paths += group.paths
        known += [terms] * len(group.paths)
    return ds.FileSystemDataset.from_paths(
        paths, schema=schema, format=ds.ParquetFileFormat(), filesystem=fs.LocalFileSystem(), partitions=known
    )


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)
