"""The Django middleware under Django's own handlers: WSGI under wsgiref's server, ASGI under uvicorn."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

import polku
import polku.middleware.exchange
from tests.sdk.middleware import django_site as site
from tests.sdk.middleware.world import HEADERS, Browser, asgi, browser, wsgi

KNOWN = {"Cookie": "polku_id=a-1"}


@pytest.fixture(params=["wsgi", "asgi"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    site.sent.events.clear()
    site.first_is_there.clear()
    with wsgi(WSGIHandler()) if request.param == "wsgi" else asgi(ASGIHandler(), lifespan="off") as url:
        yield url


def test_events_of_a_request_say_who_and_where(url: str) -> None:
    browser.get(f"{url}/sync/o/5/?utm_source=news&token=SECRET", headers={**HEADERS, "X-User": "u-1"})
    (event,) = site.sent.named("seen")
    assert (event["userId"], event["anonymousId"]) == ("u-1", "a-cookie")
    assert event["context"] == {
        "page": {"path": "/sync/o/5/", "url": f"{url}/sync/o/5/", "referrer": "https://news.example/story"},
        "campaign": {"source": "news"},
        "userAgent": "Mozilla/5.0 (test)",
        "locale": "fi-FI",
    }


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_many_requests_at_once_do_not_mix(url: str, kind: str, count: int = 40) -> None:
    with Browser() as many, ThreadPoolExecutor(8) as pool:

        def request(number: int) -> None:
            headers = {"X-User": f"u-{number}", "Cookie": f"polku_id=a-{number}"}
            many.get(f"{url}/{kind}/o/{number}/", headers=headers).raise_for_status()

        list(pool.map(request, range(count)))
    events = [*site.sent.named("seen", count), *site.sent.named("request_completed", count)]
    assert len(events) == 2 * count
    for event in events:
        number = int(event["context"]["page"]["path"].split("/")[3])
        assert (event["userId"], event["anonymousId"]) == (f"u-{number}", f"a-{number}")
        properties = event["properties"]
        if event["event"] == "seen":
            assert properties == {"number": number}
        else:
            del properties["duration_ms"]
            route = f"/{kind}/o/<int:number>/"
            assert properties == {"method": "GET", "route": route, "status": 201, "view": number}
    assert polku.bound() == {}


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/old/name/", "^old/(?P<name>[a-z]+)/$", 200),
        ("/none", None, 404),
        ("/broken/", "/broken/", 500),
        ("/file/", "/file/", 200),
    ],
)
def test_a_request_is_tracked_with_its_pattern_and_status(url: str, path: str, route: str | None, status: int) -> None:
    assert browser.get(f"{url}{path}?token=SECRET", headers=KNOWN).status_code == status
    properties = site.sent.request()
    assert (properties.get("route"), properties["status"], "aborted" in properties) == (route, status, False)
    assert "SECRET" not in str(site.sent.events)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_streamed_body_passes_part_by_part_and_its_end_is_the_requests(
    url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.node.callspec.params["url"]
    # What is of the other kind than the server Django itself makes whole before it sends it.
    passes = (kind == "async") == (server == "asgi")
    if not passes:
        site.first_is_there.set()
    with browser.stream("GET", f"{url}/{kind}/stream/", headers=KNOWN) as answer:
        got = answer.iter_text()
        text = next(got)
        if passes:
            assert text == "first"
            assert site.sent.events == []
            site.first_is_there.set()
        assert text + "".join(got) == "firstsecond"
    properties = site.sent.request()
    assert (properties["status"], "aborted" in properties) == (200, False)
    assert {event["anonymousId"] for event in site.sent.events} == {"a-1"}
    assert len(site.sent.named("streamed")) == 1


def test_a_client_that_leaves_while_a_body_streams() -> None:
    site.sent.events.clear()
    with wsgi(WSGIHandler()) as url:
        with browser.stream("GET", f"{url}/endless/", headers=KNOWN) as answer:
            next(answer.iter_bytes())
        properties = site.sent.request()
    assert (properties["status"], properties["aborted"]) == (200, True)


def test_what_fails_of_ours_breaks_no_request_and_logs_nothing_personal(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polku.middleware.exchange, "_reporter", polku.middleware.exchange.Reporter())
    assert browser.get(f"{url}/sync/o/5/", headers={**KNOWN, "X-User": "broken"}).status_code == 201
    assert "user_of failed: ValueError" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_host_that_is_not_allowed_is_judged_by_django_alone(url: str) -> None:
    assert browser.get(f"{url}/old/x/", headers={**KNOWN, "Host": "evil.example"}).status_code == 200
    (event,) = site.sent.named("request_completed")
    assert event["context"]["page"] == {"path": "/old/x/"}
