"""What is taken from a request, and what never is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polku
from polku.middleware.asgi import route_of
from polku.middleware.request import Options, Seen, binding, is_excluded, options_from, seen_in_environ

PAGE = Seen(scheme="https", path="/cart", query="", headers={"host": "shop.example"})


def seen(path: str = "/cart", query: str = "", scheme: str = "https", **headers: str) -> Seen:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Seen(scheme=scheme, path=path, query=query, headers={"host": "shop.example", **named})


def bound(of: Seen, **options: Any) -> dict[str, Any]:
    return dict(binding(of, Options(**options)))


def test_a_request_says_where_somebody_is() -> None:
    assert bound(seen()) == {"page": {"path": "/cart", "url": "https://shop.example/cart"}}


def test_paths_are_written_as_a_browser_writes_them() -> None:
    assert bound(seen("/mökki/a b"))["page"]["path"] == "/m%C3%B6kki/a%20b"


def test_ids_come_from_headers_then_from_cookies() -> None:
    cookie = "other=1; polku_id=a-1; sid=s-1"
    assert bound(seen(cookie=cookie))["anonymous_id"] == "a-1"
    assert "session_id" not in bound(seen(cookie=cookie))
    assert bound(seen(cookie=cookie), session_cookie="sid")["session_id"] == "s-1"
    assert bound(seen(cookie=cookie), anonymous_cookie="other")["anonymous_id"] == "1"
    assert "anonymous_id" not in bound(seen(cookie=cookie), anonymous_cookie=None)
    both = bound(seen(cookie=cookie, x_polku_anonymous_id="a-2", x_polku_session_id="s-2"), session_cookie="sid")
    assert (both["anonymous_id"], both["session_id"]) == ("a-2", "s-2")


@pytest.mark.parametrize("odd", ["", " ", "a b", "a;b", "ä", "<script>", "a" * 129, '"a"', "a\x00"])
def test_what_does_not_look_like_an_id_is_none(odd: str) -> None:
    told = bound(seen(cookie=f"polku_id={odd}", x_polku_anonymous_id=odd, x_polku_session_id=odd))
    assert "session_id" not in told
    assert told.get("anonymous_id") in (None, "a"), "a cookie ends at the semicolon"


def test_of_a_query_only_the_campaign_is_read() -> None:
    query = "token=SECRET&utm_source=news&utm_medium=mail&utm_campaign=a+b&utm_term=t&utm_content=c&utm_source=late"
    told = bound(seen(query=query))
    assert told["campaign"] == {"source": "news", "medium": "mail", "name": "a b", "term": "t", "content": "c"}
    assert told["page"]["url"] == "https://shop.example/cart"
    assert "SECRET" not in str(told)


def test_named_parameters_stay_in_the_address() -> None:
    told = bound(seen(query="token=SECRET&gclid=g%261&a=1"), query_parameters=("gclid",))
    assert told["page"]["url"] == "https://shop.example/cart?gclid=g%261"


def test_a_referrer_is_told_without_query_fragment_and_password() -> None:
    told = bound(seen(referer="https://me:SECRET@news.example:81/story?q=SECRET#SECRET"))
    assert told["page"]["referrer"] == "https://news.example:81/story"
    for odd in ("about:blank", "javascript:alert(1)", "//x/y", "https://[", "android-app://x"):
        assert "referrer" not in bound(seen(referer=odd))["page"]


def test_what_a_script_asks_for_is_told_of_the_page_it_stands_on() -> None:
    asked = {"sec_fetch_dest": "empty", "path": "/api/cart", "query": "token=SECRET"}
    told = bound(seen(referer="https://shop.example/cart?utm_source=news&t=SECRET", **asked))
    assert told == {"page": {"path": "/cart", "url": "https://shop.example/cart"}, "campaign": {"source": "news"}}
    assert bound(seen(referer="https://www.example/", **asked)) == {}
    assert bound(seen(**asked)) == {}


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("fi-FI,fi;q=0.9", "fi-FI"),
        ("de;q=0.8", "de"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("*", None),
        ("", None),
        ("ä", None),
    ],
)
def test_the_locale_is_the_first_language(header: str, locale: str | None) -> None:
    assert bound(seen(accept_language=header)).get("locale") == locale


def test_long_texts_are_cut() -> None:
    told = bound(seen("/" + "a" * 9_000, user_agent="U" * 9_000, query="utm_source=" + "s" * 9_000))
    assert all(len(text) <= 1_024 for text in (*told["page"].values(), told["user_agent"], *told["campaign"].values()))


texts = st.text(max_size=60)
headers = st.dictionaries(
    st.sampled_from(("host", "cookie", "referer", "user-agent", "accept-language", "sec-fetch-dest")),
    texts | st.sampled_from(("empty", "http://[", "https://a/?b", "polku_id=", "a" * 2_000)),
)


@given(texts, texts, headers)
def test_no_request_makes_it_raise_and_all_it_says_can_be_sent(path: str, query: str, given_headers: Any) -> None:
    told = binding(Seen(scheme="http", path=path, query=query, headers=given_headers), Options())
    transport = polku.MemoryTransport()
    client = polku.Client("key", "http://c", transport=transport)
    with polku.scope(**told):
        client.track("seen")
    assert client.flush()
    assert len(transport.events) == 1
    client.close()


@given(st.text(st.characters(codec="latin-1")), texts)
def test_no_environ_makes_it_raise(path: str, query: str) -> None:
    environ = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": path, "HTTP_COOKIE": path, "HTTP_REFERER": query}
    binding(seen_in_environ(environ), Options())


def test_an_environ_holds_the_path_as_bytes_in_disguise() -> None:
    path = "/mökki".encode().decode("latin-1")
    assert seen_in_environ({"SCRIPT_NAME": "/shop", "PATH_INFO": path}).path == "/shop/mökki"


def test_excluded_paths_are_excluded_with_all_below() -> None:
    assert is_excluded("/healthz", ["/healthz"])
    assert is_excluded("/static/x.css", ["/healthz", "/static/"])
    assert not is_excluded("/healthzoo", ["/healthz"])
    assert not is_excluded("/", ["/healthz"])


@pytest.mark.parametrize(
    "wrong", [{"trackrequests": True}, {"exclude": "/x"}, {"user_of": 3}, {"client": "c"}, {"track_requests": "yes"}]
)
def test_wrong_options_are_told_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(polku.SettingsError):
        options_from(wrong)


class Route:
    def __init__(self, path_format: str) -> None:
        self.path_format = path_format


@pytest.mark.parametrize(
    ("scope", "template"),
    [
        ({}, None),
        ({"route": object()}, None),
        ({"route": Route("/o/{id}"), "path_params": {"id": 1}}, "/o/{id}"),
        ({"route": Route("/o/{id}"), "path_params": {"t": "a", "id": 1}, "root_path": "/x/t/a"}, "/t/{t}/o/{id}"),
        # The mount's number was written as 007: its template cannot be told, and the path itself never is.
        ({"route": Route("/o"), "path_params": {"t": 7}, "root_path": "/x/t/007"}, "/o"),
    ],
)
def test_a_template_is_told_and_never_a_path(scope: dict[str, Any], template: str | None) -> None:
    assert route_of(scope, "/x") == template
