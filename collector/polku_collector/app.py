"""The web application: the hot path as plain ASGI, the rest (health, readiness, metrics) with Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .batch import Schemas
from .intake.paths import PATHS
from .intake.receive import Receive, Scope, Send
from .openapi import openapi
from .webhook.endpoint import PREFIX

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class CollectorApp:
    """Sends event requests straight to intake, everything else through Starlette's routes."""

    def __init__(
        self,
        intake: Application,
        *,
        not_ready: Callable[[], str | None],
        metrics: Callable[[], bytes],
        plan: Callable[[], Schemas],
        ways_in: Mapping[str, Application] | None = None,
    ) -> None:
        """`not_ready` says why no traffic should come (it follows the journal, not the store), or None.

        `plan` says by which plan this worker judges events just now. `ways_in` are addresses beside intake's own under
        which events come, and who answers there.
        """
        self._intake, self._ways_in = intake, ways_in or {}
        self._not_ready, self._metrics, self._plan = not_ready, metrics, plan
        self._rest = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics_page),
                Route("/v1/openapi.json", self._openapi),
            ],
            exception_handlers={404: _not_found, 405: _not_found},
        )
        self._rest.router.redirect_slashes = False  # some clients take a redirect for a success and drop what they sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") in PATHS:
            scope["path"] = scope["path"].rstrip("/")
            await self._intake(scope, receive, send)
        elif scope["type"] == "http" and (way_in := self._ways_in.get(scope["path"].rstrip("/"))) is not None:
            scope["path"] = scope["path"].rstrip("/")
            await way_in(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _healthz(self, request: Request) -> Response:
        plan = self._plan()
        in_force = {"name": plan.plan_name, "version": plan.plan_version, "fingerprint": plan.plan_fingerprint}
        return JSONResponse({"status": "ok", "plan": in_force})

    async def _readyz(self, request: Request) -> Response:
        reason = self._not_ready()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "message": reason}, 503)

    async def _openapi(self, request: Request) -> Response:
        webhooks = [path.removeprefix(PREFIX) for path in self._ways_in if path.startswith(PREFIX)]
        return JSONResponse(openapi(version("polku"), webhooks))

    async def _metrics_page(self, request: Request) -> Response:
        page = await asyncio.to_thread(self._metrics)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")


def below(prefixes: Sequence[str], app: Application) -> Application:
    """The same application, also below these paths: the host that a client is given may have one."""
    longest_first = sorted((f"{prefix}/" for prefix in prefixes), key=len, reverse=True)

    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for prefix in longest_first:
                if scope["path"].startswith(prefix):
                    scope["path"] = scope["path"][len(prefix) - 1 :]
                    break
        await app(scope, receive, send)

    return stripped


async def _not_found(request: Request, error: Exception) -> Response:
    message = f"{request.method} {request.url.path} is not known; events go to POST /v1/batch"
    status = getattr(error, "status_code", 404)
    code = "method_not_allowed" if status == 405 else "not_found"
    headers = getattr(error, "headers", None)  # of a 405: which methods there are
    return JSONResponse({"success": False, "error": code, "message": message}, status, headers)
