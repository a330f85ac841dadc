"""Middleware for WSGI: Flask, Bottle, Pyramid, Django's WSGI handler as a whole, …

    app.wsgi_app = PolkuMiddleware(app.wsgi_app, track_requests=True)

Answers pass as they come: lists and the server's own files untouched, other bodies part by part.
"""

from collections.abc import Callable, Iterable
from typing import Any

from polku.middleware.exchange import Exchange, Parts, begun, user_id_of
from polku.middleware.request import options_from, seen_in_environ

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class PolkuMiddleware:
    """Binds what a request says while the application serves it and its body is made. Options:
    `polku.middleware.request`.

    `user_of` gets the environ. What the application knows better it says itself: `polku.bind(user_id=…)`.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self._options = options_from(options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        user_id = user_id_of(self._options, environ)
        exchange = begun(
            self._options, str(environ.get("REQUEST_METHOD", "")), lambda: seen_in_environ(environ), user_id
        )
        if exchange is None:
            return self.app(environ, start_response)

        def started(status: str, *rest: Any) -> Any:
            exchange.status = _code(status)
            exchange.find_route(route_of, environ)  # Flask forgets it when its application returns
            return start_response(status, *rest)

        exchange.enter()
        try:
            body = self.app(environ, started)
        except BaseException as error:
            if isinstance(error, Exception):
                exchange.failed()
            exchange.leave()
            exchange.finish()
            raise
        exchange.leave()
        return _body(body, environ, exchange)


def _body(body: Iterable[bytes], environ: Environ, exchange: Exchange) -> Iterable[bytes]:
    wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
    if is_file or type(body) in (list, tuple):
        exchange.complete()
        exchange.finish()
        return body
    if environ.get("REQUEST_METHOD") == "HEAD":
        exchange.complete()  # nobody reads its body
    return Parts(body, exchange)


def _code(status: object) -> int | None:
    code = str(status)[:3]
    return int(code) if code.isdecimal() else None


def route_of(environ: Environ) -> str | None:
    """The rule that matched, as Werkzeug's request leaves it in the environ (Flask)."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    return f"{environ.get('SCRIPT_NAME', '')}{rule}" if isinstance(rule, str) else None
