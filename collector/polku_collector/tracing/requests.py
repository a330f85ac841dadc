"""Spans of a request: the whole of it, the append to the journal, and the wait for the lake where there is one.

By hand and not by OpenTelemetry's middleware for ASGI: that one writes the query, the client's address and its user
agent into every span. In our queries are write keys and people's events.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..app import Application
from ..batch import Commits, Journal, Line, QuarantineLine, Schemas
from ..intake.receive import Receive, Scope, Send

_PROPAGATOR = TraceContextTextMapPropagator()


class TracedApplication:
    """An ASGI application whose requests are spans, children of those that their clients tell of (`traceparent`)."""

    def __init__(self, application: Application, tracer: Tracer) -> None:
        self._application, self._tracer = application, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]  # one of those we know: no part of it is the client's
        with self._tracer.start_as_current_span(
            f"{method} {path}",
            _context_of(dict(scope["headers"])),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": path},
        ) as span:

            async def noted(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._application(scope, receive, noted)


class TracedJournal:
    """A journal whose appends are spans. `stream` is the one it appends to: by it and the sequence a flush is found."""

    def __init__(self, journal: Journal, stream: str, tracer: Tracer) -> None:
        self._journal, self._stream, self._tracer = journal, stream, tracer

    async def append(self, lines: list[Line | QuarantineLine], schemas: Schemas, size_bytes: int) -> int:
        """As the journal's own."""
        if not get_current_span().is_recording():  # the request is not traced: most are not
            return await self._journal.append(lines, schemas, size_bytes)
        with self._tracer.start_as_current_span("journal append") as span:
            span.set_attributes({"polku.source": lines[0].source, "polku.events": len(lines)})
            last = await self._journal.append(lines, schemas, size_bytes)
            span.set_attributes({"polku.stream": self._stream, "polku.sequence": last})
            return last


class TracedCommits:
    """The waits for the lake as spans."""

    def __init__(self, commits: Commits, tracer: Tracer) -> None:
        self._commits, self._tracer = commits, tracer

    async def why_not_committed(self, sequence: int, seconds: float) -> str | None:
        """As the watch's own."""
        with self._tracer.start_as_current_span("wait for the lake") as span:
            why = await self._commits.why_not_committed(sequence, seconds)
            if why is not None:
                span.set_status(StatusCode.ERROR, why)
            return why


def _context_of(headers: Mapping[bytes, bytes]) -> Context:
    carrier = {
        name: headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    return _PROPAGATOR.extract(carrier, Context())
