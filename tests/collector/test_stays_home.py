"""A collector calls nobody that its settings do not name."""

import os
import re
from pathlib import Path

import httpx
import pytest

import polku_collector
from polku_collector.engine import open_duckdb
from tests.collector.world import CONFIG, collector, wait_until

EAGER = f"{CONFIG}\n[maintenance]\ncompact_files = 10\ninterval_seconds = 0.2\n"

# Python runs it first in every process that inherits PYTHONPATH.
LISTENS = """
import os, sys

def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        line = "%r %s" % (host, " ".join(sys.argv[:3]))
        descriptor = os.open({record!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (line.replace(chr(10), " ") + chr(10)).encode())
        os.close(descriptor)

note("socket.connect", (None, "started"))
sys.addaudithook(note)
"""


def test_a_collector_on_a_local_lake_contacts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its start through events, flushes and a compaction to its stop; whoever of its processes."""
    record = tmp_path / "contacts"
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(LISTENS.replace("{record!r}", repr(str(record))))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hook'}:{os.environ.get('PYTHONPATH', '')}")
    with collector(tmp_path / "node", "--flush-seconds", "0.05", config=EAGER) as process:
        sent = 0

        def compacted() -> bool:
            nonlocal sent
            sent += 1
            item = {"type": "track", "event": "product_viewed", "userId": "u1", "messageId": f"{sent}"}
            batch = {"batch": [item | {"properties": {"product_id": "p1"}}, item | {"messageId": f"bad {sent}"}]}
            httpx.post(f"{process.url}/v1/batch", json=batch, auth=("web-key", ""), timeout=30).raise_for_status()
            text = httpx.get(f"{process.url}/metrics", timeout=30).text
            return re.search(r'^polku_compactions_total{table="events"} [1-9]', text, re.MULTILINE) is not None

        wait_until(compacted, 60, process.log)
        assert process.stop() == 0, process.log()
    contacts = record.read_text().splitlines()
    assert sum(line.startswith("'started'") for line in contacts) >= 4, "supervisor, intake, committer, maintenance"
    at_home = ("'started'", "'127.0.0.1'", "'::1'", "'localhost'", "None")
    assert [line for line in contacts if not line.startswith(at_home)] == []


def test_duckdb_neither_fetches_nor_loads_extensions_and_is_opened_in_one_place_only() -> None:
    settings = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions'"
    assert dict(open_duckdb(threads=1).sql(settings).fetchall()) == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    package = Path(polku_collector.__file__).parent
    opens = [path.name for path in package.rglob("*.py") if "duckdb.connect(" in path.read_text()]
    assert opens == ["engine.py"]
