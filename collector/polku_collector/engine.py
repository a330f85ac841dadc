"""DuckDB as all of the collector opens it: it fetches and loads no extension, whatever a query asks for."""

from __future__ import annotations

from typing import Any

import duckdb


def open_duckdb(
    database: str = ":memory:", *, spill_max_bytes: int | None = None, **config: Any
) -> duckdb.DuckDBPyConnection:
    """A connection to a database of its own. `config`: DuckDB's own settings, of any type.

    `spill_max_bytes`: of what does not fit into memory; by itself DuckDB would take nine tenths of what the disk has
    left, and the journal would find it full.
    """
    if spill_max_bytes is not None:
        config["max_temp_directory_size"] = f"{spill_max_bytes}B"
    stays_here = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    return duckdb.connect(database, config={**config, **stays_here})
