"""Traces arrive at a receiver of OTLP over HTTP, and without one nothing of OpenTelemetry is even loaded."""

import http.server
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from polku_collector.cli import collector as collector_command
from polku_collector.errors import SettingsError

from .world import CONFIG, batch, collector, free_port

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACES = """
[sources.ledger]
keys = ["ledger-key"]
ack = "lake"

[traces]
endpoint = "http://127.0.0.1:{port}/v1/traces"
sample_ratio = 0.0
"""


class Receiver:
    """Takes what an exporter sends. `spans`: by name, with what they say; `bodies`: as they came."""

    def __init__(self) -> None:
        received = self
        self.bodies: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self.port = free_port()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self) -> list[tuple[str, Any, dict[str, Any]]]:
        """The role that sent it, the span, its attributes."""
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                role = _attributes(resource.resource)["polku.role"]
                for scope in resource.scope_spans:
                    found += [(role, span, _attributes(span)) for span in scope.spans]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _attributes(holder: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in holder.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


def test_requests_and_flushes_are_spans_and_a_client_finds_its_own(tmp_path: Path, receiver: Receiver) -> None:
    with collector(tmp_path, config=CONFIG + TRACES.format(port=receiver.port)) as process:
        traced = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        address = f"{process.url}/v1/batch?writeKey="
        assert httpx.post(address + "ledger-key", json=batch("secret-1"), headers=traced, timeout=60).status_code == 200
        assert (
            httpx.post(address + "web-key", json=batch("secret-2"), timeout=60).status_code == 200
        )  # nobody wants it traced
        assert httpx.post(address + "wrong-key", json=batch("secret-3"), headers=traced, timeout=60).status_code == 401
        assert process.stop() == 0
    spans = receiver.spans()
    of_requests = [(span, about) for role, span, about in spans if role == "intake"]
    assert {span.trace_id.hex() for span, _ in of_requests} == {TRACE}
    whole, refused = (entry for entry in of_requests if entry[0].name == "POST /v1/batch")
    assert {span.parent_span_id.hex() for span, _ in (whole, refused)} == {PARENT}
    assert [about["http.response.status_code"] for _, about in (whole, refused)] == [200, 401]
    append, wait = (entry for entry in of_requests if entry[0].parent_span_id == whole[0].span_id)
    assert [append[0].name, wait[0].name] == ["journal append", "wait for the lake"]
    assert (append[1]["polku.source"], append[1]["polku.events"]) == ("ledger", 1)
    place = f"{append[1]['polku.stream']}:{append[1]['polku.sequence']}"
    flush = next(span for _, span, about in spans if place in about.get("polku.positions", []))
    steps = [span for _, span, _ in spans if span.parent_span_id == flush.span_id]
    assert [step.name for step in steps] == ["lake read", "lake write files", "lake commit"]
    for before, after in itertools.pairwise(steps):
        assert flush.start_time_unix_nano <= before.start_time_unix_nano <= before.end_time_unix_nano
        assert before.end_time_unix_nano == after.start_time_unix_nano
    assert append[0].end_time_unix_nano <= wait[0].start_time_unix_nano <= wait[0].end_time_unix_nano
    everything = b"".join(receiver.bodies)
    assert not [word for word in (b"-key", b"secret-", b"127.0.0.1", b"httpx") if word in everything]


def test_a_receiver_that_is_away_is_in_nobodys_way(tmp_path: Path) -> None:
    settings = CONFIG + TRACES.format(port=free_port()).replace("0.0\n", "1.0\n")
    with collector(tmp_path, config=settings) as process:
        assert (
            httpx.post(f"{process.url}/v1/batch", json=batch("1"), auth=("web-key", ""), timeout=60).status_code == 200
        )
        assert process.stop() == 0


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    script = """
import sys
from polku_collector import cli, compose_committer, compose_intake
from polku_collector.compose_tracing import TracedFlushes, TracedIntake, check
from polku_collector.settings import Settings
settings, journal = Settings(), object()
check(settings)
traced = TracedIntake(settings)
assert traced.journal(journal, "") is journal and traced.commits(journal) is journal
assert traced.application(journal) is journal and TracedFlushes(settings).observers == []
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_what_keeps_it_from_starting_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "collector.toml"

    def said(text: str) -> str:
        settings.write_text(text)
        with pytest.raises(SettingsError) as raised:
            collector_command([str(settings), "--port", "0"], standalone_mode=False)
        return str(raised.value)

    assert "give the whole address" in said(CONFIG + '\n[traces]\nendpoint = "127.0.0.1:4318"\n')
    monkeypatch.setitem(sys.modules, "polku_collector.tracing.spans", None)  # as if its libraries were not installed
    monkeypatch.delattr("polku_collector.tracing.spans", raising=False)
    assert "pip install 'polku[otel]'" in said(CONFIG + TRACES.format(port=4318))
