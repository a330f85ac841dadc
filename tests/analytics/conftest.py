"""Small lakes for the analytics tests, written straight to Delta: narrow files, as the collector leaves them."""

from __future__ import annotations

import datetime
import itertools
import json
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.transaction import AddAction, create_table_with_add_actions

from polku_analytics.build import build
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Comparison, Event, Funnel, FunnelStep, Goal, Plan, Property, Rule

TIMESTAMP = pa.timestamp("us", tz="UTC")
LINE = pa.list_(
    pa.struct(
        [
            ("product_id", pa.string()),
            ("quantity", pa.int64()),
            ("price", pa.float64()),
            ("revenue", pa.float64()),
            ("category", pa.string()),
        ]
    )
)
TYPES = {
    "event_time": TIMESTAMP,
    "received_at": TIMESTAMP,
    "event_date": pa.date32(),
    "sequence": pa.int64(),
    "is_bot": pa.bool_(),
    "revenue": pa.float64(),
    "price": pa.float64(),
    "quantity": pa.float64(),
    "step": pa.int64(),
    "duration_seconds": pa.float64(),
    "wait_seconds": pa.float64(),
    "load_ms": pa.float64(),
    "resolved": pa.bool_(),
    "score": pa.float64(),
    "rating": pa.float64(),
    "position": pa.int64(),
    "lowest_position": pa.int64(),
    "results_count": pa.int64(),
    "value": pa.float64(),
    "ad_revenue": pa.float64(),
    "ad_cost": pa.float64(),
    "total": pa.float64(),
    "promised_at": TIMESTAMP,
    "delivered_at": TIMESTAMP,
    "products": LINE,
    **dict.fromkeys(("load_ms", "ttfb_ms", "lcp_ms", "inp_ms", "cls"), pa.float64()),
}
START = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def event(new_history: Callable[[], Callable[..., dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """`event(name, seconds, **columns)`: one row of `events`, so many seconds after a fixed Monday noon."""
    return new_history()


@pytest.fixture(scope="session")
def new_history() -> Callable[[], Callable[..., dict[str, Any]]]:
    """What makes an `event` function whose ids begin at e00001."""
    return history


def history() -> Callable[..., dict[str, Any]]:
    """`event(name, seconds, **columns)`, as the fixture `event`."""
    numbers = itertools.count(1)

    def make(name: str, seconds: float = 0, **columns: Any) -> dict[str, Any]:
        number = next(numbers)
        at = START + datetime.timedelta(seconds=seconds)
        kind = name if name in ("identify", "group", "alias") else "page" if name == "page_viewed" else "track"
        row = {
            "event_id": f"e{number:05}",
            "event_type": kind,
            "event_name": name,
            "event_time": at,
            "received_at": at,
            "event_date": at.date(),
            "stream": "in-1",
            "sequence": number,
            "source": "shop",
            "channel": "web",
        }
        return row | columns

    return make


def write_table(path: Path, rows: Sequence[dict[str, Any]], partition: str | None = "event_date") -> None:
    """Rows into a Delta table, one file per (day, event name), each with only the columns that occur in it."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.get("event_date"), row.get("event_name")), []).append(row)
    actions, fields, batch = [], {}, uuid.uuid4().hex[:8]
    for number, (key, members) in enumerate(groups.items()):
        names = list(dict.fromkeys(name for row in members for name in row))
        schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in names])
        fields.update({field.name: field for field in schema})
        folder = f"event_date={key[0]}/" if partition else ""
        (path / folder).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(members, schema=schema), path / f"{folder}part-{batch}-{number}.parquet")
        actions.append(
            AddAction(
                path=f"{folder}part-{batch}-{number}.parquet",
                size=(path / f"{folder}part-{batch}-{number}.parquet").stat().st_size,
                partition_values={partition: str(key[0])} if partition else {},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": len(members)}),
            )
        )
    base = {"event_id", "event_type", "event_name", "source", "stream", "event_time", "received_at", "event_date"}
    for name in sorted(base - fields.keys()):
        fields[name] = pa.field(name, TYPES.get(name, pa.string()))
    if deltalake.DeltaTable.is_deltatable(str(path)):
        table = deltalake.DeltaTable(str(path))
        known = table.schema().to_arrow()
        more = [field for name, field in fields.items() if name not in known.names]
        if more:
            table.alter.add_columns([deltalake.Field.from_arrow(pa.field(f.name, f.type)) for f in more])
        table.create_write_transaction(actions, "append", table.schema(), [partition] if partition else [])
        return
    create_table_with_add_actions(
        str(path),
        deltalake.Schema.from_arrow(pa.schema(list(fields.values()))),
        actions,
        partition_by=[partition] if partition else [],
    )


@pytest.fixture(scope="session")
def make_lake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Lake]:
    """`make_lake(rows)`: a lake with the table `events`."""

    def make(rows: Sequence[dict[str, Any]]) -> Lake:
        folder = tmp_path_factory.mktemp("lake")
        write_table(folder / "events", rows)
        return Lake(folder, environ={})

    return make


@pytest.fixture(scope="session")
def built(make_lake: Callable[..., Lake], plan: Plan) -> Callable[..., Journeys]:
    """`built(rows)`: the same, with the models built and opened."""

    def make(rows: Sequence[dict[str, Any]]) -> Journeys:
        lake = make_lake(rows)
        build(lake, plan)
        return open_journeys(lake, plan)

    return make


def _property(name: str, kind: Any = "string", **more: Any) -> Property:
    return Property(name=name, type=kind, description=name, **more)


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Events that touch all seven stages."""
    line = _property(
        "line", "object", fields={"product_id": _property("product_id"), "quantity": _property("quantity", "integer")}
    )
    properties = {
        "order_id": _property("order_id"),
        "revenue": _property("revenue", "number"),
        "currency": _property("currency"),
        "price": _property("price", "number"),
        "query": _property("query"),
        "step": _property("step", "integer"),
        "kind": _property("kind"),
        "products": _property("products", "array", items=line),
    }

    def make(name: str, stage: str | None, touchpoint: str, *used: str, **more: Any) -> Event:
        return Event(
            name=name,
            version="1.0",
            owner="test",
            description=name,
            stage=more.pop("rules", (Rule(stage),) if stage else ()),
            touchpoint=(Rule(touchpoint),),
            properties={key: properties[key] for key in used},
            **more,
        )

    by_history = (Rule("purchase", (Comparison("first_order", "=", True),)), Rule("repeat"))
    by_past = (Rule("relationship", (Comparison("repeat_order", "=", True),)), Rule("awareness"))
    by_kind = (Rule("comparison", (Comparison("kind", "=", "comparison"),)), Rule("interest"))
    events = [
        make("ad_clicked", "awareness", "ad", channel=(Rule("ads"),)),
        make("page_viewed", None, "page", "kind", call="page", rules=by_kind),
        make("product_viewed", "interest", "product", "price", aliases=("Product Viewed",)),
        make("products_searched", "interest", "search", "query"),
        make("product_added", "comparison", "cart", "price"),
        make("order_completed", None, "order", "order_id", "revenue", "currency", "products", rules=by_history),
        make("store_order_completed", None, "order", "order_id", "revenue", rules=by_history, channel=(Rule("store"),)),
        make("order_delivered", "relationship", "delivery", "order_id"),
        make("email_sent", None, "email", rules=by_past, channel=(Rule("email"),)),
        make("share_clicked", "referral", "share"),
        make("logged_out", None, "account"),
    ]
    steps = (
        FunnelStep(event="product_viewed"),
        FunnelStep(event="products_searched", optional=True),
        FunnelStep(event="product_added", when=(Comparison("price", ">", 10.0),)),
        FunnelStep(event="order_completed"),
    )
    return Plan(
        name="small",
        version="1.0",
        description="for tests",
        stages=("awareness", "interest", "comparison", "purchase", "relationship", "repeat", "referral"),
        channels=("web", "ads", "store", "email"),
        properties=properties,
        traits={"city": _property("city"), "email": _property("email", privacy="personal")},
        events={item.name: item for item in events},
        goals={
            "order": Goal(
                name="order",
                description="an order",
                events=("order_completed", "store_order_completed"),
                value="revenue",
            ),
            "costly": Goal(
                name="costly",
                description="something costly",
                events=("product_viewed", "product_added"),
                when=(Comparison("price", ">", 100.0),),
            ),
        },
        funnels={"buying": Funnel(name="buying", description="to the order", steps=steps, window_seconds=86400)},
        fingerprint="test",
    )
