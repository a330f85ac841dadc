"""The one lake that all engines are asked about, and the engines."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa

from polku_analytics.build import build
from polku_analytics.engines.files import arrow_schema
from polku_analytics.fillings import expected_event_columns
from polku_analytics.lake import Lake
from polku_demo.datasets import webshop
from polku_demo.run import run
from polku_schemas import Plan

PEOPLE = 60
SEED = 1
SECOND = datetime.timedelta(seconds=1)


def make_lake(folder: Path, plan: Plan) -> Lake:
    """The demo's shop, sent through a collector, and our own events; built by DuckDB."""
    with contextlib.redirect_stdout(io.StringIO()):
        (outcome,) = run([webshop(PEOPLE, SEED)], folder)
    lake = Lake(outcome.lake, environ={})
    newest = duckdb.read_parquet(lake.delta("events").file_uris(), union_by_name=True).max("event_time").fetchall()
    schema = arrow_schema(expected_event_columns(plan))
    rows = list(odd_events(newest[0][0]))
    fields = [field for field in schema if any(field.name in row for row in rows)]
    deltalake.write_deltalake(
        lake.table_uri("events"),
        pa.Table.from_pylist(rows, schema=pa.schema(fields)),
        mode="append",
        schema_mode="merge",
    )
    build(lake, plan)
    return lake


def odd_events(newest: datetime.datetime) -> Iterator[dict[str, Any]]:
    """People whose names, searches and times are awkward."""
    numbers = itertools.count(1)
    people = ["o'neil", 'quote"', "back\\slash", "Ääkkönen", "--", "tie-1", "tie-2", "%_"]

    def event(name: str, at: datetime.datetime, kind: str = "track", **columns: Any) -> dict[str, Any]:
        number = next(numbers)
        return {
            "event_id": f"odd-{number:03}",
            "event_type": kind,
            "event_name": name,
            "event_time": at,
            "received_at": at,
            "event_date": at.date(),
            "stream": "in-odd",
            "sequence": number,
            "source": "web",
            **columns,
        }

    for place, person in enumerate(people):
        # Weeks apart, so that a comparison with the period before finds them too; all within the shop's ninety days.
        start = newest - datetime.timedelta(days=3 + 11 * (place % 4), hours=place)
        city = "L'Aquila" if place % 2 else 'the "old" town \\'
        yield event("identify", start, "identify", user_id=person, trait_city=city)
        yield event("group", start, "group", user_id=person, group_id="a'b\\c" if place < 4 else f"account {place % 2}")
        device = "phone" if place % 3 else 'it\'s a "thing"'
        common = {"user_id": person, "device": device}
        yield event("products_searched", start + SECOND, query="it's a \\ tent", results_count=place, **common)
        # At one and the same moment: what comes first is the id's matter.
        for name in ("product_viewed", "product_added", "product_viewed"):
            yield event(name, start + 2 * SECOND, product_id="p'1", price=10.0 * place, **common)
        if place % 2:
            at = start + datetime.timedelta(days=place)
            yield event("order_completed", at, order_id=f"odd-{place}", revenue=19.99, currency="EUR", **common)
    yield event("product_viewed", newest - datetime.timedelta(days=1), is_bot=True, user_id="robot")
    # Under one id with other content, received later: it counts nowhere.
    seen = event("product_viewed", newest - datetime.timedelta(days=1), user_id=people[0], price=10.0)
    yield seen
    yield seen | {"price": 5000.0, "sequence": next(numbers), "received_at": seen["received_at"] + SECOND}
