"""Which currency is shown where amounts are in several: amounts in different currencies are neither added nor compared.

It is the one of most orders (carts, rows of `spend` …); where several have as many, the first of them by name. No
currency comes after those that are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

USUAL_FIRST_SQL: Final = "COUNT(*) DESC, NULLIF(currency, '')"
"""The order of `usual_first`, of the groups of a query by currency; nulls come last."""


def usual_first(currency: str | None, count: int) -> tuple[int, bool, str]:
    """What to sort currencies by, each with how often it occurs: the one to be shown comes first."""
    return -count, not currency, currency or ""


def usual_currency(counts: Mapping[str | None, int]) -> str | None:
    """The one to be shown, of currencies with how often they occur; none of none."""
    return min(counts, key=lambda currency: usual_first(currency, counts[currency]), default=None)
