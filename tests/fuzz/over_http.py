"""The same inputs as bytes on a socket, to a collector as an operator starts it; and what of them is in the lake."""

from __future__ import annotations

import http.client
import re
import socket
from collections import Counter
from pathlib import Path

import httpx

from tests.collector.world import CollectorProcess, collector, rows, wait_until

from .in_process import MAPPING, SLOTS
from .inputs import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, SECRET, Input, key_of, make_input, source_of
from .oracle import Answered, complaints

_SECONDS = 60.0


def over_http(folder: Path, seed: int, first: int, inputs: int) -> list[str]:
    """Send inputs one after the other, stop the collector, and compare the lake with the answers."""
    folder.mkdir()
    wrong: list[str] = []
    outcomes: Counter[str] = Counter()
    good: list[str] = []
    told = 0
    with collector(folder, config=_config(folder)) as process:
        for number in range(first, first + inputs):
            request = make_input(seed, number, number % SLOTS)
            answer = _answer(process.port, request, rest=number % 3)
            if answer is None:
                outcomes["no answer"] += 1
                wrong.append(f"no answer\n  {request.shown()}")
                continue
            outcomes[str(answer.status)] += 1
            if answer.status == 400 and b"Invalid HTTP request" in answer.body:  # the server's, before us
                outcomes["refused by the server"] += 1
                continue
            wrong += [f"{text}\n  {request.shown()}" for text in complaints(request, answer, None)]
            if answer.status == 200 and request.known is not None:
                good += [known.event_id for known in request.known if known.event_id is not None]
            told += _told(request, answer)
        for role in ("intake", "committer"):
            if "child died" in process.log():
                wrong.append(f"a child died ({role}):\n{process.log()[-2000:]}")
                break
        wait_until(lambda: _drained(process, told), _SECONDS, lambda: f"{told} told, {_in_lake(process)} in the lake")
        if process.stop() != 0:
            wrong.append("the collector did not drain")
    found = Counter(row[0] for row in rows(process.lake, "events", "event_id"))
    wrong += [
        f"the good event {event_id} is there {found[event_id]} times" for event_id in good if found[event_id] != 1
    ]
    print(f"  over HTTP: {dict(outcomes)}, {told} events told of, {len(good)} good ones looked for in the lake")
    return wrong


def _config(folder: Path) -> str:
    (folder / "map.yaml").write_text(MAPPING)
    parts = [
        f"[limits]\nmax_body_bytes = {MAX_BODY_BYTES}\nmax_event_bytes = {MAX_EVENT_BYTES}\n"
        f"max_batch_events = {MAX_EVENTS}\n"
    ]
    for slot in range(SLOTS):
        parts.append(f'[sources.{source_of(slot)}]\nkeys = ["{key_of(slot)}"]\n')
        parts.append(f'[webhooks.w{slot}]\nmapping = "{folder / "map.yaml"}"\nsource = "{source_of(slot)}"\n')
        parts.append(f'[webhooks.w{slot}.hmac]\nheader = "X-Signature"\nsecret = "{SECRET.decode()}"\n')
    return "".join(parts)


def _answer(port: int, request: Input, *, rest: int) -> Answered | None:
    """Send it as it is, whole or in pieces or chunked; None if the connection ends without an answer."""
    target = request.path.encode("utf-8", "replace") + (b"?" + request.query if request.query else b"")
    target = re.sub(rb"[^\x21-\x7e]", lambda found: b"%%%02X" % found[0][0], target)
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    lines += [name + b": " + value for name, value in request.headers if name not in (b"content-length", b"expect")]
    chunked = rest == 2 and request.body
    lines.append(b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(request.body))
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(request.body), request.body) if chunked else request.body
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        try:
            if rest == 1:
                connection.sendall(head)
                connection.sendall(body)
            else:
                connection.sendall(head + body)
        except OSError:
            pass  # it was answered before it was read to its end
        response = http.client.HTTPResponse(connection, method=request.method)
        try:
            response.begin()
            return Answered(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        except (http.client.HTTPException, OSError):
            return None


def _told(request: Input, answer: Answered) -> int:
    """How many events an answer says are stored."""
    if answer.status != 200 or request.method == "HEAD" or request.kind == "elsewhere":
        return 0
    if request.kind == "pixel":
        return 1
    accepted = re.search(rb'"accepted":(\d+)', answer.body)
    return int(accepted[1]) + answer.body.count(b'"index":') - _warnings(answer.body) if accepted else 0


def _warnings(body: bytes) -> int:
    return body.partition(b'"warnings":')[2].count(b'"index":')


def _in_lake(process: CollectorProcess) -> int:
    stored = len(rows(process.lake, "events", "event_id")) + len(rows(process.lake, "quarantine", "code"))
    page = httpx.get(f"{process.url}/metrics", timeout=30).text
    copies = re.search(r"^polku_lake_duplicates_total ([\d.]+)", page, re.MULTILINE)
    return stored + int(float(copies[1]) if copies else 0)


def _drained(process: CollectorProcess, told: int) -> bool:
    return _in_lake(process) == told
