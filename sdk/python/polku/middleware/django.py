"""Middleware for Django, under WSGI and under ASGI.

    MIDDLEWARE = [..., "polku.middleware.django.PolkuMiddleware"]   # inside of AuthenticationMiddleware
    POLKU_MIDDLEWARE = {"user_of": "shop.tracking.user_id", "track_requests": True}

Functions and clients are named by their dotted paths. `user_of` gets the request; if it is no coroutine function it
may use the database under ASGI, too.
"""

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.utils.module_loading import import_string

from polku.middleware.exchange import Exchange, Parts, begun, tell, user_id_of
from polku.middleware.request import Seen, options_from, seen_in_environ


class PolkuMiddleware:
    """Binds what a request says while the views and middlewares inside serve it and a streamed body is made."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        given = dict(getattr(settings, "POLKU_MIDDLEWARE", {}))
        for name in ("user_of", "client"):
            if isinstance(given.get(name), str):
                given[name] = import_string(given[name])
        self._options = options_from(given)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._served(request)
        exchange = self._begun(request, user_id_of(self._options, request))
        if exchange is None:
            return self._get_response(request)
        exchange.enter()
        try:
            response = self._get_response(request)
        except BaseException as error:
            _broken_off(exchange, request, error)
            raise
        exchange.leave()
        return _followed(exchange, request, response)

    async def _served(self, request: HttpRequest) -> Any:
        exchange = self._begun(request, await self._user_id(request))
        if exchange is None:
            return await self._get_response(request)
        exchange.enter()
        try:
            response = await self._get_response(request)
        except BaseException as error:
            _broken_off(exchange, request, error)
            raise
        exchange.leave()
        return _followed(exchange, request, response)

    async def _user_id(self, request: HttpRequest) -> Any:
        user_of = self._options.user_of
        if user_of is None:
            return None
        try:
            user_id = user_of(request) if iscoroutinefunction(user_of) else await sync_to_async(user_of)(request)
            return await user_id if inspect.isawaitable(user_id) else user_id
        except Exception as error:
            tell("user_of failed", error)
            return None

    def _begun(self, request: HttpRequest, user_id: Any) -> Exchange | None:
        return begun(self._options, request.method or "", lambda: _seen(request), user_id)


def _seen(request: HttpRequest) -> Seen:
    seen = seen_in_environ(request.META)
    headers = {name: value for name, value in seen.headers.items() if name != "host"}
    with contextlib.suppress(SuspiciousOperation):
        headers["host"] = request.get_host()  # as the settings on proxies say
    return Seen(scheme=request.scheme or "http", path=request.path, query=seen.query, headers=headers)


def _broken_off(exchange: Exchange, request: HttpRequest, error: BaseException) -> None:
    if isinstance(error, Exception):
        exchange.failed()
    exchange.leave()
    exchange.find_route(route_of, request)
    exchange.finish()


def _followed(exchange: Exchange, request: HttpRequest, response: Any) -> Any:
    """The response; one that streams has its parts made with what is bound, and the request ends with it."""

    exchange.status = response.status_code
    exchange.find_route(route_of, request)
    if not getattr(response, "streaming", False):
        exchange.complete()
        exchange.finish()
    elif getattr(response, "file_to_stream", None) is not None:
        # Left as it is: the server may send the file itself.
        close = response.close

        def closed() -> None:
            close()
            exchange.finish()

        exchange.complete()
        response.close = closed
    elif response.is_async:
        response.streaming_content = _AsyncParts(response.streaming_content, exchange)
    else:
        response.streaming_content = Parts(response.streaming_content, exchange)
    return response


class _AsyncParts:
    """As `Parts`, for a body that is made asynchronously."""

    def __init__(self, parts: AsyncIterator[Any], exchange: Exchange) -> None:
        self._iterator = aiter(parts)
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        exchange = self._exchange
        exchange.enter()
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            exchange.complete()
            raise
        except Exception:
            exchange.failed()
            raise
        finally:
            exchange.leave()

    def close(self) -> None:
        """Called by Django at the end, however it came."""
        self._exchange.finish()


def route_of(request: HttpRequest) -> str | None:
    """The pattern that matched, from the root of the site."""
    route = getattr(request.resolver_match, "route", None)
    if not isinstance(route, str):
        return None
    return route if route.startswith("^") else f"/{route}"
