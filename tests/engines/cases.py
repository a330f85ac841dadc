"""What every engine is asked: command lines as people type them. A new analysis is a new line.

The lake is `world.py`'s: the made-up shop of the demo with 60 people, and beside it some with ties, accounts and quotes
in what they are and do.
"""

from __future__ import annotations

from typing import Final

CASES: Final = (
    "funnel product_viewed product_added checkout_started order_completed --window 7d",
    "funnel page_viewed product_viewed order_completed --unit session --breakdown marketing_channel --values 3",
    "funnel 'product_viewed[price > 100]' touchpoint:cart stage:purchase --window 30d --reentry first",
    """funnel "products_searched[query = 'it''s a \\ tent']" product_viewed --unit account""",
    "funnel product_viewed order_completed --segment 'orders >= 1' --segment 'not did:order_completed'",
    "funnel product_viewed order_completed --segment 'did:product_viewed[price > 100]' --breakdown trait_city",
    "funnel product_viewed product_added --breakdown price --values 4 --unit account",
    "funnel product_viewed order_completed --breakdown device --previous --since {late} --time-zone Europe/Helsinki",
    "paths",
    "paths --unit person --by event --to order_completed --top 20 --breakdown country",
    "paths --from product --to order --max-steps 4 --unit account --staged",
    "paths --since {late} --until {later} --previous --keep-repeats",
    "funnel product_viewed product_added order_completed --order any --window 3d",
    "funnel product_viewed order_completed --exclude page_viewed --ties strict --breakdown device",
    "funnel product_viewed product_added order_completed --times --breakdown device",
    "funnel product_viewed product_added order_completed --drop-off 2 --segment 'orders >= 0'",
    "retention --interval week --intervals 4",
    "retention product_viewed order_completed --mode on-or-after --cohorts recurring --rolling --breakdown device",
    "lifecycle --interval week --time-zone Europe/Helsinki",
    "lifecycle product_viewed --interval week --unit account",
    "attribution --unit account --by touchpoint --model linear",
    "attribution --unit account --model all",
    "lifecycle --interval day --since {late} --breakdown device --values 2 --previous",
    "stickiness --interval week --breakdown device",
    "routes stage:purchase",
    "routes order_completed --micro --by event --idle 3d --breakdown device",
    "graph",
    "graph --variants --by event --unit person",
    "graph --loops --by event --collapse --breakdown device",
    "segments --breakdown device",
    "segments --overlap",
    "segments --rfm",
    "contacts",
    "contacts --by reason",
    "contacts --complaints",
    "satisfaction",
    "satisfaction --bands",
    "tasks product_viewed order_completed --breakdown device",
    "tasks product_viewed product_added --limit 7d --breakdown channel",
    "when --time-zone Europe/Helsinki",
    "when product_viewed --unit person",
    "when --unit event --breakdown device",
    "anomalies --unit person --all-days --time-zone Europe/Helsinki",
    *(f"scorecard {role}" for role in ("management", "marketing", "ecommerce", "it", "service")),
    "attribution --breakdown device",
    "attribution --by touchpoint --model linear --lookback 14d",
    "compare --change new_checkout",
    "recommend --fewest 1",
    "recommend --prompt",
    "campaigns",
    "performance --fewest 1",
    "friction --unit person",
    "carts --breakdown device",
    "checkout",
    "search",
    "search --show zero",
    "deliveries",
    "deliveries --since {late} --breakdown known_person",
    "returns --breakdown device",
)
"""`{late}` and `{later}` are days of the second half of the data."""

CANNOT: Final[dict[tuple[str, str], str]] = {
    ("spark", "retention --interval week --intervals 4"): (
        "without a START, Sail finds no name for a column of its own plan; with a START it answers"
    ),
}
"""(engine, command line) → why its SQL cannot do it; Spark is Sail here. docs/query/engines.md has the same table."""
