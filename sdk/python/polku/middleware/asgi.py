"""Middleware for ASGI: Starlette, FastAPI, Litestar, Quart, Django's ASGI handler as a whole, …

    app.add_middleware(PolkuMiddleware, user_of=lambda scope: scope.get("user_id"), track_requests=True)

Pure ASGI: bodies pass as they come, and sockets, lifespans and exceptions untouched.
"""

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from polku.middleware.exchange import Exchange, begun, tell, user_id_of
from polku.middleware.request import HEADERS, Seen, options_from

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class PolkuMiddleware:
    """Binds what a request or a socket says while the application serves it. Options: `polku.middleware.request`.

    `user_of` gets the scope, and may be a coroutine function. Set outside of what signs people in, it sees nobody:
    then let the application call `polku.bind(user_id=…)`.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self._options = options_from(options)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        exchange = begun(self._options, scope.get("method", ""), lambda: _seen(scope), await self._user_id(scope))
        if exchange is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and exchange.is_tracked:
            await self._tracked(exchange, scope, receive, send)
        else:
            exchange.enter()
            try:
                await self.app(scope, receive, send)
            finally:
                exchange.leave()

    async def _user_id(self, scope: MutableMapping[str, Any]) -> Any:
        user_id = user_id_of(self._options, scope)
        if inspect.isawaitable(user_id):
            try:
                return await user_id
            except Exception as error:
                tell("user_of failed", error)
                return None
        return user_id

    async def _tracked(self, exchange: Exchange, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        root_path = scope.get("root_path", "")
        is_gone = False

        async def received() -> Message:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or message["type"] == "http.disconnect"
            return message

        async def sent(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                exchange.status = message.get("status")
            await send(message)
            if kind == "http.response.pathsend" or (kind in _BODIES and not message.get("more_body", False)):
                exchange.complete()

        exchange.enter()
        try:
            await self.app(scope, received, sent)
            if exchange.status is None and not is_gone:
                exchange.failed()  # it returned without an answer
        except Exception:
            if not is_gone:
                exchange.failed()
            raise
        finally:
            exchange.leave()
            exchange.find_route(route_of, scope, root_path)
            exchange.finish()


_BODIES = ("http.response.body", "http.response.zerocopysend")


def _seen(scope: MutableMapping[str, Any]) -> Seen:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name in HEADERS:
            # HTTP/2 may cut the cookies into several; of other headers the first counts.
            if name == "cookie" and name in headers:
                headers[name] += "; " + value.decode("latin-1")
            else:
                headers.setdefault(name, value.decode("latin-1"))
    return Seen(
        # A socket belongs to a page of the same site.
        scheme={"ws": "http", "wss": "https"}.get(scope.get("scheme", "http"), scope.get("scheme", "http")),
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
    )


def route_of(scope: MutableMapping[str, Any], root_path: str) -> str | None:
    """The template of the route that served, as Starlette and FastAPI leave it in the scope; never the path itself.

    `root_path` is that of before: what a mount added to it is put in front, with its parameters as names again.
    """
    route = scope.get("route")
    inner = _inner_template(scope, route)
    if inner is None:
        return None
    mounted = str(scope.get("root_path", ""))[len(root_path) :]
    if hasattr(route, "routes"):  # a mount itself, of an application that says no more
        inner = "/{path}"
    segments = mounted.split("/")
    for name, value in (scope.get("path_params") or {}).items():
        if f"{{{name}}}" in inner or f"{{{name}:" in inner:
            continue
        if str(value) not in segments:
            return inner  # the mount's own template cannot be told
        segments[segments.index(str(value))] = f"{{{name}}}"
    return "/".join(segments) + inner


def _inner_template(scope: MutableMapping[str, Any], route: Any) -> str | None:
    # With routers in routers FastAPI's route knows only its own part; the whole is beside it.
    extended = scope.get("fastapi")
    whole = extended.get("effective_route_context") if isinstance(extended, dict) else None
    if whole is None or getattr(whole, "original_route", None) is not route:
        whole = route
    for name in ("path_format", "path"):
        template = getattr(whole, name, None)
        if isinstance(template, str):
            return template
    return None
