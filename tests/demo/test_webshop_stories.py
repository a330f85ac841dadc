"""What is planted in the web shop is found by the commands, and not where browsers and carriers are dealt anew."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.commands.deliveries import deliveries
from polku_analytics.commands.friction import friction
from polku_analytics.commands.search import search
from polku_analytics.lake import Lake
from polku_collector.lake.enrich import UserAgents
from polku_demo.webshop import SOURCES, Webshop
from tests.analytics.conftest import write_table
from tests.demo.world import PLAN, Row, ask, stored

KEPT = ("order_id", "shipment_id", "carrier", "revenue", "currency", "query", "results_count", "error_code", "step")
TIMES = ("promised_at", "delivered_at")
OLD, LATE = "Samsung Internet", "Matkahuolto"


@pytest.fixture(scope="module", autouse=True)
def one_plan() -> Iterator[None]:
    """Commands read the plan anew each; here it is always the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "load_plan", lambda folder: PLAN)
        yield


@functools.cache
def told() -> list[Row]:
    """The calls of a thousand households as the collector would store them, as far as the questions need it."""
    calls = Webshop(1_000, 7).calls
    agents = sorted({agent for call in calls if (agent := (call.context or {}).get("userAgent"))})
    read = dict(zip(agents, UserAgents().resolve(agents), strict=True))

    def more(sent: Row) -> Row:
        agent, given = read.get(sent.get("context", {}).get("userAgent", "")), sent.get("properties", {})
        return {
            "previous_id": sent.get("previousId"),
            "browser": agent.browser if agent else None,
            "is_bot": agent.is_bot if agent else None,
            **{name: datetime.fromisoformat(given[name]) for name in TIMES if name in given},
        }

    return stored(calls, SOURCES, KEPT, more)


def dealt_anew(rows: list[Row]) -> list[Row]:
    """Browsers among visits and carriers among orders in another order: neither explains anything any more."""
    chance = Random(1)

    def dealt(key: str, value: str) -> dict[Any, Any]:
        found = {row[key]: row[value] for row in rows if row.get(key) and row.get(value)}
        values = list(found.values())
        chance.shuffle(values)
        return dict(zip(found, values, strict=True))

    browsers, carriers = dealt("session_id", "browser"), dealt("order_id", "carrier")
    return [
        row
        | ({"browser": browsers[row["session_id"]]} if row["browser"] and row["session_id"] else {})
        | ({"carrier": carriers[row["order_id"]]} if row.get("carrier") else {})
        for row in rows
    ]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The shop, and its twin."""

    def made(rows: list[Row]) -> str:
        folder: Path = tmp_path_factory.mktemp("webshop") / "lake"
        write_table(folder / "events", rows, partition=None)
        build(Lake(folder), PLAN)
        return str(folder)

    return made(told()), made(dealt_anew(told()))


def test_payment_that_breaks_in_one_old_browser_is_found(lakes: tuple[str, str]) -> None:
    def lost(lake: str) -> dict[str, float]:
        rows = ask(friction, lake, "--breakdown", "browser", "--fewest", "1")
        return {row["browser"]: row["lost"] for row in rows if (row["friction"], row["place"]) == ("error", "payment")}

    shop, twin = map(lost, lakes)
    assert shop[OLD] > 2 * max(value for browser, value in shop.items() if browser != OLD)
    assert twin.get(OLD, 0.0) < max(value for browser, value in twin.items() if browser != OLD)


def test_the_carrier_that_comes_late_is_found(lakes: tuple[str, str]) -> None:
    def kept(lake: str) -> dict[str, float]:
        return {row["carrier"]: row["kept_share"] for row in ask(deliveries, lake) if row["shipments"] >= 30}

    shop, twin = map(kept, lakes)
    assert set(shop) == set(twin) > {LATE}
    assert shop[LATE] < min(share for carrier, share in shop.items() if carrier != LATE) - 0.1
    assert max(twin.values()) - min(twin.values()) < 0.1


def test_what_is_searched_for_and_not_sold_is_found(lakes: tuple[str, str]) -> None:
    found = ask(search, lakes[0], "--show", "zero")
    assert found[0]["term"] == "electric bike" and found[0]["zero_share"] == 1.0
    assert found[0]["searches"] == sum(row.get("query") == "electric bike" for row in told())
