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
)
"""`{late}` and `{later}` are days of the second half of the data."""

CANNOT: Final[dict[tuple[str, str], str]] = {}
"""(engine, command) → why its SQL cannot do it; docs/query/engines.md has the same table."""
