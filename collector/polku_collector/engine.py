"""DuckDB as all of the collector opens it: it fetches and loads no extension, whatever a query asks for."""

from __future__ import annotations

from typing import Any

import duckdb


def open_duckdb(database: str = ":memory:", **config: Any) -> duckdb.DuckDBPyConnection:
    """A connection to a database of its own. `config`: DuckDB's own settings, of any type."""
    stays_here = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    return duckdb.connect(database, config={**config, **stays_here})
