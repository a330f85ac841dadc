"""The table `journeys`: pieces of each person's touchpoints, one for each time a goal was reached, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polku_analytics.journeys import Journeys

COLUMNS = "person_id, goal, journey_number, outcome, steps, seconds, first_channel, first_marketing_channel, value"


def test_journeys_are_cut_after_each_time_the_goal_is_reached(
    built: Callable[..., Journeys], event: Callable[..., dict[str, Any]]
) -> None:
    journeys = built(
        [
            event("ad_clicked", 0, user_id="aino", channel="ads", marketing_channel="paid_social"),
            event("product_viewed", 60, user_id="aino", price=5.0),
            event("order_completed", 100, user_id="aino", order_id="1", revenue=20.0),
            event("order_completed", 101, user_id="aino", order_id="1", revenue=20.0),  # reported twice
            event("product_viewed", 200, user_id="aino", price=150.0),
            event("store_order_completed", 300, user_id="aino", order_id="2", revenue=30.0),
            event("product_viewed", 7200, user_id="aino", price=5.0),
            event("identify", 7300, user_id="veikko"),
            event("product_viewed", 0, user_id="eino", price=500.0),
        ]
    )

    assert journeys.rows(f"SELECT {COLUMNS} FROM journeys ORDER BY 1, 2 DESC, 3") == [
        ("aino", "order", 1, "reached", 3, 100.0, "ads", "paid_social", 20.0),
        ("aino", "order", 2, "reached", 3, 199.0, "web", "paid_social", 30.0),
        ("aino", "order", 3, "open", 1, 0.0, "web", None, None),
        ("aino", "costly", 1, "reached", 5, 200.0, "ads", "paid_social", None),
        ("aino", "costly", 2, "open", 2, 6900.0, "store", "paid_social", None),
        ("eino", "order", 1, "open", 1, 0.0, "web", None, None),
        ("eino", "costly", 1, "reached", 1, 0.0, "web", None, None),
    ]
    found = journeys.rows(
        "SELECT t.event_name, j.value FROM journeys AS j JOIN touchpoints AS t ON t.event_id = j.goal_event_id "
        "WHERE j.goal = 'order' ORDER BY j.journey_number"
    )
    assert found == [("order_completed", 20.0), ("store_order_completed", 30.0)]
