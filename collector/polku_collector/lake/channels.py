"""The marketing channel of an event: which kind of campaign or site brought its visit.

The rules are a DuckDB CASE over a few *signals* (campaign values, the categories of the two named sites, a
click id); each rule and its order is defined in docs/enrichment.md. Categories of sites come from
`data/referrers.json` (MIT, see the licence beside it) and from our own `data/sources.json`, which wins where
both name a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Struct

from polku_collector.lake.enrich import (
    UTM_PARAMETERS,
    host_sql,
    page_path_sql,
    referrer_host_sql,
    utm_sql,
)

CHANNELS = (
    *("direct", "cross_network", "paid_shopping", "paid_search", "paid_social", "paid_video", "display"),
    *("paid_other", "organic_shopping", "organic_social", "organic_video", "organic_search", "ai_assistant"),
    *("email", "affiliates", "audio", "sms", "push", "offline", "referral", "unassigned"),
)

LOOKUP_TABLE = "polku_sources"


class Source(Struct, frozen=True):
    """A site (or the bare name people write into `utm_source`) and what kind of site it is.

    `subdomains`: hosts below it are of the same kind. Not so for search engines: their other sub-domains are
    documents, maps or news.
    """

    name: str
    category: str
    subdomains: bool


@cache
def sources() -> tuple[Source, ...]:
    """All known sites and names, each once."""
    data = resources.files("polku_collector.lake") / "data"
    own = msgspec.json.decode((data / "sources.json").read_bytes(), type=dict[str, dict[str, list[str]]])
    listed = msgspec.json.decode((data / "referrers.json").read_bytes(), type=dict[str, tuple[str, str]])
    found: dict[str, Source] = {}
    for category, members in own.items():
        for host in members["hosts"]:
            found[host] = Source(host, category, subdomains=category not in _OWN_SUBDOMAINS_ONLY)
        for name in members["names"]:
            found[name] = Source(name, category, subdomains=False)
    for host, (category, _) in listed.items():
        found.setdefault(host, Source(host, category, subdomains=category not in _OWN_SUBDOMAINS_ONLY))
    return tuple(found.values())


def create_lookup(connection: duckdb.DuckDBPyConnection, table: str = LOOKUP_TABLE) -> None:
    """Create (or replace) the temporary table of known sources, which `with_marketing_channel` joins; forget visits."""
    rows = sources()
    arrow = pa.table(
        {
            "name": [source.name for source in rows],
            "category": [source.category for source in rows],
            "subdomains": [source.subdomains for source in rows],
        }
    )
    connection.register("polku_sources_arrow", arrow)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM polku_sources_arrow")
    connection.unregister("polku_sources_arrow")
    _forget_visits(connection)


VISIT_KEY = ("page_url", "referrer", *(f"utm_{parameter}" for parameter in UTM_PARAMETERS))
VISIT_COLUMNS = (
    *("page_path", "referrer_host"),
    *(f"utm_{parameter}" for parameter in UTM_PARAMETERS),
    "marketing_channel",
)


def _number_sql(columns: Iterable[str]) -> str:
    """Some columns as one number. Each part goes with its bytes counted (an absent one without): no text that somebody
    sends can pass for another's."""
    parts = ", ".join(f"strlen({column}), ':', {column}" for column in columns)
    return f"md5_number(concat({parts}))"


VISIT_SQL = _number_sql(VISIT_KEY)
"""A visit as one number, by which what is known of it is kept."""

MOST_KNOWN_VISITS = 100_000
"""So many are kept from one flush to the next. People come from and go to the same places, and the rules take ten
times as long as looking a visit up."""

_KNOWN = "polku_known_visits"
_KNOWN_ARRIVALS = "polku_known_arrivals"
_ARRIVAL_COLUMNS = tuple(column for column in VISIT_COLUMNS if column != "page_path")


def visits_of(connection: duckdb.DuckDBPyConnection, keys: pa.Table) -> pa.Table:
    """The VISIT_COLUMNS of each visit of `keys`, in its order; what `keys` lacks of the columns of VISIT_KEY is null.

    Planning the channel rules takes 20 ms, too long for every flush: a new visit is mostly another page of a site that
    people reach in ways that are known, and the rules see only the way, the *arrival*. Needs `create_lookup` once
    before.
    """
    absent = "".join(f", NULL::VARCHAR AS {name}" for name in VISIT_KEY if name not in keys.column_names)
    given = ", ".join(name for name in VISIT_KEY if name in keys.column_names)
    numbered = keys.append_column("n", pa.array(range(keys.num_rows), pa.int64()))
    connection.register("polku_visits_arrow", numbered)
    visits = f"(SELECT n, {given}{absent} FROM polku_visits_arrow)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE polku_visits AS SELECT n, {VISIT_SQL} AS visit FROM {visits}")
    _know_visits(connection, visits)
    connection.unregister("polku_visits_arrow")
    listed = ", ".join(VISIT_COLUMNS)
    found: pa.Table = connection.sql(
        f"SELECT {listed} FROM polku_visits JOIN {_KNOWN} USING (visit) ORDER BY n"
    ).to_arrow_table()
    return found


def _know_visits(connection: duckdb.DuckDBPyConnection, visits: str) -> None:
    """Find out about those of `polku_visits` that are not known. `visits`: a query of what they are."""
    ((known,),) = connection.execute(f"SELECT count(*) FROM {_KNOWN}").fetchall()
    ((new,),) = connection.execute(
        "CREATE OR REPLACE TEMP TABLE polku_unknown AS "
        f"SELECT DISTINCT ON (visit) n, visit FROM polku_visits ANTI JOIN {_KNOWN} USING (visit)"
    ).fetchall()
    if known + new > MOST_KNOWN_VISITS and known:
        _forget_visits(connection)
        _know_visits(connection, visits)
    elif new:
        utm = ", ".join(f"utm_{parameter}" for parameter in UTM_PARAMETERS)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE polku_new_visits AS SELECT *, {_number_sql(VISIT_KEY)} AS arrival FROM ("
            f"SELECT visit, {page_path_sql('page_url')} AS page_path, {arrival_url_sql('page_url')} AS page_url, "
            f"{arrival_referrer_sql('referrer')} AS referrer, {utm} FROM polku_unknown JOIN {visits} USING (n))"
        )
        _know_arrivals(connection)
        connection.execute(
            f"INSERT INTO {_KNOWN} BY NAME SELECT visit, page_path, {', '.join(_ARRIVAL_COLUMNS)} "
            f"FROM (SELECT visit, page_path, arrival FROM polku_new_visits) JOIN {_KNOWN_ARRIVALS} USING (arrival)"
        )


def _forget_visits(connection: duckdb.DuckDBPyConnection) -> None:
    for table, number, columns in (
        (_KNOWN, "visit", VISIT_COLUMNS),
        (_KNOWN_ARRIVALS, "arrival", _ARRIVAL_COLUMNS),
    ):
        described = ", ".join(f"{column} VARCHAR" for column in columns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({number} UHUGEINT, {described})")


def _know_arrivals(connection: duckdb.DuckDBPyConnection) -> None:
    """Ask the rules for the arrivals of new visits, if there are any that they were not asked for."""
    ((new,),) = connection.execute(
        "CREATE OR REPLACE TEMP TABLE polku_new_arrivals AS SELECT DISTINCT ON (arrival) * EXCLUDE (visit, page_path) "
        f"FROM polku_new_visits ANTI JOIN {_KNOWN_ARRIVALS} USING (arrival)"
    ).fetchall()
    if new:
        connection.execute(f"INSERT INTO {_KNOWN_ARRIVALS} BY NAME {_rules('polku_new_arrivals')}")


def _rules(arrivals: str) -> str:
    """The SELECT of what the rules say of arrivals."""
    utm = ", ".join(
        f"coalesce(utm_{parameter}, {utm_sql('page_url', parameter)}) AS utm_{parameter}"
        for parameter in UTM_PARAMETERS
    )
    completed = f"(SELECT arrival, page_url, {referrer_host_sql('referrer')} AS referrer_host, {utm} FROM {arrivals})"
    return f"SELECT * EXCLUDE (page_url) FROM ({with_marketing_channel(completed)})"


_SITE = "^(https?://[a-z0-9.-]+/)"


def arrival_url_sql(page_url: str) -> str:
    """A page's URL without what neither rules nor campaign values look at: the path, the values of click ids, and
    all that follows the site if there is neither campaign nor click id. What is no plain URL stays."""
    # Not beyond an `&` in the path or a `?` in a value: what looks like a click id there is taken for one. And not what
    # looks like one within another value.
    campaign = (
        f"regexp_replace(regexp_replace({page_url}, '{_SITE}[^?#&]*', '\\1'), "
        f"'((?:^[^?#]*[?]|&)(?:{_CLICK_NAMES})=)[^?&#]+', '\\1x', 'g')"
    )
    return (
        f"CASE WHEN contains({page_url}, 'utm_') OR regexp_matches({page_url}, '[?&](?:{_CLICK_NAMES})=[^&#]') "
        f"THEN {campaign} ELSE {arrival_referrer_sql(page_url)} END"
    )


def arrival_referrer_sql(referrer: str) -> str:
    """A referrer without its path: the rules look at its host alone. What is no plain URL stays."""
    return f"regexp_replace({referrer}, '(?s){_SITE}.*', '\\1')"


def with_marketing_channel(relation: str, table: str = LOOKUP_TABLE) -> str:
    """A SELECT of all columns of `relation` and `marketing_channel`, one row out for each row in.

    `relation` is a table name or a parenthesised query with the columns page_url, referrer_host, utm_source,
    utm_medium and utm_campaign, already completed from the URL. Row order is not kept.
    """
    signals = _columns(_SIGNALS)
    verdicts = _columns(_VERDICTS)
    hidden = ", ".join((*_SIGNALS, *_VERDICTS))
    joins = " ".join(join.format(table=table) for join in _JOINS)
    return (
        f"SELECT * EXCLUDE ({hidden}), {marketing_channel_sql()} AS marketing_channel "
        f"FROM (SELECT lines.*, {verdicts} FROM (SELECT *, {signals} FROM {relation}) AS lines {joins})"
    )


def marketing_channel_sql() -> str:
    """The CASE itself, over signals and verdicts; null where no visit is begun."""
    rules = " ".join(f"WHEN {condition} THEN {_literal(channel)}" for channel, condition in RULES)
    return f"CASE {rules} ELSE 'unassigned' END"


# Search engines, and the sites we list to keep a sub-domain of one from being taken for it.
_OWN_SUBDOMAINS_ONLY = frozenset({"search", "unknown", "other"})

# Click ids that ad platforms and mailers append, and what a visit with one is. fbclid and igshid are put on
# every link out of Facebook and Instagram, paid or not: they show the site, not the payment.
CLICK_IDS: Mapping[str, tuple[str, ...]] = {
    "paid_search": ("gclid", "gbraid", "wbraid", "msclkid", "yclid"),
    "display": ("dclid",),
    "paid_social": ("ttclid", "twclid", "li_fat_id", "rdt_cid", "ScCid"),
    "affiliates": ("irclickid", "cjevent", "awc", "ranSiteID"),
    "email": ("mc_eid", "_hsenc", "_kx", "vero_id", "ml_subscriber"),
    "organic_social": ("fbclid", "igshid", "igsh"),
}
_CLICK_NAMES = "|".join(name for names in CLICK_IDS.values() for name in names)


def _clicks_sql(page_url: str) -> str:
    """All click ids of a URL, as a list. One expression for all: each costs a millisecond a query to compile."""
    return f"regexp_extract_all({page_url}, '[?&]({_CLICK_NAMES})=[^&#]', 1)"


def _click_sql() -> str:
    """The channel the click ids stand for, the most telling one when there are several."""
    whens = " ".join(
        f"WHEN list_has_any(sig_clicks, [{', '.join(map(_literal, names))}]) THEN {_literal(channel)}"
        for channel, names in CLICK_IDS.items()
    )
    return f"CASE WHEN sig_clicks <> [] THEN CASE {whens} END END"


def _columns(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())


def _literal(text: str | None) -> str:
    return "NULL" if text is None else f"'{text}'"


def _plain(column: str) -> str:
    """How campaign values are compared: without case and outer blanks; empty and `(not set)` are absent."""
    return f"nullif(nullif(lower(trim({column})), ''), '(not set)')"


_PARENT = "substr(referrer_host, strpos(referrer_host, '.') + 1)"
_SIGNALS = {
    "sig_medium": _plain("utm_medium"),
    "sig_source": _plain("utm_source"),
    "sig_campaign": _plain("utm_campaign"),
    "sig_clicks": _clicks_sql("page_url"),
    "sig_page_host": host_sql("page_url"),
    "sig_on_page": "page_url IS NOT NULL",
    "sig_host": "referrer_host",
    "sig_parent": _PARENT,
    "sig_grandparent": f"substr({_PARENT}, strpos({_PARENT}, '.') + 1)",
    # A search engine's own other front ends; its remaining sub-domains are no search.
    "sig_front_end": (
        "split_part(referrer_host, '.', 1) IN ('m', 'mobile', 'lite', 'html', 'search', 'lens', 'cn') "
        "OR contains(referrer_host, '.search.')"
    ),
    # What people put into utm_source is a name or a site, seldom with its www.
    "sig_named": ("nullif(regexp_replace(lower(trim(utm_source)), '^(?:https?://)?(?:www[.])?([^/]*)/?$', '\\1'), '')"),
}
# `name` is unique in the lookup, so no join can multiply rows.
_JOINS = (
    "LEFT JOIN {table} AS site ON site.name = lines.sig_host",
    "LEFT JOIN {table} AS parent ON parent.name = lines.sig_parent "
    "AND (parent.subdomains OR (parent.category = 'search' AND lines.sig_front_end))",
    "LEFT JOIN {table} AS grandparent ON grandparent.name = lines.sig_grandparent AND grandparent.subdomains",
    "LEFT JOIN {table} AS named ON named.name = lines.sig_named",
)

# Said once and looked at by many rules.
_VERDICTS = {
    "sig_click": _click_sql(),
    "sig_bare": (
        "sig_source IS NULL AND sig_medium IS NULL AND sig_campaign IS NULL AND (sig_clicks IS NULL OR sig_clicks = [])"
    ),
    # The site that sent the visit: the one the campaign names, else the referring one.
    "sig_category": (
        "CASE WHEN sig_source IS NULL THEN coalesce(site.category, parent.category, grandparent.category) "
        "ELSE named.category END"
    ),
    "sig_paid": (
        "contains(sig_medium, 'cp') OR starts_with(sig_medium, 'paid') OR sig_medium IN ('ppc', 'retargeting')"
    ),
    "sig_shopping": "regexp_matches(sig_campaign, '([^a-df-z]|^)shop|shopping')",
    "sig_internal": (
        "sig_host = sig_page_host OR ends_with(sig_host, '.' || sig_page_host) "
        "OR ends_with(sig_page_host, '.' || sig_host)"
    ),
}


def _category(name: str) -> str:
    return f"sig_category = {_literal(name)}"


def _click(channel: str) -> str:
    """A click id speaks where the link's author did not."""
    return f"(sig_medium IS NULL AND sig_click = {_literal(channel)})"


def _medium(*values: str) -> str:
    return f"sig_medium IN ({', '.join(_literal(value) for value in values)})"


_EMAIL = ("email", "e-mail", "e_mail", "e mail", "newsletter")
_OFFLINE = (
    *("offline", "print", "direct-mail", "direct_mail", "direct mail", "mailer", "postcard", "letter"),
    *("catalog", "catalogue", "leaflet", "flyer", "poster", "qr", "qr-code", "qr_code", "qrcode"),
    *("tv", "radio", "outdoor", "billboard", "in-store", "in_store", "store", "event"),
)

# First match wins. docs/enrichment.md has the same list in words; a test compares the two.
RULES: tuple[tuple[str | None, str], ...] = (
    (None, "sig_bare AND sig_internal"),
    (None, "sig_bare AND sig_host IS NULL AND NOT sig_on_page"),
    ("direct", "sig_bare AND sig_host IS NULL"),
    (
        "direct",
        "sig_source IN ('(direct)', 'direct') AND (sig_medium IS NULL OR sig_medium IN ('(none)', 'none'))",
    ),
    ("cross_network", "contains(sig_campaign, 'cross-network') OR sig_medium = 'cross-network'"),
    ("paid_shopping", f"({_category('shopping')} OR sig_shopping) AND sig_paid"),
    ("paid_search", f"{_category('search')} AND sig_paid"),
    ("paid_social", f"{_category('social')} AND sig_paid"),
    ("paid_video", f"{_category('video')} AND sig_paid"),
    ("paid_video", f"{_category('video')} AND {_click('paid_search')}"),
    ("paid_search", _click("paid_search")),
    ("paid_social", _click("paid_social")),
    ("display", _medium("display", "banner", "expandable", "interstitial", "cpm")),
    ("display", f"{_click('display')} OR (sig_medium IS NULL AND {_category('paid')})"),
    ("paid_other", "sig_paid"),
    ("email", f"{_medium(*_EMAIL)} OR (sig_source IN ({', '.join(map(_literal, _EMAIL))}))"),
    ("sms", "sig_source IN ('sms', 'mms') OR " + _medium("sms", "mms")),
    ("push", "sig_source = 'firebase' OR ends_with(sig_medium, 'push') OR contains(sig_medium, 'notification')"),
    ("affiliates", _medium("affiliate", "affiliates")),
    ("audio", _medium("audio", "podcast")),
    ("offline", _medium(*_OFFLINE)),
    ("organic_shopping", f"{_category('shopping')} OR sig_shopping"),
    (
        "organic_social",
        f"{_category('social')} OR "
        + _medium("social", "social-network", "social-media", "sm", "social network", "social media"),
    ),
    ("organic_video", f"{_category('video')} OR contains(sig_medium, 'video')"),
    ("organic_search", f"{_category('search')} OR {_medium('organic')}"),
    ("ai_assistant", _category("ai_assistant")),
    ("email", f"{_category('email')} OR {_click('email')}"),
    ("affiliates", _click("affiliates")),
    ("organic_social", _click("organic_social")),
    ("referral", _medium("referral", "app", "link")),
    ("referral", "sig_source IS NULL AND sig_medium IS NULL AND sig_host IS NOT NULL"),
)
