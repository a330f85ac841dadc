"""An S3-compatible server over HTTP that really enforces `If-None-Match`, in a process of its own.

It is moto's server behind a lock: left to its threads, moto looks whether a key exists and then creates it, and two
writers at the same moment can both succeed. (Polku's probe of the store found that, on a busy machine.) A process of
its own, because deltalake holds the interpreter's lock while it waits for an answer.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3

if TYPE_CHECKING:  # the server's process has no use for it
    import pytest


class Request(NamedTuple):
    """One request as the server got it; the headers by their names in small letters."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @property
    def creates(self) -> bool:
        """Whether it makes an object, or begins one that comes in parts."""
        whole = self.method == "PUT" and "uploadId=" not in self.query
        return (whole and self.path.strip("/").count("/") > 0) or (self.method == "POST" and self.query == "uploads")


def requests_in(record: Path) -> list[Request]:
    """What a server has recorded until now, oldest first."""
    return [Request(*json.loads(line)) for line in record.read_text().splitlines()]


@contextlib.contextmanager
def s3_server(record: Path | None = None) -> Iterator[str]:
    """Start a server on a free port of the loopback; gives its address. `record`: a file for every request it gets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, str(port), *([] if record is None else [str(record)])]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(address):
            assert time.monotonic() < deadline, "the S3 server does not start"
            assert server.poll() is None, "the S3 server ended"
            time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def s3_bucket(name: str, patch: "pytest.MonkeyPatch", record: Path | None = None) -> Iterator[str]:
    """A server with an empty bucket, and the variables by which everybody reaches it; gives its address."""
    with s3_server(record) as endpoint:
        for variable, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            patch.setenv(variable, value)
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
        yield endpoint


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/moto-api/", timeout=5):  # noqa: S310  (our own server)
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _serve(port: int, record: Path | None) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    moto: Any = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with one_at_a_time:
            if record is not None:
                with record.open("a") as file:
                    file.write(json.dumps(_request(environ)) + "\n")
            return list(moto(environ, start_response))

    run_simple("127.0.0.1", port, application, threaded=True)


def _request(environ: dict[str, Any]) -> Request:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], headers)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
