"""What SQL engines say differently. Analyses write everything else in SQL that all of them read alike.

The base class speaks DuckDB; another engine overrides what it says otherwise. What only its text looks like otherwise
(quotes, type names) is `spelling.py`'s matter and needs no method here.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import ClassVar

from polku_analytics.engines.spelling import Spelling
from polku_schemas.rules import sql_literal


class Dialect:
    """DuckDB's way; each method gives one SQL expression."""

    name: ClassVar[str] = "duckdb"
    spelling: ClassVar[Spelling] = Spelling()
    reads_times: ClassVar[bool] = True
    """Whether the engine gives a timestamp column as microseconds when it is read by `columns`."""

    def microseconds(self, column: str) -> str:
        """A timestamp as microseconds since 1970 in UTC, a whole number."""
        return f"EPOCH_US({column})"

    def read_microseconds(self, column: str) -> str:
        """The same of a column that is read by `columns` and not computed with: often there is nothing to do."""
        return column if self.reads_times else self.microseconds(column)

    def moment(self, at: datetime.datetime) -> str:
        """A timestamp literal."""
        return f"TIMESTAMPTZ '{utc_text(at)}+00'"

    def local_day(self, column: str, time_zone: str) -> str:
        """The date a timestamp falls on in a time zone."""
        return f"CAST(TIMEZONE({sql_literal(time_zone)}, {column}) AS DATE)"

    def text(self, expression: str) -> str:
        """Any scalar as text."""
        return f"CAST({expression} AS VARCHAR)"

    def code(self, column: str, names: Sequence[str]) -> str:
        """A text as its place in `names`, which hold all that occur."""
        listed = ", ".join(sql_literal(name) for name in names) or "''"
        return f"ENUM_CODE(CAST({column} AS ENUM({listed})))"

    def each(self, column: str) -> str:
        """In a SELECT list: a row for each member of a list."""
        return f"UNNEST({column})"


def code_by_case(column: str, names: Sequence[str]) -> str:
    """`Dialect.code` for engines without enums."""
    terms = " ".join(f"WHEN {sql_literal(name)} THEN {place}" for place, name in enumerate(names))
    return f"CAST(CASE {column} {terms} END AS BIGINT)" if terms else "CAST(NULL AS BIGINT)"


def utc_text(at: datetime.datetime) -> str:
    """A time as SQL literals have it, in UTC."""
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S.%f}"
