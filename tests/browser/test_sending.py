"""Events from real pages: beacons without a preflight, also while a page goes away; and the cookie with the id.

The collector and the pages have names of one site (`*.shop.test`) and of another, so that the browser's rules hold.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.collector.world import CollectorProcess, collector, rows, wait_until


class _Pages(BaseHTTPRequestHandler):
    """An empty page under every address."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>shop</title><p>A page."
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


CONFIG = """
[sources.web]
keys = ["web-key"]
channel = "web"

[sources.site]
keys = ["site-key"]
cors = ["PAGE"]
cookie = {domain = "shop.test", secure = false}

[sources.hidden]
keys = ["hidden-key"]
cors = ["PAGE"]
cookie = {name = "hidden_id", domain = "shop.test", secure = false, http_only = true}
"""


@pytest.fixture(scope="module")
def process(site: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    config = CONFIG.replace("PAGE", f"http://www.shop.test:{site}")
    with collector(tmp_path_factory.mktemp("collector"), config=config) as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


ITEM = {"type": "track", "event": "product_viewed", "anonymousId": "a-1", "properties": {"product_id": "p"}}


def batch(*ids: str, **members: Any) -> str:
    return json.dumps({"batch": [{**ITEM, "messageId": event_id, **members} for event_id in ids]})


def stored(process: CollectorProcess, prefix: str, count: int) -> list[tuple[Any, ...]]:
    """Ids of events that begin so, with whose they are, once there are as many."""

    def found() -> list[tuple[Any, ...]]:
        return [row for row in rows(process.lake, "events", "event_id, anonymous_id") if row[0].startswith(prefix)]

    wait_until(lambda: len(found()) >= count, 60, process.log)
    return sorted(found())


def collector_url(process: CollectorProcess) -> str:
    return f"http://events.shop.test:{process.port}"


def requests_of(page: Any) -> list[str]:
    """The methods of the requests to the collector, by the browser's own account: preflights too."""
    seen: list[str] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.requestWillBeSent", lambda event: seen.append(event["request"]["method"]))
    return seen


BEACONS = {
    "a text": "navigator.sendBeacon(url, body)",
    "a text of its own type": "navigator.sendBeacon(url, new Blob([body], {type: 'text/plain'}))",
    "a form": "navigator.sendBeacon(url, new URLSearchParams({data: body}))",
    "a form with base64": "navigator.sendBeacon(url, new URLSearchParams({data: btoa(body)}))",
    "bytes": "navigator.sendBeacon(url, new TextEncoder().encode(body))",
    "a fetch that outlives its page": "!!fetch(url, {method: 'POST', body, keepalive: true, mode: 'no-cors'})",
}


def test_a_beacon_of_another_site_arrives_without_a_preflight(page: Any, site: int, process: CollectorProcess) -> None:
    page.goto(f"http://elsewhere.test:{site}/")
    seen = requests_of(page)
    url = f"{collector_url(process)}/v1/batch?writeKey=web-key"
    for number, script in enumerate(BEACONS.values()):
        sent = page.evaluate(f"([url, body]) => {script}", [url, batch(f"b-{number}")])
        assert sent is True, script
    found = stored(process, "b-", len(BEACONS))
    assert found == [(f"b-{number}", "a-1") for number in range(len(BEACONS))]
    assert set(seen) == {"POST"}, "no preflight"


def test_an_answer_can_be_read_by_a_page_and_a_preflight_is_answered(
    page: Any, site: int, process: CollectorProcess
) -> None:
    page.goto(f"http://elsewhere.test:{site}/")
    url = f"{collector_url(process)}/v1/batch"
    script = """async ([url, body]) => (await fetch(url, {method: 'POST', body, headers: {
        'authorization': 'Bearer web-key', 'content-type': 'application/json'}})).json()"""
    assert page.evaluate(script, [url, batch("q-1")]) == {"success": True, "accepted": 1, "rejected": []}
    refused = page.evaluate(script.replace("web-key", "wrong"), [url, batch("q-2")])
    assert refused["error"] == "invalid_write_key"


def test_events_of_a_page_that_goes_away_arrive(page: Any, site: int, process: CollectorProcess) -> None:
    url = f"{collector_url(process)}/v1/batch?writeKey=web-key"
    for number, leave in enumerate((lambda: page.goto("about:blank"), lambda: page.close())):
        page.goto(f"http://elsewhere.test:{site}/")
        script = "([url, body]) => addEventListener('pagehide', () => navigator.sendBeacon(url, body))"
        page.evaluate(script, [url, batch(f"g-{number}")])
        leave()
    assert stored(process, "g-", 2) == [("g-0", "a-1"), ("g-1", "a-1")]


SEND = """async ([url, body]) => {
    const answer = await fetch(url, {method: 'POST', body, credentials: 'include'});
    return [answer.status, document.cookie];
}"""


def test_with_consent_a_page_of_the_same_site_has_the_cookie_set_by_the_collector(
    page: Any, site: int, process: CollectorProcess
) -> None:
    url = f"{collector_url(process)}/v1/batch?writeKey=site-key"
    page.goto(f"http://www.shop.test:{site}/")
    assert page.evaluate(SEND, [url, batch("c-1")]) == [200, ""]
    yes, no = {"context": {"consent": ["analytics"]}}, {"context": {"consent": []}}
    assert page.evaluate(SEND, [url, batch("c-2", **yes)]) == [200, "polku_id=a-1"]
    (cookie,) = page.context.cookies(f"http://www.shop.test:{site}/")
    assert (cookie["domain"], cookie["sameSite"], cookie["httpOnly"]) == (".shop.test", "Lax", False)
    renewed_from = cookie["expires"]
    nameless = {**yes, "anonymousId": None}
    assert page.evaluate(SEND, [url, batch("c-3", **nameless)]) == [200, "polku_id=a-1"]
    (cookie,) = page.context.cookies(f"http://www.shop.test:{site}/")
    assert cookie["expires"] >= renewed_from
    assert page.evaluate(SEND, [url, batch("c-4", **no)]) == [200, ""], "taken back"
    found = stored(process, "c-", 4)
    assert found == [(f"c-{number}", "a-1") for number in (1, 2, 3, 4)], "the third got its id from the cookie"


def test_a_beacon_has_it_too_and_a_script_does_not_see_it_if_told_so(
    page: Any, site: int, process: CollectorProcess
) -> None:
    url = f"{collector_url(process)}/v1/batch?writeKey=hidden-key"
    page.goto(f"http://www.shop.test:{site}/")
    yes = {"context": {"consent": ["analytics"]}, "anonymousId": None}
    page.evaluate("([url, body]) => navigator.sendBeacon(url, body)", [url, batch("j-1", **yes)])
    wait_until(lambda: page.context.cookies(f"http://www.shop.test:{site}/"), 30)
    (cookie,) = page.context.cookies(f"http://www.shop.test:{site}/")
    assert page.evaluate("document.cookie") == ""
    page.evaluate("([url, body]) => navigator.sendBeacon(url, body)", [url, batch("j-2", **yes)])
    assert stored(process, "j-", 2) == [("j-1", cookie["value"]), ("j-2", cookie["value"])]


def test_a_page_of_another_site_gets_no_cookie_and_sends_none(page: Any, site: int, process: CollectorProcess) -> None:
    url = f"{collector_url(process)}/v1/batch?writeKey=site-key"
    page.goto(f"http://www.shop.test:{site}/")
    yes = {"context": {"consent": ["analytics"]}}
    page.evaluate(SEND, [url, batch("o-1", **yes)])
    page.goto(f"http://elsewhere.test:{site}/")
    other = {**yes, "anonymousId": "evil"}
    page.evaluate("([url, body]) => navigator.sendBeacon(url, body)", [url, batch("o-2", **other)])
    stored(process, "o-", 2)
    assert [cookie["value"] for cookie in page.context.cookies()] == ["a-1"]


def test_an_image_of_a_page_is_an_event(page: Any, site: int, process: CollectorProcess) -> None:
    page.goto(f"http://elsewhere.test:{site}/")
    query = "writeKey=web-key&event=product_viewed&anonymousId=a-1&p.product_id=p&messageId=x-1"
    script = """url => new Promise(done => {
        const image = new Image(); image.onload = () => done([image.width, image.height]);
        image.onerror = () => done('broken'); image.src = url; })"""
    url = f"{collector_url(process)}/v1/pixel.gif"
    assert page.evaluate(script, f"{url}?{query}") == [1, 1]
    assert page.evaluate(script, f"{url}?writeKey=web-key&event=") == [1, 1], "a bad event is no broken image"
    assert page.evaluate(script, f"{url}?writeKey=wrong") == [1, 1], "nor is a wrong key"
    assert stored(process, "x-", 1) == [("x-1", "a-1")]
