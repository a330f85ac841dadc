"""What a request says of who sent it and from where, as the arguments of `polku.scope`. Pure.

Everything here comes from the other side: ids are taken only if they look like ids, and nobody becomes a user by what
a request claims. Of a query only campaigns are read, and what the options name; fragments and passwords never.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import msgspec

from polku.context import Binding
from polku.errors import SettingsError

ANONYMOUS_HEADER = "x-polku-anonymous-id"
SESSION_HEADER = "x-polku-session-id"
HEADERS = frozenset(
    (
        *("host", "cookie", "referer", "user-agent", "accept-language", "sec-fetch-dest"),
        *(ANONYMOUS_HEADER, SESSION_HEADER),
    )
)
"""All that is looked at, in lower case."""

MAX_TEXT = 1_024
"""Longer texts are cut: they describe an event and do not make it."""
MAX_QUERY_FIELDS = 100
"""A query of more fields is not read."""

# The same as the collector puts into a cookie.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_UTM = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}
_IN_PATHS = "/:@!$&'()*+,;=~"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of every middleware."""

    client: Any = None
    """The `polku.Client` that tracks requests; without one it is that of `polku.configure`."""
    user_of: Any = None
    """Called with the request (Django), scope (ASGI) or environ (WSGI): the id of who is signed in, or None."""
    anonymous_cookie: str | None = "polku_id"
    """The cookie with the anonymous id, as the browser SDK and the collector set it."""
    session_cookie: str | None = None
    """A cookie with the session's id, if there is one."""
    query_parameters: tuple[str, ...] = ()
    """What stays of the query in the page's address, such as `gclid`."""
    track_requests: bool = False
    """Whether each request of somebody known is an event."""
    request_event: str = "request_completed"
    """The name of that event."""
    exclude: tuple[str, ...] = ()
    """Paths that are not tracked, with all below them."""


def options_from(given: Mapping[str, Any]) -> Options:
    """Check the options of a middleware. Raises `SettingsError`."""
    try:
        options = msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        raise SettingsError([f"middleware: {error}"]) from None
    if options.user_of is not None and not callable(options.user_of):
        raise SettingsError(["middleware: option 'user_of' cannot be called"])
    if options.client is not None and not hasattr(options.client, "track"):
        raise SettingsError(["middleware: option 'client' is not a client"])
    return options


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at of a request."""

    scheme: str
    path: str
    """Without percent signs, from the root of the site."""
    query: str
    headers: Mapping[str, str]
    """Those of `HEADERS` that are there."""


def seen_in_environ(environ: Mapping[str, Any]) -> Seen:
    """The request in a WSGI environ, whose texts are bytes in disguise."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    given = {name: environ.get("HTTP_" + name.upper().replace("-", "_")) for name in HEADERS}
    return Seen(
        scheme=environ.get("wsgi.url_scheme", "http"),
        path=path.encode("latin-1", "replace").decode("utf-8", "replace"),
        query=environ.get("QUERY_STRING", ""),
        headers={name: value for name, value in given.items() if isinstance(value, str)},
    )


def binding(seen: Seen, options: Options) -> Binding:
    """What a request says, as the arguments of `polku.scope`; what it does not say is not among them."""
    headers = seen.headers
    cookies = headers.get("cookie", "")
    page, campaign = _page_and_campaign(seen, options)
    found: Binding = {
        "anonymous_id": _id(headers.get(ANONYMOUS_HEADER)) or _cookie(cookies, options.anonymous_cookie),
        "session_id": _id(headers.get(SESSION_HEADER)) or _cookie(cookies, options.session_cookie),
        "page": page,
        "campaign": campaign,
        "user_agent": headers.get("user-agent", "")[:MAX_TEXT],
        "locale": _locale(headers.get("accept-language", "")),
    }
    for name in [name for name, value in found.items() if not value]:
        del found[name]  # type: ignore[misc]  # a name of the dictionary
    return found


def is_excluded(path: str, excluded: Iterable[str]) -> bool:
    """Whether a path is one of those, or below one of them."""
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in excluded)


def _page_and_campaign(seen: Seen, options: Options) -> tuple[dict[str, str], dict[str, str]]:
    """Where the person is. What a script of a page asks for is no page: then it is the page it stands on."""
    host = seen.headers.get("host", "")
    before = _split(seen.headers.get("referer", ""))
    if seen.headers.get("sec-fetch-dest") == "empty":
        if before is None or before.netloc != host:
            return {}, {}
        fields = _fields(before.query)
        return _page(before.scheme, host, before.path, fields, options), _campaign(fields)
    fields = _fields(seen.query)
    page = _page(seen.scheme, host, quote(seen.path, safe=_IN_PATHS), fields, options)
    if before is not None:
        page["referrer"] = f"{before.scheme}://{before.netloc.rpartition('@')[2]}{before.path}"[:MAX_TEXT]
    return page, _campaign(fields)


def _page(scheme: str, host: str, path: str, fields: list[tuple[str, str]], options: Options) -> dict[str, str]:
    page = {"path": path[:MAX_TEXT]}
    if host:
        kept = urlencode([field for field in fields if field[0] in options.query_parameters])
        page["url"] = f"{scheme}://{host}{path}{'?' if kept else ''}{kept}"[:MAX_TEXT]
    return page


def _campaign(fields: list[tuple[str, str]]) -> dict[str, str]:
    # The first of a name, as the lake reads an address.
    return {_UTM[name]: value[:MAX_TEXT] for name, value in reversed(fields) if name in _UTM and value}


def _fields(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, max_num_fields=MAX_QUERY_FIELDS, errors="replace")
    except ValueError:
        return []


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.netloc else None


def _id(text: str | None) -> str | None:
    return text if text and _ID.fullmatch(text) else None


def _cookie(cookies: str, name: str | None) -> str | None:
    for pair in cookies.split(";") if name else ():
        key, _, value = pair.strip().partition("=")
        if key == name and _ID.fullmatch(value):
            return value
    return None


def _locale(languages: str) -> str | None:
    first = languages.partition(",")[0].partition(";")[0].strip()
    return first if _LOCALE.fullmatch(first) else None
