"""Which role looks at which figures, in the order in which it asks."""

from __future__ import annotations

from typing import Final, Literal

from polku_analytics.scorecards import figures as f
from polku_analytics.scorecards.figure import Figure

Role = Literal["management", "marketing", "ecommerce", "it", "service"]

QUESTIONS: Final[dict[Role, str]] = {
    "management": "How are we doing?",
    "marketing": "Which activities pay?",
    "ecommerce": "How do we earn more?",
    "it": "Where to put the money for IT?",
    "service": "How do people fare who need us?",
}

FIGURES: Final[dict[Role, tuple[Figure, ...]]] = {
    "management": (
        f.ORDERS,
        f.REVENUE,
        f.MARGIN,
        f.DIGITAL,
        f.ORDER_VALUE,
        f.BUYERS,
        f.NEW_CUSTOMERS,
        f.REPEAT_ORDERS,
        f.BEST_GROUP,
        f.WORST_GROUP,
        f.LATE,
        f.COMPLAINTS,
        f.NPS,
    ),
    "marketing": (
        f.VISITS,
        f.CAMPAIGN_VISITS,
        f.OPENED,
        f.CLICKED,
        f.ADS,
        f.NEW_CUSTOMERS,
        f.CONVERSION,
        f.COUPONS,
        f.RETURN_ON_SPEND,
        f.REFERRERS,
    ),
    "ecommerce": (
        f.VISITS,
        f.CONVERSION,
        f.ORDER_VALUE,
        f.ABANDONED,
        f.CHECKOUT,
        f.CHECKOUT_TIME,
        f.ZERO_RESULTS,
        f.SEARCH_SUCCESS,
        f.LATE,
    ),
    "it": (
        f.LOAD_TIME,
        f.SLOWEST_BROWSER,
        f.ERRORS,
        f.PAYMENT_FAILURES,
        f.PEAK,
        f.MOBILE,
        f.MOBILE_GAP,
        f.WEAKEST_BROWSER,
    ),
    "service": (
        f.CONTACTS,
        f.HANDLING,
        f.WAITING,
        f.REPEAT_CONTACTS,
        f.RESOLVED,
        f.COMPLAINTS,
        f.SOLVED,
        f.SOLVING,
        f.AFTER_CONTACT,
        f.NPS,
    ),
}
