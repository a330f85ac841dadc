"""What the columns of an event tell beyond their text: device and browser, page path, referring host, UTM
values.

User agents are resolved once per distinct string, in Python over compiled Rust matchers; everything taken
from a URL is a DuckDB expression, so that it runs on whole columns. Marketing channels are in `channels`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Literal

import pyarrow as pa
from msgspec import Struct

Device = Literal["desktop", "mobile", "tablet", "tv", "bot", "other"]

# A resolved user agent is about 300 bytes with its key: a full cache is about 30 MB.
DEFAULT_CACHED_AGENTS = 100_000
# Real ones end by about 400 characters. Longer ones are cut, so that nobody can buy regex time with a header.
MAX_USER_AGENT_CHARACTERS = 1_000

# Libraries and proxies through which honest events come (server SDKs, mobile apps, a CDN that replaces the
# header). The crawler list has them because it looks at page requests; an event sent by one of them is no
# robot's visit.
_CLIENTS_NOT_BOTS = frozenset(
    {
        *("[wW]get", "^curl", "^PHP-Curl-Class", "^HTTPie\\/"),
        *("Python-urllib", "python-requests", "aiohttp", "httpx"),
        *("okhttp", "AHC\\/", "^Apache-HttpClient", "Jetty", "HttpUrlConnection", "CustomAsyncHttpClient"),
        *("axios", "node-fetch", "sindresorhus\\/got", "Go-http-client"),
        *("libwww-perl", "AnyEvent", "Pcore-HTTP", "Salesforce\\.com", "Amazon CloudFront"),
    }
)

# One browser, one name: whether it ran on a phone is told by `device`.
_BROWSER_NAMES = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Chrome WebView",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari WebView",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Edge Mobile": "Edge",
    "IE Mobile": "IE",
    "Opera Mobile": "Opera",
}
_OS_NAMES = {"Mac OS X": "macOS", "ATV OS X": "tvOS", "Web0S": "webOS"}

_DESKTOP_SYSTEMS = frozenset(
    {
        *(
            "Windows",
            "macOS",
            "Linux",
            "Chrome OS",
            "Ubuntu",
            "Debian",
            "Fedora",
            "Red Hat",
            "CentOS",
            "SUSE",
        ),
        *("Linux Mint", "Mandriva", "Slackware", "Gentoo", "Arch Linux", "Kubuntu", "Solaris"),
        *("FreeBSD", "OpenBSD", "NetBSD"),
    }
)
_MOBILE_SYSTEMS = frozenset(
    {
        *("iOS", "Android", "KaiOS", "HarmonyOS", "Windows Phone", "Windows Mobile", "BlackBerry OS"),
        *("Symbian OS", "Firefox OS", "Sailfish", "Bada", "MeeGo", "webOS", "Tizen", "watchOS", "Wear OS"),
    }
)
# Looked for in the lower-cased string: a joined regular expression of these words takes 30 µs, this takes 1.
_TV_WORDS = (
    *("smart-tv", "smarttv", "appletv", "apple tv", "tvos", "googletv", "google tv", "androidtv", "android tv"),
    *("hbbtv", "netcast", "nettv", "web0s", "roku", "crkey", "bravia", "viera", "aquosbrowser", "vidaa"),
    *("dlnadoc", "tv safari", "mibox"),
)
_FIRE_TV = re.compile(r"\baft[a-z]{1,5}\b")
_TABLET_WORDS = ("ipad", "tablet", "playbook", "kindle")
_CONSOLE_WORDS = ("playstation", "nintendo", "xbox")
_PHONE_WORDS = ("iphone", "ipod", "mobile", "phone")


class Agent(Struct, frozen=True):
    """What a user agent string says. `os` and `browser` are None when it does not say."""

    device: Device
    os: str | None
    browser: str | None
    is_bot: bool


_SILENT = Agent(device="other", os=None, browser=None, is_bot=False)


class UserAgents:
    """Resolves user agent strings, each distinct one once while it stays among the last `max_entries` seen.

    The first one takes about a third of a second (some 2,700 patterns are compiled): make one a process, and `prepare`
    it where nobody waits.
    """

    def __init__(self, max_entries: int = DEFAULT_CACHED_AGENTS) -> None:
        self._max_entries = max_entries

    @cached_property
    def _resolve(self) -> Callable[[str], Agent]:
        return lru_cache(maxsize=self._max_entries)(_resolver())

    def prepare(self) -> None:
        """Compile the patterns now."""
        _ = self._resolve

    def resolve(self, distinct: Sequence[str]) -> list[Agent]:
        """One Agent per string, in the order given. Never raises: what cannot be read is `other`."""
        return [self._resolve(user_agent) for user_agent in distinct]

    def table(self, distinct: Sequence[str]) -> pa.Table:
        """The same as an Arrow table to join with: user_agent, device, os, browser, is_bot."""
        agents = self.resolve(distinct)
        return pa.table(
            {
                "user_agent": pa.array(distinct, pa.string()),
                "device": pa.array([agent.device for agent in agents], pa.string()),
                "os": pa.array([agent.os for agent in agents], pa.string()),
                "browser": pa.array([agent.browser for agent in agents], pa.string()),
                "is_bot": pa.array([agent.is_bot for agent in agents], pa.bool_()),
            }
        )


def page_path_sql(url: str) -> str:
    """The path of a page URL, as written (not percent-decoded); `/` for a bare host, null for what is no URL.

    `url` is an SQL expression, as in every `…_sql` function here; it is repeated, so pass a column.
    """
    # Tried: the first, simple pattern takes 0.2 µs a row, the one that knows every shape 1.4 µs.
    common = f"regexp_extract({url}, '^https?://[a-z0-9.-]+(/[^?#]*)', 1)"
    bare_host = f"regexp_matches({url}, '{_START}{_SCHEME}?//[^/?#]+(?:[?#]|$)')"
    any_shape = f"regexp_extract({url}, '{_START}(?:{_SCHEME}?//[^/?#]*|)(/[^?#]*)', 1)"
    return f"coalesce(nullif({common}, ''), CASE WHEN {bare_host} THEN '/' ELSE nullif({any_shape}, '') END)"


def host_sql(url: str) -> str:
    """The host of a URL: lower case, without `www.`, user, port and final dot; null when there is none."""
    common = f"regexp_replace(regexp_extract({url}, '^https?://([a-z0-9.-]+)/', 1), '^www[.]', '')"
    any_shape = (
        f"lower(regexp_extract({url}, "
        f"'{_START}{_SCHEME}?//(?:[^/?#]*@)?(?:[wW]{{3}}[.])?({_HOST})(?::[0-9]*)?(?:[/?#]|$)', 1))"
    )
    return f"nullif(rtrim(coalesce(nullif({common}, ''), {any_shape}), '.'), '')"


def referrer_host_sql(referrer: str) -> str:
    """The host a visit came from. Apps are named as the browser names them (`com.google.android.gm`)."""
    return host_sql(referrer)


UTM_PARAMETERS = ("source", "medium", "campaign", "term", "content")


def utm_sql(url: str, parameter: str) -> str:
    """The first `utm_<parameter>` of a URL's query, decoded and trimmed; null when absent or empty.

    Where the client sent a campaign context, that one goes first: `coalesce(utm_source, utm_sql(…))`.
    """
    if parameter not in UTM_PARAMETERS:
        raise ValueError(f"no such campaign parameter: {parameter!r}")
    return query_value_sql(url, f"utm_{parameter}")


def query_value_sql(url: str, name: str) -> str:
    """The first value of a query parameter, decoded (`+` is a space), trimmed; null when absent or empty.

    A value whose bytes are not UTF-8 when decoded stays as it is written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ValueError(f"not a plain parameter name: {name!r}")
    raw = f"replace(regexp_extract({url}, '^[^?#]*[?](?:[^#]*?&)??{name}=([^&#]*)', 1), '+', ' ')"
    decoded = f"coalesce(try(url_decode({raw})), {raw})"
    # The test for the bare text first: most URLs carry no campaign, and `contains` is far cheaper than a
    # regex.
    return f"CASE WHEN contains({url}, '{name}=') THEN nullif(trim(replace({decoded}, chr(0), ''), {_BLANKS}), '') END"


# Browsers and urllib alike ignore blanks and control characters before a URL.
_START = r"^[\x00-\x20]*"
_SCHEME = r"(?:[a-zA-Z][a-zA-Z0-9+.\-]*:)"
# RE2 in an SQL literal: the doubled quote is one quote.
_HOST = r"[^/?#:@\[\]\\%<>\"''`{|}\x00-\x20\x7f]+|\[[0-9a-fA-F:.]+\]"
_BLANKS = "' ' || chr(9) || chr(10) || chr(13)"


def _resolver() -> Callable[[str], Agent]:
    # Imported here: loading the pattern base costs every importer 0.3 s otherwise, tests and commands
    # included.
    from ua_parser import Domain, load_lazy_builtins
    from ua_parser.regex import Resolver

    parse = Resolver(load_lazy_builtins())
    is_crawler = _crawler_check()

    def resolve(user_agent: str) -> Agent:
        text = user_agent[:MAX_USER_AGENT_CHARACTERS].strip()
        if not text:
            return _SILENT
        # A lone surrogate cannot enter Rust.
        text = text.encode("utf-8", "replace").decode()
        found = parse(text, Domain.ALL)
        browser = found.user_agent.family if found.user_agent else None
        system = found.os.family if found.os else None
        system = _OS_NAMES.get(system, system) if system else None
        browser = _BROWSER_NAMES.get(browser, browser) if browser else None
        brand = (found.device.brand if found.device else None) or ""
        is_bot = is_crawler(text) or brand == "Spider"
        device: Device = "bot" if is_bot else _device(text, system, brand)
        return Agent(device=device, os=system, browser=browser, is_bot=is_bot)

    return resolve


def _device(text: str, system: str | None, brand: str) -> Device:
    """The order matters: televisions and tablets name the phone system they run on."""
    lowered = text.lower()

    def says(words: tuple[str, ...]) -> bool:
        return any(word in lowered for word in words)

    is_fire_tv = "aft" in lowered and _FIRE_TV.search(lowered)
    if brand == "Generic_Inettv" or says(_TV_WORDS) or is_fire_tv or (system == "Tizen" and " tv" in lowered):
        return "tv"
    if says(_CONSOLE_WORDS):
        return "other"
    is_phone = says(_PHONE_WORDS)
    if system in _DESKTOP_SYSTEMS and not (system == "Linux" and is_phone):
        return "desktop"
    if brand == "Generic_Android_Tablet" or says(_TABLET_WORDS) or ("silk/" in lowered and not is_phone):
        return "tablet"
    # A browser on an Android phone says Mobile, on a tablet it does not. Apps (Dalvik, okhttp) never say it.
    if system == "Android" and text.startswith("Mozilla/") and not is_phone:
        return "tablet"
    return "mobile" if system in _MOBILE_SYSTEMS or is_phone else "other"


def _crawler_check() -> Callable[[str], bool]:
    """One pass over all crawler patterns: 3 µs a string, where one joined `re` alternation takes 620 µs.

    ua-parser's Rust extractor prefilters its patterns by their literal parts; it is given the crawler list
    here. A later list may hold a pattern that Rust does not know (look-around): those few go through `re`.
    """
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    patterns = [entry["pattern"] for entry in CRAWLER_USER_AGENTS_DATA]
    return _any_pattern(pattern for pattern in patterns if pattern not in _CLIENTS_NOT_BOTS)


def _any_pattern(patterns: Iterable[str]) -> Callable[[str], bool]:
    import ua_parser_rs

    def extractor(group: Sequence[str]) -> ua_parser_rs.UserAgentExtractor:
        return ua_parser_rs.UserAgentExtractor((pattern, "bot", None, None, None, None) for pattern in group)

    fast, slow = list(patterns), []
    try:
        matcher = extractor(fast)
    except Exception:  # whatever the extension raises for a pattern it cannot compile
        remaining, fast = fast, []
        for pattern in remaining:
            try:
                extractor([pattern])
                fast.append(pattern)
            except Exception:
                slow.append(re.compile(pattern))
        matcher = extractor(fast)

    def matches(text: str) -> bool:
        return matcher.extract(text) is not None or any(pattern.search(text) for pattern in slow)

    return matches
