"""Where spans go: a provider of OpenTelemetry's SDK with its exporter for OTLP over HTTP, and a bounded end."""

from __future__ import annotations

import os
import threading
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Tracer

from ..settings import Traces

# A receiver that hangs shall not keep a worker from ending: what is not sent by then is lost.
_CLOSE_SECONDS = 5.0


class Spans:
    """The tracer of one process. Spans wait in memory, 2,048 at most, and are sent by a thread of their own."""

    def __init__(self, traces: Traces, role: str, sampler: Sampler = ALWAYS_ON) -> None:
        resource = Resource.create(
            {
                "service.name": traces.service_name,
                "service.version": version("polku"),
                "polku.role": role,
                "process.pid": os.getpid(),
            }
        )
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces.endpoint)))
        self.tracer: Tracer = self._provider.get_tracer("polku")

    def close(self) -> None:
        """Send what waits, if it can be sent soon."""
        closing = threading.Thread(target=self._provider.shutdown, name="polku-traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def some_of(ratio: float) -> Sampler:
    """What a client wants traced is traced, and of the requests that say nothing a part."""
    return ParentBased(TraceIdRatioBased(ratio))
