"""Spans of a flush, made when it is over: the committer measures its steps anyway, and knows nothing of traces."""

from __future__ import annotations

import time

from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context

from ..lake.loop import Flush


class FlushSpans:
    """An observer of the committer that makes spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def flushed(self, flush: Flush) -> None:
        """A span with a child for each step. `polku.positions` says of each stream up to where its events are in."""
        begin = _ago(flush.seconds)
        span = self._tracer.start_span("lake flush", None, SpanKind.INTERNAL, start_time=begin)
        inside = set_span_in_context(span)
        for step, seconds in flush.steps.items():
            end = begin + _nanoseconds(seconds)
            self._tracer.start_span(f"lake {step}", inside, start_time=begin).end(end)
            begin = end
        written = flush.written
        span.set_attributes(
            {
                "polku.rows": written.event_rows,
                "polku.quarantine_rows": written.quarantine_rows,
                "polku.duplicates": written.duplicates,
                "polku.files": len(written.events) + len(written.quarantine),
                "polku.attempts": flush.attempts,
                "polku.positions": [f"{stream}:{last}" for stream, last in flush.positions.items()],
            }
        )
        span.end()

    def failed(self, error: Exception, seconds: float) -> None:
        """A span that ends with the error."""
        span = self._tracer.start_span("lake flush", start_time=_ago(seconds))
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, str(error))
        span.end()


def _ago(seconds: float) -> int:
    return time.time_ns() - _nanoseconds(seconds)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
