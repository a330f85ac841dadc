"""User agents are read right and once; SQL over URLs says what urllib says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from polku_collector.lake import enrich
from polku_collector.lake.enrich import (
    UTM_PARAMETERS,
    Agent,
    UserAgents,
    page_path_sql,
    query_value_sql,
    referrer_host_sql,
    utm_sql,
)

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.fixture(scope="module")
def agents() -> UserAgents:
    return UserAgents()


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/130.0.0.0 Safari/537.36",
            Agent("desktop", "Windows", "Chrome", False),
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/130.0.0.0 Safari/537.36 Edg/130.0",
            Agent("desktop", "Windows", "Edge", False),
        ),
        (
            "Mozilla/5.0 (Windows NT 6.1; Touch; Tablet PC 2.0; Trident/7.0; rv:11.0) like Gecko",
            Agent("desktop", "Windows", "IE", False),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.1 Safari/605.1.15",
            Agent("desktop", "macOS", "Safari", False),
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/118.0",
            Agent("desktop", "Ubuntu", "Firefox", False),
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/120.0.0.0 Safari/537.36",
            Agent("desktop", "Chrome OS", "Chrome", False),
        ),
        (f"{IPHONE} Version/17.1 Mobile/15E148 Safari/604.1", Agent("mobile", "iOS", "Safari", False)),
        ("MyShop/3.2 (iPhone; iOS 17.1; Scale/3.00)", Agent("mobile", "iOS", "Safari WebView", False)),
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
            Agent("mobile", "Android", "Chrome", False),
        ),
        (
            "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ1A)",
            Agent("mobile", "Android", "Android", False),
        ),
        (
            f"Mozilla/5.0 (Linux; Android 14; SM-X910) {WEBKIT} Chrome/120.0.0.0 Safari/537.36",
            Agent("tablet", "Android", "Chrome", False),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.1 Mobile/15E148 Safari/604.1",
            Agent("tablet", "iOS", "Safari", False),
        ),
        (
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/538.1 (KHTML, like Gecko) Version/5.0 "
            "NativeTVAds Safari/538.1",
            Agent("tv", "Tizen", "Safari", False),
        ),
        (
            f"Mozilla/5.0 (Linux; Android 9; AFTS Build/PS7229) {WEBKIT} Chrome/70.0.0.0 Mobile Safari/537.36",
            Agent("tv", "Android", "Chrome", False),
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            Agent("bot", None, "Googlebot", True),
        ),
        (
            f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36",
            Agent("bot", "Linux", "HeadlessChrome", True),
        ),
        ("", Agent("other", None, None, False)),
        ("polku-python/0.1.0", Agent("other", None, None, False)),
    ],
)
def test_known_user_agents(agents: UserAgents, user_agent: str, expected: Agent) -> None:
    assert agents.resolve([user_agent]) == [expected]


@pytest.mark.parametrize(
    "user_agent", ["okhttp/4.9", "python-requests/2.31", "Go-http-client/2.0", "Amazon CloudFront", "axios/1.6"]
)
def test_libraries_that_send_honest_events_are_no_bots(agents: UserAgents, user_agent: str) -> None:
    assert not agents.resolve([user_agent])[0].is_bot


def test_the_joined_bot_check_agrees_with_the_list_it_is_made_of(agents: UserAgents) -> None:
    """Every example string of the crawler list, except those of the libraries taken out of it."""
    import re

    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    crawlers = [
        re.compile(entry["pattern"])
        for entry in CRAWLER_USER_AGENTS_DATA
        if entry["pattern"] not in enrich._CLIENTS_NOT_BOTS
    ]
    examples = [
        text
        for entry in CRAWLER_USER_AGENTS_DATA
        for text in entry.get("instances", [])
        if len(text) <= enrich.MAX_USER_AGENT_CHARACTERS
    ]
    assert len(examples) > 2_000
    check = enrich._crawler_check()
    said = [check(text) for text in examples]
    assert said == [any(pattern.search(text) for pattern in crawlers) for text in examples]
    assert sum(said) > 2_000


def test_the_excepted_libraries_are_still_called_so_in_the_list() -> None:
    """A renamed pattern of a later list would make a bot of every event of that library."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    assert {entry["pattern"] for entry in CRAWLER_USER_AGENTS_DATA} >= enrich._CLIENTS_NOT_BOTS


def test_a_pattern_that_rust_does_not_know_is_still_looked_for() -> None:
    matches = enrich._any_pattern(["Good(?=Bot)", "Other"])
    assert [matches(text) for text in ("GoodBot", "GoodBoy", "Another", "AnOtherOne")] == [True, False, False, True]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters()), max_size=3))
@example(["\ud800", "\x00", "Mozilla/5.0 " + "(" * 5_000])
def test_no_string_is_refused(agents: UserAgents, texts: list[str]) -> None:
    assert len(agents.resolve(texts)) == len(texts)


def test_the_cache_is_bounded_and_a_repeated_string_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolver() -> object:
        def resolve(text: str) -> Agent:
            asked.append(text)
            return Agent("other", None, None, False)

        return resolve

    monkeypatch.setattr(enrich, "_resolver", resolver)
    small = UserAgents(max_entries=2)
    small.resolve(["a", "b", "a", "b"])
    assert asked == ["a", "b"]
    small.resolve(["c", "a"])  # c drives the oldest out
    assert asked == ["a", "b", "c", "a"]


def test_the_table_of_agents_joins_by_the_string(agents: UserAgents) -> None:
    table = agents.table(["okhttp/4.9", "nothing known"])
    assert table.column_names == ["user_agent", "device", "os", "browser", "is_bot"]
    assert table.to_pylist()[0] == {
        "user_agent": "okhttp/4.9",
        "device": "other",
        "os": None,
        "browser": "okhttp",
        "is_bot": False,
    }
    assert agents.table([]).num_rows == 0


HOSTS = st.sampled_from(
    ["shop.example.fi", "WWW.Shop.example", "www.a.b", "localhost", "xn--hyv-qla.fi", "10.0.0.1", "a-b.c_d.e"]
)
PATHS = st.text(st.sampled_from("ab/.-_~%20:@!'()ä?#&="), max_size=8)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["utm_source", "utm_medium", "x", "utm_sourcex", "xutm_source", "gclid"]),
        st.text(st.sampled_from("ab+%20%C3%A4=;/:,ü"), max_size=8),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
URLS = st.builds(
    lambda scheme, user, host, port, path, query, fragment: f"{scheme}://{user}{host}{port}{path}{query}{fragment}",
    st.sampled_from(["https", "http", "HTTPS", "app", "android-app", "x-a.b+c"]),
    st.sampled_from(["", "", "", "me@", "me:secret@", "a@b@"]),
    HOSTS,
    st.sampled_from(["", "", ":443", ":8080", ":"]),
    st.one_of(st.just(""), PATHS.map(lambda path: "/" + path)),
    st.one_of(st.just(""), QUERIES.map(lambda query: "?" + query)),
    st.sampled_from(["", "#", "#top", "#/a?utm_source=no&b"]),
)


def expected_path(url: str) -> str | None:
    parts = urlsplit(url)
    return parts.path or ("/" if parts.netloc else None)


def expected_host(url: str) -> str | None:
    host = (urlsplit(url).hostname or "").removeprefix("www.").rstrip(".")
    return host or None


def expected_value(url: str, name: str) -> str | None:
    query = urlsplit(url).query
    try:
        values = parse_qs(query, keep_blank_values=True, errors="strict").get(name)
    except UnicodeDecodeError:  # one of the parameters cannot be decoded; such a value stays as it was written
        raw = [part.partition("=")[2] for part in query.split("&") if part.startswith(f"{name}=")]
        values = [value.replace("+", " ") for value in raw]
        with contextlib.suppress(UnicodeDecodeError):
            values = [unquote(value, errors="strict") for value in values[:1]]
    value = values[0].replace("\0", "").strip(" \t\r\n") if values else ""
    return value or None


def evaluate(connection: duckdb.DuckDBPyConnection, urls: list[str | None], *expressions: str) -> list[tuple]:  # type: ignore[type-arg]
    connection.execute("CREATE OR REPLACE TEMP TABLE pages (n INTEGER, url VARCHAR)")
    connection.executemany("INSERT INTO pages VALUES (?, ?)", list(enumerate(urls)))
    return connection.execute(f"SELECT {', '.join(expressions)} FROM pages ORDER BY n").fetchall()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(URLS, min_size=1, max_size=10))
@example(["https://shop.fi", "https://shop.fi?x", "http://shop.fi/#a", "HTTP://WWW.SHOP.FI:80/A?b", "app://home/x"])
@example(["https://a.b/?utm_source=a%zz&utm_source=later", "https://a.b/?utm_source=%ff&x=1"])
@example(["https://a.b/?utm_medium=%C3&utm_source=fine", "https://a.b/?utm_source=&utm_source=second"])
def test_urls_are_read_as_urllib_reads_them(connection: duckdb.DuckDBPyConnection, urls: list[str]) -> None:
    rows = evaluate(
        connection,
        list(urls),
        page_path_sql("url"),
        referrer_host_sql("url"),
        utm_sql("url", "source"),
        utm_sql("url", "medium"),
    )
    assert rows == [
        (
            expected_path(url),
            expected_host(url),
            expected_value(url, "utm_source"),
            expected_value(url, "utm_medium"),
        )
        for url in urls
    ]


@pytest.mark.parametrize(
    ("url", "path", "host"),
    [
        (None, None, None),
        ("", None, None),
        ("$direct", None, None),
        ("about:blank", None, None),
        ("mailto:a@b.fi", None, None),
        ("not a url", None, None),
        ("/only/path?x=1", "/only/path", None),
        ("//cdn.example.com/x", "/x", "cdn.example.com"),
        ("  https://shop.fi/a", "/a", "shop.fi"),
        ("https://", None, None),
        ("https:///x", "/x", None),
        ("file:///C:/a.html", "/C:/a.html", None),
        ("https://[2001:db8::1]:8080/x", "/x", "[2001:db8::1]"),
        ("https://shop.fi./x", "/x", "shop.fi"),
        ("https://exa mple.fi/x", "/x", None),
        ("https://shop.fi:port/x", "/x", None),
        ("https://hyvä.FI/polku", "/polku", "hyvä.fi"),
        ("https://shop.fi/a\nb", "/a\nb", "shop.fi"),
        ("android-app://com.google.android.gm/", "/", "com.google.android.gm"),
    ],
)
def test_odd_urls(connection: duckdb.DuckDBPyConnection, url: str | None, path: str | None, host: str | None) -> None:
    assert evaluate(connection, [url], page_path_sql("url"), referrer_host_sql("url")) == [(path, host)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=10))
@example(["\x00", "http://\x00/", "//@", "?utm_source=%00", "http://a/?utm_source=" + "%e2" * 50, "://", "?" * 2000])
def test_rubbish_never_raises(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    expressions = [page_path_sql("url"), referrer_host_sql("url")]
    expressions += [utm_sql("url", parameter) for parameter in UTM_PARAMETERS]
    assert len(evaluate(connection, list(texts), *expressions)) == len(texts)


def test_an_unknown_parameter_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no such campaign parameter"):
        utm_sql("url", "budget")
    with pytest.raises(ValueError, match="not a plain parameter name"):
        query_value_sql("url", "a' OR '1")
