"""The browser SDK as a collector serves it: unchanged, for every origin, with ETag and integrity value."""

import base64
import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest

from polku_collector.browser_files import FOLDER, files_of, with_files
from polku_collector.errors import SettingsError
from polku_collector.settings import load

Answer = tuple[int, dict[bytes, bytes], bytes]


async def _elsewhere(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"elsewhere"})


def get(path: str, script_path: str = "/polku.js", method: str = "GET", **headers: str) -> Answer:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asked = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": asked}
    answer = with_files(files_of(script_path), _elsewhere)(scope, None, send)
    with pytest.raises(StopIteration):
        answer.send(None)  # type: ignore[attr-defined]  # a coroutine that waits for nothing
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_script_is_answered_as_it_was_built_and_for_every_origin() -> None:
    built = sorted(file.name for file in FOLDER.iterdir())
    assert "polku.js" in built
    for name in built:
        status, headers, body = get(f"/{name}")
        assert (status, body) == (200, (FOLDER / name).read_bytes())
        assert headers[b"access-control-allow-origin"] == b"*"
        assert headers[b"cache-control"] == b"public, max-age=3600", "an hour, as the guide says"
        assert headers[b"content-type"].startswith(b"text/plain" if name.endswith(".d.mts") else b"text/javascript")


def test_its_integrity_value_is_that_of_its_bytes() -> None:
    digest = base64.b64encode(hashlib.sha384((FOLDER / "polku.js").read_bytes()).digest())
    assert get("/polku.js.sri")[2] == b"sha384-" + digest + b"\n"


def test_it_is_compressed_and_not_sent_to_who_has_it() -> None:
    _, headers, _ = get("/polku.js", accept_encoding="br, gzip")
    assert headers[b"content-encoding"] == b"gzip"
    for file in FOLDER.iterdir():
        body = get(f"/{file.name}", accept_encoding="br, gzip")[2]
        assert gzip.decompress(body) == file.read_bytes()
        most = 3_000 if file.stem == "polku" else 1_000
        assert file.name.endswith(".d.mts") or len(body) <= most + 100, "gzip of another zlib may differ by some bytes"
    status, _, body = get("/polku.js", if_none_match=headers[b"etag"].decode())
    assert (status, body) == (304, b"")
    assert get("/polku.js", method="HEAD")[2] == b""


def test_it_is_where_the_settings_say_and_nowhere_else() -> None:
    assert get("/assets/s.js", "/assets/s.js")[0] == 200
    assert get("/assets/s-vitals.mjs", "/assets/s.js")[0] == 200
    assert get("/polku.js", "/assets/s.js")[0] == 404
    assert get("/polku.js", "")[0] == 404
    assert get("/polku.js", method="POST")[2] == b"elsewhere"


@pytest.mark.parametrize("path", ["polku.js", "/polku", "/v1/x.js", "/a b.js"])
def test_an_address_that_cannot_be_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[sources.a]\nkeys = ["k"]\n[server]\nscript_path = "{path}"\n')
    with pytest.raises(SettingsError, match="script_path"):
        load(tmp_path / "c.toml", {}, {})
