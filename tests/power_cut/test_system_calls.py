"""What a real collector asks of the kernel, in order: the seam to the disk may be passed by, and is not (strace)."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.collector.world import CollectorProcess, rows, wait_until

TRACED = "write,writev,sendto,sendmsg,fdatasync,fsync,rename,link,linkat,unlink,unlinkat"
SEGMENT, FILE, COMMIT = r"/streams/\w+/00000001\.journal", r"_date=[\d-]+/\w+-0\.parquet", r"/_delta_log/0{19}1\.json"


class Traced(CollectorProcess):
    """One whose system calls are written to `calls`."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        tracer = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", "200", "-e", f"trace={TRACED}"]
        command = [*tracer, "-o", str(self.root / "calls"), sys.executable, "-m", "polku.cli", "collector"]
        command += [*self._arguments, "--port", str(self.port)]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def supervisor(self) -> int:
        """Whom strace has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def calls(self) -> list[str]:
        """Each when it had returned, but for what is sent: that counts from when it is begun."""
        found, begun = [], dict[str, str]()
        for line in (self.root / "calls").read_text(errors="replace").splitlines():
            process, _, call = line.partition(" ")
            call = call.strip()
            if call.endswith("<unfinished ...>"):
                if "socket:[" in call:
                    found.append(call)
                begun[process] = call.removesuffix("<unfinished ...>")
            elif call.startswith("<... "):
                whole = begun.pop(process, "") + call
                found += [] if "socket:[" in whole else [whole]
            else:
                found.append(call)
        return [call for call in found if " = -1 " not in call]


def test_each_step_is_durable_before_the_next_is_begun(tmp_path: Path) -> None:
    """An answer comes after the fsyncs of its block and folder; a segment goes after all that took its place."""
    traced = Traced(tmp_path, "--flush-seconds", "1")
    try:
        wait_until(traced.is_ready, 120, traced.log)
        item = {"type": "track", "event": "product_viewed", "userId": "u1", "messageId": "1"}
        batch = {"batch": [item | {"properties": {"product_id": "p1"}}, {"type": "track", "userId": "u1"}]}
        answer = httpx.post(f"{traced.url}/v1/batch", json=batch, auth=("web-key", ""), timeout=60)
        assert answer.json()["accepted"] == 1
        wait_until(lambda: rows(traced.lake, "events", "event_id") == [("1",)], 120, traced.log)
        os.kill(traced.supervisor(), 15)
        assert traced.process.wait(120) == 0, traced.log()
    finally:
        traced.close()
    calls = traced.calls()

    def in_order(*patterns: str) -> None:
        places = [next((n for n, call in enumerate(calls) if re.search(one, call)), None) for one in patterns]
        shown = [(one, place) for one, place in zip(patterns, places, strict=True)]
        assert None not in places and places == sorted(places, key=lambda place: place or 0), shown

    in_order(
        rf"^fdatasync\(\d+<.*{SEGMENT}>\)",
        r"^fsync\(\d+<.*/streams/\w{32}>\)",
        r"socket:\[.*HTTP/1\.1 200 .*\\\"accepted\\\":1",
    )
    for table in ("quarantine", "events"):
        in_order(
            rf"^fdatasync\(\d+<.*{SEGMENT}>\)",  # only what is durable in the journal is read
            rf"^rename\(.*/{table}/.*{FILE}",
            rf"^fsync\(\d+<.*/{table}/\w+_date=[\d-]+>\)",
            rf"^link(at)?\(.*/{table}{COMMIT}\"",
            rf"^fsync\(\d+<.*/{table}{COMMIT}>\)",
            rf"^unlink(at)?\(.*\"00000001\.journal\"|^unlink\(\".*{SEGMENT}\"",
        )
        log = [call for call in calls if re.search(rf"^fsync\(\d+<.*/{table}/_delta_log>\)", call)]
        assert len(log) >= 2, "once when the table was made, and once for the commit"
    # The file's bytes before its name: it is synced where it was written.
    in_order(rf"^fsync\(\d+<.*/flush/\w+/event{FILE}>\)", rf"^rename\(.*/events/event{FILE}")
    in_order(rf"^fsync\(\d+<.*/quarantine{COMMIT}>\)", rf"^link(at)?\(.*/events{COMMIT}\"")
