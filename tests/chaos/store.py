"""The S3-compatible server that the chaos runs use: localbucket, in a process of its own that can be killed.

It keeps objects as files, so that it can be killed and started again with what it had, and so that engines without
S3 can read the tables; it creates an object for `If-None-Match` with a hard link, which only one of several writers can
make. Nagle's algorithm is switched off: with it each answer waits 40 ms for the client's acknowledgement, and a Delta
commit takes 400 ms instead of 60 ms (moto: 170 ms). Added are DeleteObjects, which deltalake cleans its log with, and
ListMultipartUploads, which a full vacuum asks.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.docs.blocks import ROOT

from .ports import own_port

BUCKET = "lake"
# Where the server keeps the parts of uploads, a folder each, and what it knows of one.
_UPLOADS, _UPLOAD = ".localbucket-uploads", "upload.json"


class StoreProcess:
    """The server over a folder. `kill` and `start` as often as wanted; the port stays."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, own_port()
        (folder / BUCKET).mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it if it is dead."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "tests.chaos.store", "--port", str(self.port), str(self.folder)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, "the store does not start"
            time.sleep(0.05)

    def kill(self) -> bool:
        """SIGKILL; False if it was dead."""
        if self._process is None:
            return False
        self._process.kill()
        self._process.wait()
        self._process = None
        return True

    def unfinished(self) -> list[str]:
        """The objects whose uploads in parts were begun and not ended."""
        return [key for _, key, _ in _unfinished(self.folder)]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/{BUCKET}?list-type=2", timeout=5):  # noqa: S310  (our own)
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


def _unfinished(folder: Path) -> list[tuple[str, str, float]]:
    """Each upload's id, object and time of its beginning."""
    found = []
    for path in (folder / _UPLOADS).glob(f"*/{_UPLOAD}"):
        with contextlib.suppress(FileNotFoundError):  # ended meanwhile
            found.append((path.parent.name, str(json.loads(path.read_text())["key"]), path.stat().st_mtime))
    return sorted(found)


def _serve() -> None:
    import socketserver

    import localbucket

    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    socketserver.TCPServer.request_queue_size = socket.SOMAXCONN
    one_key: Any = localbucket.S3Handler._post_request

    def post(handler: Any, bucket: str, key: str) -> None:  # Any: the server has no types
        if key or "delete" not in handler.query:
            one_key(handler, bucket, key)
            return
        gone = [found.text or "" for found in ElementTree.fromstring(handler._read_body()).iterfind(".//{*}Key")]  # noqa: S314
        for name in gone:
            handler._object_path(bucket, name).unlink(missing_ok=True)
        deleted = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in gone)
        handler._send(HTTPStatus.OK, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    get_object: Any = localbucket.S3Handler._get_request

    def get(handler: Any, bucket: str, key: str) -> None:
        if key or "uploads" not in handler.query:
            get_object(handler, bucket, key)
            return
        uploads = "".join(
            f"<Upload><Key>{escape(name)}</Key><UploadId>{upload}</UploadId>"
            f"<Initiated>{datetime.fromtimestamp(begun, UTC).isoformat()}</Initiated></Upload>"
            for upload, name, begun in _unfinished(handler.data_root)
            if name.startswith(handler.query.get("prefix", ""))
        )
        body = f"<ListMultipartUploadsResult><Bucket>{bucket}</Bucket>{uploads}</ListMultipartUploadsResult>"
        handler._send(HTTPStatus.OK, body.encode())

    localbucket.S3Handler._post_request = post
    localbucket.S3Handler._get_request = get
    localbucket.main()


if __name__ == "__main__":
    _serve()
