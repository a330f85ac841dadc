"""A small shop whose figures one can count on one's fingers: what the report's page is held against."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from polku_analytics.build import build
from polku_analytics.lake import Lake
from polku_analytics.report import ReportFigures, write_report
from polku_schemas import Plan
from tests.analytics.conftest import START, write_table

DAY = 86_400
MINUTE = 60


def write_shop_report(folder: Path, event: Callable[..., Any], plan: Plan) -> tuple[ReportFigures, Path]:
    """The report of the shop, and its page; `event` makes a row, as the fixture of this name does."""
    write_table(folder / "events", shop_rows(event))
    lake, out = Lake(folder, environ={}), folder / "report.html"
    spend = {"date": START.date(), "marketing_channel": "ads", "utm_campaign": "spring", "amount": 50.0}
    write_deltalake(lake.table_uri("spend"), pa.Table.from_pylist([{**spend, "currency": "EUR"}]))
    build(lake, plan)
    return write_report(lake, plan, out), out


def shop_rows(event: Callable[..., Any]) -> list[dict[str, Any]]:
    """Four people who shop in the first week, twenty who meet or do not meet an error in the second, one much later."""
    rows: list[dict[str, Any]] = []

    def shop(person: str, day: int, price: float, *, campaign: str | None = None) -> dict[str, Any]:
        visit = {"user_id": person, "session_id": f"{person}-{day}", "utm_campaign": campaign}
        at = day * DAY
        rows.append(event("page_viewed", at, page_path="/", **visit))
        rows.append(
            event("product_added", at + 10, product_id="coat", price=price, quantity=1.0, currency="EUR", **visit)
        )
        return visit

    def check_out(visit: dict[str, Any], day: int) -> None:
        rows.append(event("checkout_started", day * DAY + 20, **visit))
        rows.append(event("checkout_step_viewed", day * DAY + 30, step=1, step_name="address", **visit))

    def order(visit: dict[str, Any], at: float, number: str, revenue: float) -> None:
        rows.append(event("order_completed", at, order_id=number, revenue=revenue, currency="EUR", **visit))

    def search(visit: dict[str, Any], day: int, words: str, results: int) -> None:
        rows.append(event("products_searched", day * DAY + 5, query=words, results_count=results, **visit))

    def send(person: str, number: str, carrier: str, days: int) -> None:
        shipment = {"order_id": number, "carrier": carrier, "user_id": person, "channel": "delivery"}
        promised = START + datetime.timedelta(days=2)
        rows.append(event("order_shipped", DAY, promised_at=promised, **shipment))
        rows.append(event("order_delivered", days * DAY, promised_at=promised, **shipment))

    aino, eino = shop("aino", 0, 100.0, campaign="spring"), shop("eino", 0, 60.0, campaign="spring")
    for visit, number, revenue in ((aino, "o1", 100.0), (eino, "o2", 60.0)):
        search(visit, 0, "tent", 0)
        check_out(visit, 0)
        order(visit, 60, number, revenue)
    send("aino", "o1", "Swift", 1)
    send("eino", "o2", "Snail", 3)
    rows.append(event("order_returned", 3 * DAY, order_id="o2", reason="wrong_size", value=60.0, user_id="eino"))
    veikko, helmi = shop("veikko", 1, 30.0), shop("helmi", 1, 20.0)
    check_out(veikko, 1)
    search(veikko, 1, "coat", 5)
    rows.append(event("search_result_clicked", DAY + 6, position=1, **veikko))
    search(helmi, 1, "helmi@example.org", 0)
    rows.append(event("page_viewed", 8 * DAY, page_path="/", user_id="aino"))
    for number in range(20):
        visit = {"user_id": f"p{number}", "session_id": f"p{number}", "device": "mobile", "browser": "Safari"}
        at = 7 * DAY + number * MINUTE
        rows.append(event("product_viewed", at, product_id="coat", page_path="/coat", **visit))
        measured = {"page_path": "/coat", "page_type": "product", "load_ms": 3000.0 if number < 15 else 1000.0}
        rows.append(event("page_performance_measured", at + 1, **measured, **visit))
        if number < 10:
            rows.append(event("error_shown", at + 2, page_path="/coat", **visit))
        else:
            order(visit, at + 30, f"p{number}", 10.0)
    rows.append(event("page_viewed", 21 * DAY, page_path="/", user_id="late"))

    return rows
