"""Every line on standard error is one JSON object, whoever wrote it."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from .world import collector, rows, wait_until

# What a process may say beside its own log: each line here ends on another way.
LOUD = """
import logging, threading, warnings
from polku_collector.logs import configure, log
configure(readable=False)
warnings.warn("old", DeprecationWarning)
log.warning("the store", reason="Kernel error\\n  \\x1b[31mx\\x1b[0m away\\n")
logging.getLogger("uvicorn.error").warning("by %s", "uvicorn")
logging.getLogger("uvicorn.access").info("not said")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("asyncio").error("caught", exc_info=True)
class Dying:
    def __del__(self):
        raise ValueError("finaliser")
Dying()
thread = threading.Thread(target=lambda: [][0], name="t1")
thread.start()
thread.join()
raise RuntimeError("the end")
"""


def lines_of(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"event", "level", "timestamp"} <= line.keys(), line
    return lines


def test_what_a_process_says_is_json_whoever_says_it() -> None:
    done = subprocess.run([sys.executable, "-W", "always", "-c", LOUD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    warning, store, library, caught, finaliser, thread, end = lines_of(done.stderr)
    assert "DeprecationWarning: old" in warning["event"]
    assert store["reason"] == "Kernel error x away"
    assert (library["event"], library["level"], library["logger"]) == ("by uvicorn", "warning", "uvicorn.error")
    assert "ZeroDivisionError" in caught["exception"]
    assert "ValueError: finaliser" in finaliser["exception"]
    assert thread["thread"] == "t1" and "IndexError" in thread["exception"]
    assert end["level"] == "critical" and "RuntimeError: the end" in end["exception"]


def test_a_collector_says_all_in_json_from_its_start_to_its_end(tmp_path: Path) -> None:
    with collector(tmp_path) as process:
        assert httpx.post(f"{process.url}/v1/batch", content=b"{", auth=("web-key", "")).status_code == 400
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as rude:
            rude.sendall(b"this is not HTTP\r\n\r\n")
            assert rude.recv(100)
        plan = tmp_path / "journal" / "plan.json"
        plan.rename(tmp_path / "aside")  # the committer that is started next dies of that, with a traceback
        assert process.kill_child("committer")
        wait_until(lambda: "the process ends by an error" in process.log(), 60, process.log)
        (tmp_path / "aside").rename(plan)
        event = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}
        httpx.post(f"{process.url}/v1/batch", json={"batch": [event]}, auth=("web-key", "")).raise_for_status()
        wait_until(lambda: rows(process.lake, "events"), 60, process.log)
        assert process.stop() == 0
    events = [line["event"] for line in lines_of(process.log())]
    assert {"listening", "child died", "committing", "drained"} <= set(events)
    (traceback, *_) = (line for line in lines_of(process.log()) if line["event"] == "the process ends by an error")
    assert "FileNotFoundError" in traceback["exception"]
