"""The cookie with the anonymous id: only with consent, only for pages that the source names, kept as it is."""

from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.errors import SettingsError
from polku_collector.intake.id_cookie import id_cookie
from polku_collector.intake.wire import parse_batch
from polku_collector.settings import IdCookie, load

from .world import GOOD, World

PAGE = {"origin": "https://shop.example"}


def item(consent: list[str] | None = None, **members: Any) -> dict[str, Any]:
    more = {} if consent is None else {"context": {"consent": consent}}
    return {**GOOD, "userId": None, **more, **members}


def send(world: World, *items: Any, cookie: str = "", key: str = "site-key", **options: Any) -> httpx.Response:
    headers = options.pop("headers", PAGE) | ({"cookie": cookie} if cookie else {})
    outer = options.pop("outer", {})
    return world.post({"batch": list(items), **outer}, key=key, headers=headers, **options)


def held(answer: httpx.Response) -> tuple[str, str] | None:
    """The cookie's value and age."""
    assert answer.status_code == 200
    header = answer.headers.get("set-cookie")
    if header is None:
        return None
    (morsel,) = SimpleCookie(header).values()
    assert morsel.key == "polku_id"
    assert (morsel["path"], morsel["samesite"], morsel["domain"]) == ("/", "Lax", "shop.example")
    assert morsel["secure"]
    assert not morsel["httponly"]
    return morsel.value, morsel["max-age"]


YEAR = str(365 * 86_400)


def test_with_consent_the_events_id_is_set_and_renewed(world: World) -> None:
    assert held(send(world, item(["analytics"], anonymousId="a-1"))) == ("a-1", YEAR)
    assert held(send(world, item(["analytics"], anonymousId="a-1"), cookie="polku_id=a-1")) == ("a-1", YEAR)
    assert held(send(world, item(["analytics"], anonymousId="a-2"), cookie="x=1; polku_id=a-1")) == ("a-2", YEAR)
    outer = {"context": {"consent": ["analytics"]}}
    assert held(send(world, item(anonymousId="a-1"), outer=outer)) == ("a-1", YEAR), "consent of the batch"


def test_without_consent_nothing_is_set(world: World) -> None:
    assert held(send(world, item(anonymousId="a-1"))) is None
    assert held(send(world, item([], anonymousId="a-1"))) is None
    assert held(send(world, item(["marketing"], anonymousId="a-1"))) is None
    outer = {"context": {"consent": ["analytics"]}}
    assert held(send(world, item(["marketing"], anonymousId="a-1"), outer=outer)) is None, "the item's own goes first"
    assert held(send(world, item(["analytics"], anonymousId="a-1"), key="web-key")) is None, "this source has no cookie"


def test_consent_that_is_taken_back_removes_the_cookie(world: World) -> None:
    answer = send(world, item(["analytics"], anonymousId="a"), item([], anonymousId="a"), cookie="polku_id=a")
    assert held(answer) == ("", "0")
    assert held(send(world, item(anonymousId="a"), cookie="polku_id=a")) is None, "nothing was said"


def test_an_event_without_an_id_gets_the_cookies_or_a_new_one(world: World) -> None:
    assert held(send(world, item(["analytics"]), item(), cookie="polku_id=a-1")) == ("a-1", YEAR)
    first, second = world.taken()
    assert isinstance(first, Line)
    assert first.anonymous_id == "a-1"
    assert isinstance(second, QuarantineLine), "this one has no consent"
    made = held(send(world, item(["analytics"]), item(["analytics"], anonymousId="")))
    assert made is not None
    assert made[0].startswith("made-")
    assert [line.anonymous_id for line in world.taken() if isinstance(line, Line)] == [made[0]] * 2


def test_beside_a_broken_event_the_same_is_done(world: World) -> None:
    assert held(send(world, None, item(["analytics"]), cookie="polku_id=a-1")) == ("a-1", YEAR)
    _, line = world.taken()
    assert isinstance(line, Line)
    assert line.anonymous_id == "a-1"


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "https://shop.example.evil.example", "*"])
def test_only_pages_of_the_named_origins_get_one(world: World, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    items = item(["analytics"]), item(["analytics"], anonymousId="a")
    answer = send(world, *items, headers=headers, cookie="polku_id=b")
    assert "set-cookie" not in answer.headers
    assert answer.status_code == (200 if origin is None else 403)
    if origin is None:
        assert isinstance(world.taken()[0], QuarantineLine), "and its cookie is not looked at"
    assert world.taken() == []


def test_credentials_are_allowed_to_a_named_origin_and_never_with_a_wildcard(world: World) -> None:
    answer = send(world, item(["analytics"], anonymousId="a"))
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize("value", ['"a"', "a b", "a;b", "ä", "a" * 129, "a\r\nset-cookie: x=1", "{}"])
def test_an_id_that_a_cookie_cannot_carry_is_not_put_into_one(value: str) -> None:
    body = parse_batch(b'{"batch":[{"anonymousId":"x","context":{"consent":["analytics"]}}]}')
    assert body.events is not None
    body.events[0].anonymous_id = value
    assert id_cookie(IdCookie(), body, b"", lambda: "new") is None


def test_a_cookie_that_is_not_ours_in_form_is_not_taken(world: World) -> None:
    made = held(send(world, item(["analytics"]), cookie="polku_id=<script>"))
    assert made is not None
    assert made[0].startswith("made-")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("cookie = {}", 'without "*"'),
        ('cors = ["https://a.example", "*"]\ncookie = {}', 'without "*"'),
        ('cors = ["https://a.example"]\ncookie = {name = "a;b"}', "name"),
        ('cors = ["https://a.example"]\ncookie = {domain = "a b"}', "domain"),
        ('cors = ["https://a.example"]\ncookie = {max_age_days = 401}', "400"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Any, lines: str, complaint: str) -> None:
    (tmp_path / "c.toml").write_text(f'[sources.web]\nkeys = ["k"]\n{lines}\n')
    with pytest.raises(SettingsError, match=complaint.replace("*", r"\*")):
        load(tmp_path / "c.toml", {}, {})
