"""The WSGI middleware around Flask and around bare applications, under wsgiref's server and gunicorn."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import httpx
import pytest

import polku
from polku.middleware.wsgi import PolkuMiddleware
from tests.collector.world import free_port
from tests.sdk.middleware.world import HEADERS, Sent, browser, wsgi
from tests.sdk.waiting import wait_until

ROOT = Path(__file__).parents[3]
KNOWN = {"Cookie": "polku_id=a-1"}


def environ(**more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/x", "HTTP_COOKIE": "polku_id=a-1", "HTTP_HOST": "h", **more}


def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
    return lambda data: None


def wrapped(app: Any, **options: Any) -> tuple[PolkuMiddleware, Sent]:
    sent = Sent()
    return PolkuMiddleware(app, client=sent.client, track_requests=True, **options), sent


def flask_app(sent: Sent, **options: Any) -> flask.Flask:
    app = flask.Flask("shop")
    app.wsgi_app = PolkuMiddleware(app.wsgi_app, client=sent.client, **options)  # type: ignore[method-assign]
    return app


def test_events_of_a_flask_request_say_who_and_where() -> None:
    sent = Sent()
    app = flask_app(sent, user_of=lambda environ: environ.get("HTTP_X_USER"))

    @app.get("/cart/<name>")
    def cart(name: str) -> str:
        sent.client.track("seen", {"price": 1})
        return "ok"

    with wsgi(app) as url:
        answer = browser.get(f"{url}/cart/mökki?utm_source=news&token=SECRET", headers={**HEADERS, "X-User": "u-1"})
    assert answer.text == "ok"
    (event,) = sent.events
    path = "/cart/m%C3%B6kki"
    assert (event["userId"], event["anonymousId"]) == ("u-1", "a-cookie")
    assert event["context"] == {
        "page": {"path": path, "url": url + path, "referrer": "https://news.example/story"},
        "campaign": {"source": "news"},
        "userAgent": "Mozilla/5.0 (test)",
        "locale": "fi-FI",
    }


def test_requests_under_gunicorn_do_not_mix_and_are_tracked(collector: Any, count: int = 60) -> None:
    """Two processes of threads; what they track is delivered when they are told to stop."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--workers=2",
        "--threads=8",
        "--no-control-socket",
        f"--bind=127.0.0.1:{port}",
    ]
    variables = {**os.environ, "POLKU_WRITE_KEY": "key", "POLKU_ENDPOINT": collector.url}
    server = subprocess.Popen([*command, "tests.sdk.middleware.flask_app:app"], cwd=ROOT, env=variables)
    try:
        url = f"http://127.0.0.1:{port}"

        def is_up() -> bool:
            try:
                return browser.get(f"{url}/none").status_code == 404
            except httpx.TransportError:
                return False

        wait_until(is_up, 60)

        def request(number: int) -> None:
            headers = {"X-User": f"u-{number}", "Cookie": f"polku_id=a-{number}"}
            assert browser.get(f"{url}/o/{number}?token=SECRET", headers=headers).text == "ok"

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(request, range(count)))
    finally:
        server.terminate()
        assert server.wait(30) == 0
    events = collector.taken
    assert len(events) == 2 * count
    for event in events:
        number = int(event["context"]["page"]["path"].removeprefix("/o/"))
        assert (event["userId"], event["anonymousId"]) == (f"u-{number}", f"a-{number}")
        if event["event"] == "seen":
            assert event["properties"] == {"number": number}
        else:
            del event["properties"]["duration_ms"]
            assert event["properties"] == {"method": "GET", "route": "/o/<int:number>", "status": 200}
    assert "SECRET" not in str(events)


def test_a_streamed_body_passes_part_by_part_with_what_is_bound() -> None:
    sent = Sent()
    app = flask_app(sent, track_requests=True)
    first_is_there = threading.Event()

    @app.get("/")
    def stream() -> flask.Response:
        polku.bind(user_id="u-1")

        def parts() -> Any:
            yield "first"
            assert first_is_there.wait(20), "the first part was held back"
            polku.bind(properties={"late": True})
            yield "second"
            sent.client.track("seen")

        return flask.Response(flask.stream_with_context(parts()))

    with wsgi(app) as url:
        with browser.stream("GET", url, headers=KNOWN, timeout=30) as answer:
            got = answer.iter_text()
            assert next(got) == "first"
            assert sent.events == []
            first_is_there.set()
            assert "".join(got) == "second"
        properties = sent.request()
    assert (properties["route"], properties["status"], properties["late"]) == ("/", 200, True)
    assert "aborted" not in properties
    for event in sent.events:
        assert (event["userId"], event["anonymousId"]) == ("u-1", "a-1")


def test_a_client_that_leaves_while_a_body_streams() -> None:
    sent = Sent()
    app = flask_app(sent, track_requests=True)
    closed = threading.Event()

    @app.get("/")
    def stream() -> flask.Response:
        def parts() -> Any:
            try:
                while True:
                    yield "x" * 100_000
            finally:
                sent.client.track("closed")
                closed.set()

        return flask.Response(parts())

    with wsgi(app) as url:
        with browser.stream("GET", url, headers=KNOWN) as answer:
            next(answer.iter_bytes())
        assert closed.wait(20)
        properties = sent.request()
    assert (properties["status"], properties["aborted"]) == (200, True)
    assert sent.named("closed")[0]["anonymousId"] == "a-1"


def test_an_exception_of_a_flask_view_is_a_500() -> None:
    sent = Sent()
    app = flask_app(sent, track_requests=True)

    @app.get("/")
    def broken() -> str:
        raise RuntimeError("SECRET")

    with wsgi(app) as url:
        assert browser.get(url, headers=KNOWN).status_code == 500
        assert sent.request()["status"] == 500


def test_exceptions_of_an_application_pass_untouched() -> None:
    mine = RuntimeError("SECRET")

    def at_once(environ: Any, start: Any) -> Any:
        raise mine

    def later(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        yield b"first"
        raise mine

    app, sent = wrapped(at_once)
    with pytest.raises(RuntimeError) as caught:
        app(environ(), start_response)
    assert caught.value is mine
    assert sent.request()["status"] == 500

    app, sent = wrapped(later)
    body: Any = app(environ(), start_response)
    assert next(body) == b"first"
    with pytest.raises(RuntimeError) as caught:
        next(body)
    assert caught.value is mine
    body.close()
    assert (sent.request()["status"], sent.request()["aborted"]) == (200, True)


def test_a_body_closed_early_is_closed_once_and_leaves_nothing_bound() -> None:
    closed: list[str] = []

    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        try:
            yield b"first"
            yield b"second"
        finally:
            closed.append(polku.bound()["anonymous_id"])

    middleware, sent = wrapped(app)
    body: Any = middleware(environ(), start_response)
    assert next(body) == b"first"
    assert polku.bound() == {}
    body.close()
    body.close()
    assert closed == ["a-1"]
    assert polku.bound() == {}
    assert len(sent.named("request_completed")) == 1


def test_a_head_request_whose_body_nobody_reads_is_whole() -> None:
    def app(environ: Any, start: Any) -> Any:
        start("204 No Content", [])
        yield b""

    middleware, sent = wrapped(app)
    body: Any = middleware(environ(REQUEST_METHOD="HEAD"), start_response)
    body.close()
    assert "aborted" not in sent.request()


def test_lists_and_files_of_the_server_pass_as_they_are(tmp_path: Path) -> None:
    whole = [b"all"]
    (tmp_path / "file").write_bytes(b"all")
    file = FileWrapper((tmp_path / "file").open("rb"))
    for body in (whole, file):

        def app(environ: Any, start: Any, body: Any = body) -> Any:
            start("200 OK", [])
            return body

        middleware, sent = wrapped(app)
        assert middleware(environ(**{"wsgi.file_wrapper": FileWrapper}), start_response) is body
        assert sent.request()["status"] == 200
    file.close()


def test_the_last_status_counts_and_write_and_the_reason_are_passed_on() -> None:
    calls: list[Any] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        calls.append((status, headers, exc_info))
        return calls.append

    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [("X", "y")])
        write = start("503 Busy", [], ("a", "b", "c"))
        write(b"written")
        return [b""]

    middleware, sent = wrapped(app)
    middleware(environ(), start)
    assert calls == [("200 OK", [("X", "y")], None), ("503 Busy", [], ("a", "b", "c")), b"written"]
    assert sent.request()["status"] == 503


def test_both_sides_keep_to_the_rules_of_wsgi() -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [("Content-Type", "text/plain")])
        return iter([b"a", b"b"])

    middleware, sent = wrapped(validator(app))
    with wsgi(validator(middleware)) as url:
        assert browser.get(f"{url}/x", headers=KNOWN).text == "ab"
        assert sent.request()["status"] == 200


@pytest.mark.parametrize("fails", ["user_of", "track", "binding"])
def test_what_fails_of_ours_breaks_no_request_and_logs_nothing_personal(
    fails: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("SECRET")

    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        return [b"ok"]

    monkeypatch.setattr("polku.middleware.exchange._reporter", polku.middleware.exchange.Reporter())
    middleware, sent = wrapped(app, **({"user_of": broken} if fails == "user_of" else {}))
    if fails == "track":
        monkeypatch.setattr(sent.client, "track", broken)
    if fails == "binding":
        monkeypatch.setattr("polku.middleware.exchange.binding", broken)
    assert middleware(environ(), start_response) == [b"ok"]
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text
