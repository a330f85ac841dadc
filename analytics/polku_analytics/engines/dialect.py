"""What SQL engines say differently. Analyses write everything else in SQL that all of them read alike.

The base class speaks DuckDB; another engine overrides what it says otherwise.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from polku_schemas.rules import sql_literal


class Dialect:
    """DuckDB's way; each method gives one SQL expression."""

    name = "duckdb"

    def microseconds(self, column: str) -> str:
        """A timestamp as microseconds since 1970 in UTC, a whole number."""
        return f"EPOCH_US({column})"

    def moment(self, at: datetime.datetime) -> str:
        """A timestamp literal."""
        return f"TIMESTAMPTZ '{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S.%f}+00'"

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
