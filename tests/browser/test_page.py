"""What docs/sdk-browser.md tells a reader to write, as it stands there, in Chromium against a real collector.

In a banner's place are a few lines that behave as the banner documents. The addresses of the page become those of the
collector and the site; `127.0.0.1:8080` and `events.example.com` are the collector.
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from polku_collector.browser_files import FOLDER
from polku_schemas import builtin_plan_path, load_plan
from polku_schemas.generate import typescript_source
from tests.browser import test_sdk
from tests.browser.test_sdk import kept, stored
from tests.browser.test_sdk_cases import SDK, node
from tests.collector.world import CollectorProcess, collector, rows, wait_until
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.reader import shows

PAGE = ROOT / "docs" / "sdk-browser.md"
BLOCKS = list(blocks_of(PAGE))
FILES = {block.argument: block.text for block in BLOCKS if block.verb == "file"}
# Each is used by the test that is named here.
TESTED = {
    "shop.html": "test_five_minutes",
    "site.html": "test_the_script_of_a_real_site",
    "module.html": "test_the_module",
    "spa.js": "test_pages_behind_the_hash_and_a_login",
    "router.js": "test_pages_that_a_router_names",
    "shop.ts": "test_typed_events_run",
    "consent.html": "test_a_banner",
    "tcf.js": "test_a_banner",
    "cookiebot.js": "test_a_banner",
    "onetrust.js": "test_a_banner",
    "ids.js": "test_an_event_of_the_server_is_of_the_person_and_the_session_of_the_page",
}
CONFIG = """
[sources.web]
keys = ["web-key", "dev"]
channel = "web"
"""


def test_every_block_that_a_page_would_hold_is_run() -> None:
    assert set(FILES) == set(TESTED)
    assert set(TESTED.values()) <= globals().keys() | vars(test_sdk).keys()
    for block in BLOCKS:
        if block.language in {"html", "js", "ts"}:
            assert block.verb == "file", f"{block.place}: no test runs this block"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with collector(tmp_path_factory.mktemp("collector"), config=CONFIG) as running:
        yield running


def here(text: str, process: CollectorProcess) -> str:
    """The text of the page with the test's collector in it."""
    return text.replace("http://127.0.0.1:8080", process.url).replace("https://events.example.com", process.url)


Show = Callable[..., Any]


@pytest.fixture
def show(browser: Any, process: CollectorProcess) -> Iterator[Show]:
    """Opens a page of a site of its own, in a window of its own; an error of a script fails the test."""
    files: dict[str, bytes] = {}

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path.partition("?")[0], files["/"])
            self.send_response(200)
            script = self.path.endswith((".js", ".mjs"))
            self.send_header("content-type", "text/javascript" if script else "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    errors: list[str] = []

    def opened(html: str, path: str = "/", **others: str) -> Any:
        files["/"] = here("<!doctype html><link rel=icon href=data:,>" + html, process).encode()
        files.update({f"/{name}": here(text, process).encode() for name, text in others.items()})
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}{path}")
        return page

    yield opened
    context.close()
    server.shutdown()
    assert errors == []


def script(name: str) -> str:
    return f"<script>{FILES[name]}</script>"


# The start of the page, with a key of the source; what `--dev` does more is not the SDK's.
def test_five_minutes(show: Show, process: CollectorProcess) -> None:
    (said,) = [block.text for block in BLOCKS if block.language == "text"]
    told: list[str] = []
    page = show(FILES["shop.html"], "/five")
    page.on("console", lambda message: told.append(message.text))
    page.click("text=A good event")
    page.click("text=A broken one")
    page.wait_for_function("polku.stats().delivered == 3")
    columns = "product_id, price, page_path"
    wait_until(lambda: ("sku-1", 79.9, "/five") in stored(process, "product_viewed", 1, columns), 60, process.log)
    wait_until(lambda: "/five" in [path for (path,) in stored(process, "page_viewed", 1, "page_path")], 60, process.log)
    wait_until(lambda: ("wrong_type",) in rows(process.lake, "quarantine", "code"), 60, process.log)
    assert shows("\n".join(told), said), told


def test_the_script_of_a_real_site(show: Show, process: CollectorProcess) -> None:
    show(FILES["site.html"], "/real")
    wait_until(lambda: "/real" in paths(process, "page_viewed"), 60, process.log)
    wait_until(lambda: "/real" in paths(process, "product_viewed"), 60, process.log)


def paths(process: CollectorProcess, name: str) -> list[str]:
    """On which pages an event happened."""
    return [path for (path,) in stored(process, name, 1, "page_path")]


def test_the_module(show: Show, process: CollectorProcess) -> None:
    page = show(FILES["module.html"], "/module")
    page.evaluate("dispatchEvent(new ErrorEvent('error', {message: 'broken', filename: '/a.js?secret', lineno: 7}))")
    found = stored(process, "script_failed", 1, "error_message, script_file, script_line")
    assert found == [("broken", "/a.js", 7)]
    assert "/module" in paths(process, "product_viewed")
    assert "only_here" not in [name for (name,) in rows(process.lake, "events", "event_name")]


def test_pages_behind_the_hash_and_a_login(show: Show, process: CollectorProcess) -> None:
    head = FILES["site.html"].splitlines()[0].replace("async ", "")
    page = show(head + script("spa.js"), "/hash")
    page.evaluate("location.hash = '#cart'")
    page.wait_for_function("polku.stats().queued + polku.stats().delivered >= 2")
    page.evaluate("loggedIn({id: 'u-42', email: 'aino@example.com'}), polku.track('in_account'), 0")
    page.evaluate("loggedOut(), polku.track('after_logout'), 0")
    assert stored(process, "in_account", 1, "user_id") == [("u-42",)]
    assert stored(process, "after_logout", 1, "user_id") == [(None,)]
    pages = stored(process, "page_viewed", 2, "page_path, page_name")
    assert [name for path, name in pages if path == "/hash"] == [None, "cart"]


def test_pages_that_a_router_names(show: Show, process: CollectorProcess) -> None:
    """As Vue's router: what is given to `afterEach` is called with the place after each navigation."""
    options = "data-options='{\"pages\": false}'"
    assert options in PAGE.read_text(encoding="utf-8")
    head = FILES["site.html"].splitlines()[0].replace("async ", f"{options} ")
    stub = "<script>const after = [], router = {afterEach: (then) => after.push(then)}</script>"
    page = show(head + stub + script("router.js"), "/router")
    page.evaluate("""history.pushState({}, '', '/router/socks'),
        after.forEach((then) => then({name: 'Socks', meta: {pageType: 'product'}}))""")
    wait_until(lambda: "/router/socks" in paths(process, "page_viewed"), 60, process.log)
    pages = stored(process, "page_viewed", 1, "page_path, page_name, page_type")
    assert [row for row in pages if row[0].startswith("/router")] == [("/router/socks", "Socks", "product")]


# Typed events --------------------------------------------------------------------------------------------------------

# What a compiler has to refuse, line by line, after the block of the page.
WRONG = """
// @ts-expect-error: no such event
shop.track("product_veiwed", { product_id: "sku-1" });
// @ts-expect-error: the price is a number
shop.track("product_viewed", { product_id: "sku-1", price: "a lot" });
// @ts-expect-error: its product is missing
shop.track("product_viewed", { price: 1 });
// @ts-expect-error: no such property
shop.track("product_viewed", { product_id: "sku-1", colour: "red" });
// @ts-expect-error: no such option of a call
shop.track("product_viewed", { product_id: "sku-1" }, { sessionID: "s" });
// @ts-expect-error: a call returns an id or nothing
const number: number = shop.track("logged_out");
const id: string | undefined = shop.track("logged_out");
// @ts-expect-error: no such storage
createClient("web-key", "https://events.example.com", { storage: "session" });
// @ts-expect-error: no such setting
createClient("web-key", "https://events.example.com", { batchAge: 1 });
// @ts-expect-error: the address is missing
createClient("web-key");
const other = createClient("k", "e", { consent: ["analytics"], onLoss: ({ reason, count }) => reason + count });
const told: Promise<boolean> = other.flush();
"""
STRICT = "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --target es2022 --module es2022"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name in ("polku.mjs", "polku.d.mts"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "events.ts").write_text(typescript_source(load_plan(builtin_plan_path())), encoding="utf-8")
    (tmp_path / "shop.ts").write_text(FILES["shop.ts"], encoding="utf-8")
    (tmp_path / "wrong.ts").write_text(FILES["shop.ts"] + WRONG, encoding="utf-8")
    return tmp_path


def compiled(sources: Path, name: str) -> None:
    compiler = str(SDK / "node_modules" / "typescript" / "lib" / "tsc.js")
    node(compiler, *STRICT.split(), "--moduleResolution", "bundler", name, folder=sources)


def test_the_compiler_takes_right_events_and_refuses_wrong_ones(sources: Path) -> None:
    """It is an error of its own if a line that has to be refused is not."""
    compiled(sources, "wrong.ts")


def test_typed_events_run(show: Show, process: CollectorProcess, sources: Path) -> None:
    compiled(sources, "shop.ts")
    modules = {name: (sources / name).read_text(encoding="utf-8") for name in ("shop.js", "events.js", "polku.mjs")}
    show("<script type=module src=/shop.js></script>", "/typed", **modules)
    wait_until(lambda: "/typed" in paths(process, "product_viewed"), 60, process.log)
    pages = stored(process, "page_viewed", 2, "page_path, page_name, page_type")
    assert ("/typed", "Home", "home") in pages


# Banners --------------------------------------------------------------------------------------------------------------

# What stands for a banner: it is there before the page's script, and `says` is a click on it.
BANNERS = {
    # https://github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework: a listener is called at
    # once, with each change of the status, and with purposes that are true or are not there.
    "tcf": """
        const listeners = [], tcData = (eventStatus, consents) => ({eventStatus, purpose: {consents}, listenerId: 1});
        window.__tcfapi = (command, version, then) => { listeners.push(then); then(tcData('cmpuishown', {}), true) };
        window.says = (yes) => listeners.forEach(
            (then) => then(tcData('useractioncomplete', yes ? {1: true, 8: true} : {1: true}), true));
    """,
    # https://www.cookiebot.com/en/developer: an event of the window, and the state in `Cookiebot.consent`.
    "cookiebot": """
        window.Cookiebot = {consent: {necessary: true, statistics: false}};
        window.says = (yes) => {
            Cookiebot.consent.statistics = yes;
            dispatchEvent(new Event(yes ? 'CookiebotOnAccept' : 'CookiebotOnDecline'));
        };
    """,
    # https://developer.onetrust.com: an event of the window with the active groups.
    "onetrust": """
        window.says = (yes) => dispatchEvent(
            new CustomEvent('OneTrustGroupsUpdated', {detail: yes ? ['C0001', 'C0002'] : ['C0001']}));
    """,
}


@pytest.mark.parametrize("early", [True, False], ids=["before the script is there", "after"])
@pytest.mark.parametrize("banner", BANNERS)
def test_a_banner(show: Show, process: CollectorProcess, banner: str, early: bool) -> None:
    path = f"/{banner}-{early}".lower()
    head = f"<script>{BANNERS[banner]}</script>" + script(f"{banner}.js")
    if early:  # an async script may come at any time: here it surely comes after the visitor's answer
        page = show(head, path)
        page.evaluate("says(true)")
        page.evaluate("(html) => document.body.append(document.createRange().createContextualFragment(html))",
                      here(FILES["consent.html"], process))  # fmt: skip
        page.wait_for_function("window.polku?.stats")
    else:
        page = show(head + FILES["consent.html"], path)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.wait_for_function("window.polku?.stats")
        page.evaluate("says(false)")
        page.evaluate("polku.flush()")
        assert kept(page) == [[], ""]
        assert [url for url in requests if "/v1/" in url] == []
        page.evaluate("says(true), polku.page()")
    wait_until(lambda: path in paths(process, "page_viewed"), 60, process.log)
    found = stored(process, "page_viewed", 1, "page_path, consent")
    assert [json.dumps(consent) for at, consent in found if at == path] == ['["analytics"]']
    page.evaluate("says(false)")
    assert kept(page) == [[], ""], "taken back"
