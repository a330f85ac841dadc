"""A Django site with asynchronous and synchronous views. Django has one configuration a process: this one."""

import asyncio
import threading
import time
from typing import Any

import django
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

import polku
from tests.sdk.middleware.world import Sent

sent = Sent()
first_is_there = threading.Event()


def user_of(request: HttpRequest) -> str | None:
    if request.headers.get("X-User") == "broken":
        raise ValueError("SECRET")
    return request.headers.get("X-User")


def order(request: HttpRequest, number: int) -> HttpResponse:
    time.sleep(0.001)  # let others in
    sent.client.track("seen", {"number": number})
    polku.bind(properties={"view": number})
    return HttpResponse("ok", status=201)


async def order_async(request: HttpRequest, number: int) -> HttpResponse:
    await asyncio.sleep(0.001)
    sent.client.track("seen", {"number": number})
    polku.bind(properties={"view": number})
    return HttpResponse("ok", status=201)


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("SECRET")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Any:
        yield "first"
        assert first_is_there.wait(20), "the first part was held back"
        sent.client.track("streamed")
        yield "second"

    return StreamingHttpResponse(parts())


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        yield "first"
        assert await asyncio.to_thread(first_is_there.wait, 20), "the first part was held back"
        sent.client.track("streamed")
        yield "second"

    return StreamingHttpResponse(parts())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Any:
        while True:
            yield "x" * 100_000

    return StreamingHttpResponse(parts())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("sync/", include([path("o/<int:number>/", order)])),
    path("async/o/<int:number>/", order_async),
    re_path(r"^old/(?P<name>[a-z]+)/$", lambda request, name: HttpResponse("ok")),
    path("broken/", broken),
    path("sync/stream/", stream),
    path("async/stream/", stream_async),
    path("endless/", endless),
    path("file/", file),
]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=["polku.middleware.django.PolkuMiddleware"],
        POLKU_MIDDLEWARE={
            "client": f"{__name__}.client",
            "user_of": f"{__name__}.user_of",
            "track_requests": True,
        },
        ROOT_URLCONF=__name__,
        SECRET_KEY="for tests",
    )
    django.setup()

client = sent.client
