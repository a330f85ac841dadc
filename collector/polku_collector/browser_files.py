"""The browser SDK as pages load it: the files of `static/`, answered with an ETag, compressed, and for every origin.

They are built from sdk/browser and kept here, so that a collector serves them without npm; with them the types of the
module. Beside each stands its integrity value, under the same address with `.sri`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI's scope, receive and send

FOLDER = Path(__file__).parent / "static"
# Long enough to cost nothing, short enough that an upgraded collector is seen on the same day.
_CACHE = b"public, max-age=3600"
_SCRIPT, _TEXT = b"text/javascript; charset=utf-8", b"text/plain; charset=utf-8"


class File(Struct, frozen=True):
    """What is answered under one address."""

    content_type: bytes
    body: bytes
    compressed: bytes
    etag: bytes


def files_of(script_path: str) -> dict[str, File]:
    """The files by address: `polku.js` is at `script_path`, the others beside it under the same first name."""
    if not script_path:
        return {}
    files: dict[str, File] = {}
    for built in sorted(FOLDER.iterdir()):
        address = script_path.removesuffix(".js") + built.name.removeprefix("polku")
        body = built.read_bytes()
        files[address] = _file(_TEXT if built.name.endswith(".d.mts") else _SCRIPT, body)
        files[f"{address}.sri"] = _file(_TEXT, f"{integrity(body)}\n".encode())
    return files


def integrity(body: bytes) -> str:
    """The value for the attribute `integrity` of a script."""
    return "sha384-" + base64.b64encode(hashlib.sha384(body).digest()).decode()


def with_files(files: Mapping[str, File], app: Application) -> Application:
    """The same application, which also answers GET and HEAD for these addresses."""

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        file = files.get(scope["path"]) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        if file is None:
            await app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        known = file.etag in asked.get(b"if-none-match", b"")
        zipped = b"gzip" in asked.get(b"accept-encoding", b"")
        body = b"" if known else file.compressed if zipped else file.body
        headers = [
            (b"etag", file.etag),
            (b"cache-control", _CACHE),
            (b"vary", b"accept-encoding"),
            (b"access-control-allow-origin", b"*"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if not known:
            headers += [(b"content-type", file.content_type), (b"content-length", b"%d" % len(body))]
            headers += [(b"content-encoding", b"gzip")] if zipped else []
        await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answered


def _file(content_type: bytes, body: bytes) -> File:
    # Weak, because the compressed form has it too.
    etag = b'W/"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()
    return File(content_type, body, gzip.compress(body, mtime=0), etag)
