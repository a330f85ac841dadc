"""The ASGI middleware in Starlette and FastAPI applications under uvicorn."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import websockets.sync.client
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

import polku
from polku.middleware.asgi import PolkuMiddleware
from tests.sdk.middleware.world import HEADERS, Browser, Sent, asgi, browser
from tests.sdk.waiting import wait_until

Endpoint = Callable[[Request], Any]


@contextlib.contextmanager
def serving(sent: Sent, endpoint: Endpoint, **options: Any) -> Iterator[str]:
    """A Starlette application with one endpoint everywhere."""
    options.setdefault("client", sent.client)
    app = Starlette(routes=[Route("/o/{id}", endpoint), Route("/{path:path}", endpoint, methods=["GET", "POST"])])
    app.add_middleware(PolkuMiddleware, **options)
    with asgi(app) as url:
        yield url


def user_in_header(scope: Any) -> str | None:
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


def test_events_of_a_request_say_who_and_where() -> None:
    sent = Sent()

    async def endpoint(request: Request) -> Response:
        sent.client.track("seen", {"price": 1})
        return PlainTextResponse("ok")

    with serving(sent, endpoint, user_of=user_in_header) as url:
        headers = {**HEADERS, "X-User": "u-1", "X-Polku-Session-Id": "s-1"}
        browser.get(f"{url}/cart?utm_source=news&token=SECRET", headers=headers)
    (event,) = sent.events
    assert (event["userId"], event["anonymousId"]) == ("u-1", "a-cookie")
    assert event["context"] == {
        "sessionId": "s-1",
        "page": {"path": "/cart", "url": f"{url}/cart", "referrer": "https://news.example/story"},
        "campaign": {"source": "news"},
        "userAgent": "Mozilla/5.0 (test)",
        "locale": "fi-FI",
    }
    assert event["properties"] == {"price": 1}


def test_a_user_may_be_asked_for_asynchronously() -> None:
    sent = Sent()

    async def user_of(scope: Any) -> int:
        await asyncio.sleep(0)
        return 7

    async def endpoint(request: Request) -> Response:
        sent.client.track("seen")
        return PlainTextResponse("ok")

    with serving(sent, endpoint, user_of=user_of) as url:
        browser.get(url)
    assert sent.events[0]["userId"] == "7"


def test_many_requests_at_once_do_not_mix(count: int = 120) -> None:
    """Each tracks in its coroutine, in a task, in a thread and after its answer, with others in between."""
    sent = Sent()

    async def endpoint(request: Request) -> Response:
        number = request.path_params["path"]

        async def aside() -> None:
            await asyncio.sleep(0.001)
            sent.client.track("seen", {"number": number, "by": "task"})

        sent.client.track("seen", {"number": number, "by": "coroutine"})
        task = asyncio.create_task(aside())
        await asyncio.to_thread(sent.client.track, "seen", {"number": number, "by": "thread"})
        if int(number) % 3 == 0:
            polku.bind(properties={"third": number})
        await task
        after = BackgroundTask(sent.client.track, "seen", {"number": number, "by": "background"})
        return PlainTextResponse("ok", background=after)

    with (
        serving(sent, endpoint, user_of=user_in_header, track_requests=True) as url,
        Browser(limits=httpx.Limits(max_connections=16), timeout=30) as browser,
        ThreadPoolExecutor(16) as pool,
    ):

        def request(number: int) -> None:
            ids = {"X-User": f"u-{number}", "X-Polku-Session-Id": f"s-{number}", "Cookie": f"polku_id=a-{number}"}
            browser.get(f"{url}/{number}", headers=ids).raise_for_status()

        list(pool.map(request, range(count)))
        sent.named("request_completed", count)
    events = sent.named("seen", 4 * count)
    assert len(events) == 4 * count
    for event in (*events, *sent.named("request_completed", count)):
        number = event["context"]["page"]["path"].removeprefix("/")
        assert event["properties"].get("number", number) == number
        assert event["userId"] == f"u-{number}"
        assert event["anonymousId"] == f"a-{number}"
        assert event["context"]["sessionId"] == f"s-{number}"
        late = event["properties"].get("by") in ("background", None)
        if late:
            assert event["properties"].get("third") == (number if int(number) % 3 == 0 else None)
    assert polku.bound() == {}


def test_a_request_is_tracked_with_its_route_status_and_duration() -> None:
    sent = Sent()

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("made", status_code=201)

    with serving(sent, endpoint, track_requests=True) as url:
        browser.get(f"{url}/o/SECRET?token=SECRET", headers={"Cookie": "polku_id=a-1"})
        properties = sent.request()
    duration = properties.pop("duration_ms")
    assert properties == {"method": "GET", "route": "/o/{id}", "status": 201}
    assert 0 < duration < 60_000


def test_requests_of_nobody_known_and_of_excluded_paths_are_not_tracked() -> None:
    sent = Sent()

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok")

    options = {"track_requests": True, "exclude": ["/healthz", "/static/"], "request_event": "request_served"}
    with serving(sent, endpoint, **options) as url, Browser() as browser:
        browser.get(f"{url}/nobody")
        for path in ("/healthz", "/static/x.css", "/shown"):
            browser.get(url + path, headers={"Cookie": "polku_id=a-1"})
        (event,) = sent.named("request_served")
    assert event["context"]["page"]["path"] == "/shown"


def test_templates_of_mounts_and_included_routers() -> None:
    sent = Sent()
    orders, tenants = APIRouter(prefix="/orders"), APIRouter(prefix="/t/{tenant}")

    @orders.get("/{order_id}")
    def order(order_id: int) -> int:
        return order_id

    tenants.include_router(orders)
    inner = FastAPI()
    inner.add_api_route("/x/{name}", lambda name: name)
    app = FastAPI()
    app.include_router(tenants, prefix="/api")
    app.mount("/inner", inner)

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok")

    deep = Mount("/deep", routes=[Route("/o/{id:int}", endpoint)])
    files = Mount("/files", StaticFiles(directory="tests"))
    app.mount("/shops/{shop}", Starlette(routes=[deep, files]))
    app.add_middleware(PolkuMiddleware, client=sent.client, track_requests=True)
    expected = {
        "/api/t/acme/orders/5": "/api/t/{tenant}/orders/{order_id}",
        "/api/t/acme/orders/no": "/api/t/{tenant}/orders/{order_id}",
        "/inner/x/y": "/inner/x/{name}",
        "/inner/none": None,
        "/shops/acme/deep/o/5": "/shops/{shop}/deep/o/{id}",
        "/shops/acme/files/none.txt": "/shops/{shop}/files/{path}",
        "/none": None,
    }
    with asgi(app) as url, Browser(headers={"Cookie": "polku_id=a-1"}) as browser:
        for path in expected:
            browser.get(url + path)
        events = sent.named("request_completed", len(expected))
    told = {event["context"]["page"]["path"]: event["properties"].get("route") for event in events}
    assert told == expected


def test_dependencies_of_fastapi_say_who_it_is() -> None:
    """An asynchronous one with `bind`, one in a thread with `bind_request`, for the endpoint and for the request."""
    sent = Sent()

    async def asynchronous() -> None:
        polku.bind(user_id="u-1")

    def threaded() -> None:
        polku.bind(properties={"lost": True})
        polku.bind_request(session_id="s-1")

    app = FastAPI()

    @app.get("/", dependencies=[Depends(asynchronous), Depends(threaded)])
    def endpoint() -> str:
        sent.client.track("seen")
        return "ok"

    app.add_middleware(PolkuMiddleware, client=sent.client, track_requests=True)
    with asgi(app) as url:
        browser.get(url)
        sent.named("request_completed")
    for event in sent.events:
        assert (event["userId"], event["context"]["sessionId"]) == ("u-1", "s-1")
        assert "lost" not in event.get("properties", {})


def test_exceptions_pass_untouched_and_are_tracked_as_500() -> None:
    sent = Sent()
    raised: list[BaseException] = []
    mine = RuntimeError("SECRET")

    class Outer:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except Exception as error:
                raised.append(error)
                raise

    async def endpoint(request: Request) -> Response:
        raise mine

    middleware = [Middleware(Outer), Middleware(PolkuMiddleware, client=sent.client, track_requests=True)]
    app = Starlette(routes=[Route("/x", endpoint)], middleware=middleware)
    with asgi(app) as url:
        assert browser.get(f"{url}/x", headers={"Cookie": "polku_id=a-1"}).status_code == 500
        properties = sent.request()
    assert raised == [mine]
    del properties["duration_ms"]
    assert properties == {"method": "GET", "route": "/x", "status": 500}
    assert "SECRET" not in str(sent.events)


@pytest.mark.parametrize("fails", ["user_of", "track", "binding"])
def test_what_fails_of_ours_breaks_no_request_and_logs_nothing_personal(
    fails: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent()

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("SECRET")

    monkeypatch.setattr("polku.middleware.exchange._reporter", polku.middleware.exchange.Reporter())
    options: dict[str, Any] = {"track_requests": True}
    if fails == "user_of":
        options["user_of"] = broken
    elif fails == "track":
        monkeypatch.setattr(sent.client, "track", broken)
    else:
        monkeypatch.setattr("polku.middleware.exchange.binding", broken)

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok")

    with serving(sent, endpoint, **options) as url:
        assert browser.get(url, headers={"Cookie": "polku_id=a-1"}).text == "ok"
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_streamed_body_passes_part_by_part_and_its_end_is_the_requests() -> None:
    sent = Sent()
    first_is_there = threading.Event()

    async def endpoint(request: Request) -> Response:
        async def parts() -> Any:
            yield "first"
            assert await asyncio.to_thread(first_is_there.wait, 20), "the first part was held back"
            sent.client.track("seen")
            yield "second"

        return StreamingResponse(parts())

    with serving(sent, endpoint, track_requests=True) as url:
        with browser.stream("GET", url, headers={"Cookie": "polku_id=a-1"}, timeout=30) as answer:
            got = answer.iter_text()
            assert next(got) == "first"
            assert [event["event"] for event in sent.events] == []
            first_is_there.set()
            assert "".join(got) == "second"
        properties = sent.request()
    assert (properties["status"], "aborted" in properties) == (200, False)
    assert {event["anonymousId"] for event in sent.events} == {"a-1"}


def test_a_client_that_leaves_while_a_body_streams() -> None:
    sent = Sent()
    done = threading.Event()

    async def endpoint(request: Request) -> Response:
        async def parts() -> Any:
            try:
                while True:
                    yield "x" * 1_000
                    await asyncio.sleep(0.01)
            finally:
                done.set()

        return StreamingResponse(parts())

    with serving(sent, endpoint, track_requests=True) as url:
        with browser.stream("GET", url, headers={"Cookie": "polku_id=a-1"}) as answer:
            next(answer.iter_bytes())
        assert done.wait(20)
        properties = sent.request()
    assert (properties["status"], properties["aborted"]) == (200, True)


def test_a_client_that_leaves_before_the_answer() -> None:
    sent = Sent()

    async def endpoint(request: Request) -> Response:
        await request.body()  # raises ClientDisconnect
        return PlainTextResponse("nobody gets it")

    with serving(sent, endpoint, track_requests=True) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as raw:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nCookie: polku_id=a-1\r\nContent-Length: 99\r\n\r\nhalf")
        properties = sent.request()
    assert (properties["status"], properties["aborted"]) == (499, True)


def test_sockets_say_who_as_well_and_lifespans_pass() -> None:
    sent = Sent()
    lived: list[str] = []

    async def socket_of(socket: WebSocket) -> None:
        await socket.accept()
        sent.client.track("said", {"text": await socket.receive_text()})
        await socket.send_text("heard")
        await socket.close()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        lived.append("up")
        yield
        lived.append("down")

    app = Starlette(routes=[WebSocketRoute("/live", socket_of)], lifespan=lifespan)
    app.add_middleware(PolkuMiddleware, client=sent.client, track_requests=True, user_of=user_in_header)
    with asgi(app) as url:
        address = url.replace("http", "ws") + "/live"
        with websockets.sync.client.connect(address, additional_headers={"X-User": "u-1"}) as live:
            live.send("hello")
            assert live.recv(20) == "heard"
        wait_until(lambda: len(sent.events) == 1, 20)
    assert lived == ["up", "down"]
    (event,) = sent.events
    assert (event["event"], event["userId"]) == ("said", "u-1")
    assert event["context"]["page"]["url"] == f"{url}/live"


def test_an_application_that_answers_nothing_is_a_500() -> None:
    sent = Sent()

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    with asgi(PolkuMiddleware(nothing, client=sent.client, track_requests=True), lifespan="off") as url:
        assert browser.get(url, headers={"Cookie": "polku_id=a-1"}).status_code == 500
        assert sent.request()["status"] == 500


def test_without_a_client_it_is_the_one_of_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    monkeypatch.setattr("polku.default._client", sent.client)

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok")

    with serving(sent, endpoint, client=None, track_requests=True) as url:
        browser.get(url, headers={"Cookie": "polku_id=a-1"})
        assert sent.request()["status"] == 200
